"""Y and w of one case: regions, parts, absences, contradicting protocols."""

from __future__ import annotations

import pytest
import torch

from fmlab.errors import ScanError, SettingsError, VocabularyError
from fmlab.pretraining.targets import protocol_left_out, targets
from fmlab.vocabulary import ID


def drawn(*names: str) -> torch.Tensor:
    """(1, 4, 3, 2) labels with one voxel of each structure."""
    labels = torch.zeros(24, dtype=torch.uint8)
    labels[: len(names)] = torch.tensor([ID[name] for name in names], dtype=torch.uint8)
    return labels.view(1, 4, 3, 2)


def weights(labels: torch.Tensor, structures: list[str], annotated: set[str] | None, left_out: tuple[str, ...] = ()) -> list[int]:
    return targets(labels, structures, annotated, left_out)[1].tolist()


def test_the_whole_holds_its_parts_and_classes_overlap():
    y, w = targets(drawn("liver", "liver_tumor", "hepatic_vessels"), ["liver", "liver_tumor", "spleen"], {"liver", "liver_tumor"})
    assert y.shape == (3, 4, 3, 2) and y.dtype == torch.uint8 and w.dtype == torch.uint8
    assert y.flatten(1).sum(1).tolist() == [3, 1, 0]
    assert w.tolist() == [1, 1, 0]  # the spleen was not looked for


def test_liver_with_or_without_its_tumour_gives_the_same_target():
    apart, _ = targets(drawn("liver", "liver_tumor"), ["liver"], {"liver", "liver_tumor"})
    together, _ = targets(drawn("liver", "liver"), ["liver"], {"liver"})
    assert torch.equal(apart, together)


def test_a_part_alone_is_no_evidence_for_its_whole_nor_the_whole_for_its_part():
    y, w = targets(drawn("liver_tumor", "hepatic_vessels"), ["liver"], {"liver_tumor", "hepatic_vessels"})
    assert w.tolist() == [0] and y.sum() == 2
    assert weights(drawn("liver"), ["hepatic_vessels"], {"liver"}) == [0]


def test_a_lung_is_complete_through_its_lobes_but_not_through_one_of_them():
    lobes = {"lung_upper_lobe_left", "lung_lower_lobe_left"}
    y, w = targets(drawn(*sorted(lobes)), ["lung_left", "lung_right"], lobes)
    assert w.tolist() == [1, 0] and y[0].sum() == 2
    assert weights(drawn("lung_upper_lobe_left"), ["lung_left"], {"lung_upper_lobe_left"}) == [0]


def test_no_liver_means_no_liver_tumour():
    assert weights(drawn("spleen"), ["liver_tumor", "spleen"], {"liver"}) == [1, 0]
    assert weights(drawn("liver_tumor"), ["hepatic_vessels"], {"liver"}) == [0]  # a tumour is liver, so there is one


def test_annotated_and_empty_is_evidence_and_unknown_is_none():
    assert weights(drawn(), ["spleen", "liver"], {"spleen"}) == [1, 0]
    assert weights(drawn("spleen"), ["spleen"], None) == [0]


def test_vessels_taken_out_of_the_liver():
    assert protocol_left_out("B") == ("hepatic_vessels",) and protocol_left_out("A") == ()
    wanted, annotated = ["liver", "hepatic_vessels"], {"liver", "hepatic_vessels"}
    assert weights(drawn("liver"), wanted, annotated) == [1, 1]
    assert weights(drawn("liver"), wanted, annotated, ("hepatic_vessels",)) == [1, 0]  # their absence was made
    assert weights(drawn("liver", "hepatic_vessels"), wanted, annotated, ("hepatic_vessels",)) == [1, 1]  # drawn after all


def test_shapes_with_and_without_channel_agree_and_patches_work():
    labels = drawn("liver", "spleen")
    for a, b in zip(targets(labels, ["liver"], {"liver"}), targets(labels[0].long(), ["liver"], {"liver"})):
        assert torch.equal(a, b)


def test_refusals():
    with pytest.raises(ScanError, match="one case"):
        targets(torch.zeros(2, 1, 4, 4, 4, dtype=torch.uint8), ["liver"], None)
    with pytest.raises(ScanError, match="whole numbers"):
        targets(torch.zeros(4, 4, 4), ["liver"], None)
    with pytest.raises(SettingsError, match="twice"):
        targets(drawn(), ["liver", "liver"], None)
    with pytest.raises(SettingsError, match="one structure"):
        targets(drawn(), [], None)
    with pytest.raises(VocabularyError):
        targets(drawn(), ["livre"], None)
    with pytest.raises(VocabularyError):
        targets(torch.full((2, 2, 2), 250, dtype=torch.uint8), ["liver"], None)


def test_a_real_partial_phantom_gives_the_same_liver_as_its_full_drawing():
    import fmlab.phantom as phantom

    full, partial = phantom.sample(3, "A", spacing=12.0), phantom.sample(3, "A", spacing=12.0, partial=True)
    wanted = ["liver", "kidney_left", "kidney_medulla_left", "spleen", "vertebrae"]
    y_full, _ = targets(full.labels, wanted, wanted)
    y, w = targets(partial.labels, wanted, partial.annotated, protocol_left_out("A"))
    assert w.tolist() == [1, 1, 0, 1, 0] and (y[w == 1].flatten(1).sum(1) > 0).all()
    assert torch.equal(y[w == 1], y_full[w == 1])
