"""Whole scans: resampled without loss, put together from cubes, labels back on the scan's own grid, what is no CT refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from threshold_model import OBLIQUE, Thresholds, scan
from torch import nn
from torch.nn import functional as F

from fmlab import inference
from fmlab.errors import ModelError, ScanError, VocabularyError
from fmlab.inference import parts_first, refuse_what_is_no_ct, resampled, segment, sliding_logits, without_crumbs
from fmlab.vocabulary import ID
from fmlab.volume import Volume
from fmlab.windows import WIDE

# --- resampled ---------------------------------------------------


@pytest.mark.parametrize("spacing", [1.3, 2.0, 3.1, 4.0, 5.5, 8.0, 1000.0])
def test_mean_and_place_stay(spacing):
    volume = scan((40, 36, 24), OBLIQUE, [((0.4, 0.6, 0.5), 0.2, 1040.0)])
    values, affine = resampled(volume, spacing)
    assert values.dtype is torch.float32 and values.shape[0] == 1
    exact = all(new <= old for new, old in zip(values.shape[1:], volume.shape))  # a linear reading keeps it nearly
    assert float(values.mean()) == pytest.approx(float(volume.image.mean()), abs=0.01 if exact else 6)
    outer = [np.array([*end, 1.0]) for end in (np.full(3, -0.5), np.array(volume.shape) - 0.5)]
    ours = [np.array([*end, 1.0]) for end in (np.full(3, -0.5), np.array(values.shape[1:]) - 0.5)]
    assert np.allclose([affine @ end for end in ours], [volume.affine @ end for end in outer])  # the same box in the body
    if spacing < 10:
        assert np.linalg.norm(centre_of_mass(values, affine) - centre_of_mass(volume.image, volume.affine)) < 0.25  # mm


def centre_of_mass(image: torch.Tensor, affine: np.ndarray) -> np.ndarray:
    weight = (image[0].double() - 40).clamp(min=0).numpy()  # of the ball alone
    index = np.stack(np.meshgrid(*map(np.arange, weight.shape), indexing="ij"), -1)
    return (index * weight[..., None]).sum((0, 1, 2)) / weight.sum() @ affine[:3, :3].T + affine[:3, 3]


def test_the_same_spacing_changes_nothing():
    volume = scan()
    values, affine = resampled(volume, 4.0)
    assert torch.equal(values, volume.image) and np.allclose(affine, volume.affine)


def test_a_thin_plate_is_not_lost():
    image = torch.full((1, 16, 16, 120), -1000.0)
    image[..., 41] = 1000
    values, _ = resampled(Volume(image, np.diag([4.0, 4, 1, 1])), 8.0)
    assert values.shape == (1, 8, 8, 15)
    assert torch.allclose(values[..., 5], torch.tensor(-750.0)) and (values[..., 6:] == -1000).all()


@pytest.mark.parametrize("shape", [(1, 9, 8), (9, 1, 1), (1, 1, 1)])
@pytest.mark.parametrize("spacing", [1.0, 4.0, 9.0])
def test_axes_of_one_voxel(shape, spacing):
    volume = Volume(torch.full((1, *shape), 7.0), np.diag([4.0, 4, 4, 1]))
    values, _ = resampled(volume, spacing)
    assert min(values.shape) >= 1 and torch.allclose(values, torch.tensor(7.0))


@pytest.mark.parametrize("spacing", [0, -1.0, float("nan"), float("inf")])
def test_a_spacing_that_cannot_be(spacing):
    with pytest.raises(ScanError, match="above zero"):
        resampled(scan(), spacing)


# --- sliding_logits ----------------------------------------------


def test_one_window_is_the_model_itself():
    torch.manual_seed(0)
    model = nn.Conv3d(1, 2, 3, padding=1)
    x = torch.rand(1, 16, 16, 16)
    with torch.no_grad():
        assert torch.allclose(sliding_logits(model, x, 16), model(x[None])[0], atol=1e-5)
        small = x[:, 3:12, 2:, 1:14]  # air around what is smaller than a cube
        assert torch.allclose(sliding_logits(model, small, 16), model(small[None])[0], atol=1e-5)


@pytest.mark.parametrize("overlap", [0, 0.25, 0.5, 0.7])
@pytest.mark.parametrize("shape", [(21, 16, 35), (5, 40, 16)])
def test_sizes_that_are_no_multiple(shape, overlap):
    model = Thresholds()
    x = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(sliding_logits(model, x, 16, overlap), model(x[None])[0], atol=1e-4)
    assert set(model.sides[:-1]) == {(16, 16, 16)}


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_as_it_was(training):
    model = Thresholds().train(training)
    logits = sliding_logits(model, torch.rand(1, 8, 8, 8), 8)
    assert model.training is training and model.modes == [False]
    assert logits.dtype is torch.float32 and not logits.requires_grad
    logits += 1  # an ordinary tensor: a lesson may go on with it

    class Broken(Thresholds):
        def forward(self, x):
            raise ZeroDivisionError

    broken = Broken().train(training)
    with pytest.raises(ZeroDivisionError):
        sliding_logits(broken, torch.rand(1, 8, 8, 8), 8)
    assert broken.training is training


@pytest.mark.parametrize("overlap", [-0.1, 1.0, 50, float("nan")])
def test_an_overlap_that_cannot_be(overlap):
    with pytest.raises(ModelError, match="overlap"):
        sliding_logits(Thresholds(), torch.rand(1, 8, 8, 8), 8, overlap)


# --- segment -----------------------------------------------------


def by_hand(model: nn.Module, volume: Volume, spacing: float, crumb_ml: float = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """All logits on the fine grid at once, then the arg max: labels (X, Y, Z), and by how much each voxel was decided."""
    values, affine = resampled(volume, spacing)
    logits = sliding_logits(model, WIDE(values), 16)
    logits = without_crumbs(logits, crumb_ml, abs(np.linalg.det(affine[:3, :3])) / 1000)
    fine = F.interpolate(logits[None], size=volume.shape, mode="trilinear", align_corners=False)[0]
    fine = torch.cat([torch.zeros_like(fine[:1]), fine])
    ids = torch.tensor([0] + [ID[name] for name in model.structures], dtype=torch.uint8)
    first, second = fine.topk(2, dim=0).values
    return ids[fine.argmax(0)], first - second


@pytest.mark.parametrize(("affine", "spacing"), [(None, 4.0), (None, 6.5), (None, 2.7), (OBLIQUE, 4.0), (OBLIQUE, 1.5)])
def test_labels_lie_on_the_scans_own_grid(affine, spacing):
    volume = scan((25, 22, 37), affine)
    found = segment(Thresholds(), volume, spacing=spacing, side=16, crumb_ml=0)
    expected, margin = by_hand(Thresholds(), volume, spacing)
    differs = found.labels[0] != expected
    assert margin[differs].numel() == 0 or margin[differs].max() < 1e-3  # ties alone
    assert differs.float().mean() < 1e-3 and len(expected.unique()) == 4  # every ball is there
    assert found.labels.dtype is torch.uint8 and found.labels.shape == volume.image.shape
    assert torch.equal(found.image, volume.image) and np.array_equal(found.affine, volume.affine) and found.name == "balls"
    assert found.annotated == {"lung_left", "liver", "spleen"}


def test_what_is_found_is_what_is_there():
    volume = scan((60, 52, 44), np.diag([2.0, 2, 2, 1]))
    same, coarser = (segment(Thresholds(), volume, spacing=mm, side=16) for mm in (2.0, 4.0))
    for name, hu in (("liver", 170), ("spleen", 450), ("lung_left", -800)):
        truth, ours = volume.image[0] == hu, coarser.mask(name)
        assert torch.equal(same.mask(name), truth)
        places = [mask.nonzero().float().mean(0) for mask in (truth, ours)]
        assert (places[0] - places[1]).norm() < 0.5 and not (ours & ~truth).sum() > 0.1 * truth.sum()  # voxels


def test_slabs_are_not_seen(monkeypatch):
    volume = scan((25, 22, 37), OBLIQUE)
    whole = []
    for slab in (1, 5, 16, 1000):
        monkeypatch.setattr(inference, "SLAB", slab)
        whole.append(segment(Thresholds(), volume, side=16, crumb_ml=0).labels)
    assert len(whole[0].unique()) == 4 and all(torch.equal(whole[0], other) for other in whole[1:])


def test_some_structures_are_those_of_the_whole():
    volume = scan()
    whole, some = segment(Thresholds(), volume), segment(Thresholds(), volume, ["spleen", "liver", "spleen"])
    keep = torch.isin(whole.labels, torch.tensor([ID["liver"], ID["spleen"]], dtype=torch.uint8))
    assert torch.equal(some.labels, torch.where(keep, whole.labels, 0)) and some.annotated == {"liver", "spleen"}

    greedy = Thresholds({"liver": (100, 600), "spleen": (300, 600)})  # both claim what is bright, the liver more so
    assert segment(greedy, volume, ["spleen"]).structures == ()


def test_structures_that_the_model_does_not_know():
    with pytest.raises(ModelError, match="cannot segment pancreas; .*: lung_left, liver, spleen"):
        segment(Thresholds(), scan(), ["liver", "pancreas"])
    with pytest.raises(ModelError, match="name some of what it knows: lung_left"):
        segment(Thresholds(), scan(), [])
    with pytest.raises(VocabularyError, match="livr"):
        segment(Thresholds(), scan(), ["livr"])
    with pytest.raises(ModelError, match="nothing"):
        segment(nn.Conv3d(1, 1, 1), scan())


@pytest.mark.parametrize(("make", "advice"), [
    (lambda v: Volume(v.image + 1000, v.affine, modality="MR"), "is MR"),
    (lambda v: Volume((v.image + 1000).abs(), v.affine), "rescale slope and intercept"),  # MR that nobody named
    (lambda v: Volume(v.image.clamp(0, 250) / 20, v.affine, modality="other"), "is other"),  # PET: uptake
    (lambda v: Volume(v.image.clamp(0, 250) / 20, v.affine), "not CT in HU"),
    (lambda v: Volume(WIDE(v.image), v.affine), "windowing or normalisation"),
    (lambda v: Volume(v.image.clamp(-160, 240), v.affine), "windowing"),
    (lambda v: Volume(v.image + 1024, v.affine), "intercept"),
    (lambda v: Volume(v.image * 0 - 1000, v.affine), "near water"),  # air alone
])
def test_what_is_no_ct_is_refused_with_advice(make, advice):
    volume = scan()
    refuse_what_is_no_ct(volume)
    model = Thresholds()
    with pytest.raises(ScanError, match=advice):
        segment(model, make(volume))
    assert model.sides == []  # before any work


def test_a_one_slice_scan_works():
    volume = scan((30, 26, 1), np.diag([4.0, 4, 5, 1]))
    assert segment(Thresholds(), volume, side=16).structures == ("lung_left", "liver", "spleen")


# --- without_crumbs ----------------------------------------------


def test_a_whole_yields_to_its_parts_and_to_nothing_else():
    known = ("lung_right", "heart", "lung_upper_lobe_right", "heart_ventricle_left", "liver")
    logits = torch.tensor([[3.0, 3, -1], [-1, 2, 5], [1, -1, -2], [-1, -1, 0.5], [-9, -9, -9]])[:, :, None, None]  # (K, 3, 1, 1)
    found = parts_first(logits, known)
    assert found.argmax(0).flatten().tolist() == [2, 0, 3]  # the lobe; no part, so the lung; the ventricle
    assert 0 < found[0, 0] < found[2, 0]  # a lobe's crumb that is taken away falls to the lung
    assert torch.equal(found[2:], logits[2:]) and logits[0, 0] == 3
    assert torch.equal(parts_first(logits, ("lung_right", "heart", "liver", "spleen", "colon")), logits)


def test_crumbs_go_and_several_large_pieces_stay():
    logits = torch.full((2, 20, 20, 20), -1.0)
    logits[0, 2:8, 2:8, 2:8] = 2  # 216 voxels
    logits[0, 12:16, 12:16, 12:16] = 2  # 64: more than a tenth
    logits[0, 16, 16, 16] = 2  # touches it by a corner
    logits[0, 10:12, 2:4, 2:4] = 2  # 8: above the least size, below a tenth
    logits[0, 2, 18, 18] = 2  # 1
    logits[1] = logits[0] - 1
    clean = without_crumbs(logits, 5, 1.0)
    left = clean[0] > 0
    assert left.sum() == 216 + 64 + 1 and left[16, 16, 16] and not left[10:12].any() and not left[2, 18, 18]
    assert torch.equal(clean[1], logits[1])  # the structure that came second may have the crumb
    assert (logits[0] > 0).sum() == 216 + 65 + 8 + 1  # what was given is not changed
    assert torch.equal(without_crumbs(logits, 0, 1.0), logits)
    assert (without_crumbs(logits, 300, 1.0)[0] < 0).all()
    assert torch.equal(without_crumbs(torch.full((1, 4, 4, 4), -3.0), 1, 0.1), torch.full((1, 4, 4, 4), -3.0))


def test_crumbs_are_measured_in_ml():
    ball = [((0.5, 0.5, 0.5), 0.2, 170.0)]
    volume = scan((24, 24, 24), np.diag([3.0, 3, 3, 1]), [*ball, ((0.15, 0.15, 0.5), 0.06, 450.0)])
    kept = [segment(Thresholds(), volume, ["liver", "spleen"], 3.0, side=16, crumb_ml=ml).structures for ml in (0, 5, 1e4)]
    assert kept == [("liver", "spleen"), ("liver",), ()]
