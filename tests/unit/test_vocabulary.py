"""The vocabulary: lookups, other people's label ids, left and right, and colours that all kinds of sight tell apart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fmlab import palette, vocabulary
from fmlab.errors import VocabularyError
from fmlab.schemes import SIDED
from fmlab.sides import left_side
from fmlab.vocabulary import ANNOTATED, ID, MAPPINGS, NAME, PALETTE, STRUCTURES, region, structure, to_vocabulary


def test_the_table_is_sound():
    assert len(STRUCTURES) >= 60
    assert [s.id for s in STRUCTURES] == list(range(1, len(STRUCTURES) + 1))  # structure() and known ids rely on it
    assert len(ID) == len(NAME) == len(STRUCTURES)
    assert all(s.part_of in ID for s in STRUCTURES if s.name != "body")
    assert all(s.prompt.strip() for s in STRUCTURES)


def test_region_holds_parts_at_any_depth():
    assert region("body") == tuple(NAME)
    assert region("gallbladder") == (ID["gallbladder"],)
    assert set(region("liver")) == {ID["liver"], ID["hepatic_vessels"], ID["liver_tumor"]}
    assert {ID["rectum"], ID["colon_tumor"]} < set(region("colon"))
    assert ID["vertebrae"] in region("bone") and ID["costal_cartilages"] not in region("bone")


def test_parts_are_direct_and_regions_are_the_union_of_parts():
    assert "vertebrae" not in vocabulary.parts("body")
    for s in STRUCTURES:
        union = {s.id}.union(*(region(part) for part in vocabulary.parts(s.name)))
        assert union == set(region(s.name))


def test_structure_by_name_and_id():
    assert structure("spleen") is structure(ID["spleen"]) is structure(np.int64(ID["spleen"]))
    with pytest.raises(VocabularyError, match="'splen'; did you mean spleen"):
        structure("splen")
    for wrong in (0, len(STRUCTURES) + 1, -1, True, "", 3.5):
        with pytest.raises(VocabularyError):
            structure(wrong)


@pytest.mark.parametrize("scheme", sorted(MAPPINGS))
def test_every_scheme_maps_into_the_vocabulary(scheme):
    assert set(MAPPINGS[scheme].values()) <= set(ID)
    assert not set(MAPPINGS[scheme]) & set(SIDED[scheme])
    assert all(f"{stem}_{side}" in ID for stem in SIDED[scheme].values() for side in ("left", "right"))
    assert ANNOTATED[scheme] <= set(ID)
    reachable = set(MAPPINGS[scheme].values()) | {f"{s}_{side}" for s in SIDED[scheme].values() for side in ("left", "right")}
    for name in ANNOTATED[scheme]:  # what is promised can be drawn: itself or its parts
        assert {NAME[i] for i in region(name)} & reachable


@pytest.mark.parametrize(
    ("scheme", "key"),
    [("totalsegmentator_v2", "total"), ("totalsegmentator_v1", "total_v1"), ("totalsegmentator_mr", "total_mr")],
)
def test_totalsegmentator_ids_are_the_published_ones(scheme, key, shared_data: Path):
    names = json.loads((shared_data / "totalsegmentator/label_names.json").read_text())[key]
    published = {int(i): name for i, name in names.items()}
    ours = MAPPINGS[scheme]
    assert set(ours) == set(published)
    for i, name in published.items():
        if name in ID:
            assert ours[i] == name
        elif name.startswith(("vertebrae_", "rib_")):
            assert ours[i] == {"v": "sacrum" if name == "vertebrae_S1" else "vertebrae", "r": "ribs"}[name[0]]
        else:
            assert ours[i] in ("bone", "body", "heart_atrium_left")
            assert (ours[i] == "bone") == name.startswith(("humerus", "scapula", "clavicula", "skull"))


def test_known_ids_of_public_sets():
    assert len(MAPPINGS["universal_29"]) + len(SIDED["universal_29"]) == 29
    assert MAPPINGS["universal_29"][6] == "liver" and MAPPINGS["universal_29"][27] == "hepatic_vessels"
    assert len(MAPPINGS["btcv"]) == 13 and MAPPINGS["btcv"][11] == "pancreas"
    assert len(MAPPINGS["amos22"]) == 15 and MAPPINGS["amos22"][10] == "pancreas"
    assert len(MAPPINGS["flare22"]) == 13 and MAPPINGS["flare22"][13] == "kidney_left"
    assert len(MAPPINGS["word"]) + len(SIDED["word"]) == 16
    assert MAPPINGS["lits"] == {1: "liver", 2: "liver_tumor"}
    assert SIDED["kits"] == {1: "kidney", 2: "kidney_tumor", 3: "kidney_cyst"}
    assert MAPPINGS["abdomenct_1k"] == {1: "liver", 3: "spleen", 4: "pancreas"} and SIDED["abdomenct_1k"] == {2: "kidney"}
    assert MAPPINGS["multi_organ_ct"][14] == "duodenum" and 2 not in MAPPINGS["multi_organ_ct"]


def test_annotated_says_what_a_set_leaves_out():
    assert ANNOTATED["msd_spleen"] == {"spleen"}
    assert "liver" not in ANNOTATED["msd_hepatic_vessel"]
    assert "kidney_right" not in ANNOTATED["multi_organ_ct"]  # that set draws the left kidney alone
    assert {"lung_left", "heart"} <= ANNOTATED["totalsegmentator_v1"]
    assert not {"bone", "body", "liver_tumor"} & ANNOTATED["totalsegmentator_v1"]
    assert "heart" in ANNOTATED["totalsegmentator_v2"] and "heart_atrium_left" not in ANNOTATED["totalsegmentator_v2"]
    assert "femur_left" not in ANNOTATED["word"]


def test_to_vocabulary_translates_every_id_and_keeps_background():
    for scheme in ("totalsegmentator_v2", "btcv", "universal_29"):
        ids = [0, *MAPPINGS[scheme]]
        ours = to_vocabulary(np.array(ids, dtype=np.float64).reshape(1, 1, -1), scheme)
        assert ours.dtype == torch.uint8 and ours.shape == (1, 1, len(ids))
        assert [NAME.get(int(i), "") for i in ours.flatten()] == ["", *MAPPINGS[scheme].values()]


def test_to_vocabulary_is_the_identity_on_our_ids():
    labels = torch.arange(len(STRUCTURES) + 1, dtype=torch.uint8).reshape(1, 1, -1)
    assert torch.equal(to_vocabulary(labels, "fmlab"), labels)


def test_to_vocabulary_refuses_strange_ids_and_schemes():
    for value in (14, -1, 300, 70000, 1.5):
        with pytest.raises(VocabularyError, match=r"do not belong to the scheme 'btcv'"):
            to_vocabulary(torch.tensor([[[0, value]]]), "btcv")
    with pytest.raises(VocabularyError, match="btvc.*choose one of.*btcv"):
        to_vocabulary(torch.zeros(1, 1, 1), "btvc")
    with pytest.raises(VocabularyError, match="three axes"):
        to_vocabulary(torch.ones(4, 4), "kits")


def test_merged_kidneys_are_parted_and_their_lesions_stay_with_them():
    labels = torch.zeros(1, 60, 20, 20, dtype=torch.int16)
    labels[0, 10:18, 5:12, 5:12] = 1  # small index along x: the patient's left
    labels[0, 18:21, 6:9, 6:9] = 2  # its tumour
    labels[0, 40:48, 5:12, 5:12] = 1
    labels[0, 42, 7, 7] = 3  # a cyst inside the right one
    ours = to_vocabulary(labels, "kits")[0]
    assert torch.equal(ours == ID["kidney_left"], (labels[0] == 1) & (torch.arange(60)[:, None, None] < 30))
    assert torch.equal(ours == ID["kidney_tumor_left"], labels[0] == 2)
    assert torch.equal(ours == ID["kidney_cyst_right"], labels[0] == 3)
    assert int((ours == ID["kidney_right"]).sum()) == 8 * 7 * 7 - 1


def test_an_off_centre_scan_is_parted_between_the_kidneys_not_at_its_middle():
    labels = torch.zeros(60, 10, 10, dtype=torch.int16)
    labels[3:10, 2:8, 2:8] = 1
    labels[22:28, 2:8, 2:8] = 1  # left of the scan's middle, yet the right kidney
    ours = to_vocabulary(labels, "kits19")
    assert set(ours[:15].unique().tolist()) == {0, ID["kidney_left"]}
    assert set(ours[15:].unique().tolist()) == {0, ID["kidney_right"]}


def test_a_horseshoe_kidney_is_cut_and_a_fragment_is_not():
    labels = torch.zeros(60, 10, 10, dtype=torch.int16)
    labels[10:50, 2:8, 2:8] = 1
    ours = to_vocabulary(labels, "kits19")
    assert bool((ours[10:30, 2:8, 2:8] == ID["kidney_left"]).all()) and bool((ours[30:50, 2:8, 2:8] == ID["kidney_right"]).all())
    one = np.zeros((60, 10, 10), dtype=bool)
    one[10:31, 2:8, 2:8] = True  # reaches one voxel over the middle: still one kidney
    assert np.array_equal(left_side(one, paired=True), one)


def test_lesions_go_by_the_organs_whose_sides_are_known():
    labels = torch.zeros(60, 10, 10, dtype=torch.int16)
    labels[2:10, 2:8, 2:8], labels[20:28, 2:8, 2:8] = 3, 2  # universal_29: left kidney 3, right kidney 2
    labels[21:24, 3, 3] = 18
    ours = to_vocabulary(labels, "universal_29")
    assert set(ours[21:24, 3, 3].tolist()) == {ID["kidney_tumor_right"]}


def test_two_lung_nodules_of_one_lung_stay_on_one_side():
    labels = torch.zeros(60, 10, 10, dtype=torch.int16)
    labels[2:5, 2:5, 2:5], labels[20:23, 2:5, 2:5] = 1, 1
    assert set(to_vocabulary(labels, "msd_lung").unique().tolist()) == {0, ID["lung_tumor_left"]}


def test_splitting_mirrors():
    rng = np.random.default_rng(0)
    for _ in range(5):
        mask = np.zeros((48, 12, 12), dtype=bool)
        for start in (rng.integers(2, 12), rng.integers(30, 40)):
            mask[start : start + 6, 3:9, 3:9] = True
        left = left_side(mask, paired=True)
        assert np.array_equal(left_side(mask[::-1], paired=True)[::-1], mask & ~left)


# --- colours -----------------------------------------------------

# From the test data that Sharma, Wu & Dalal published with their paper (doi:10.1002/col.20070, table 1).
SHARMA = [
    ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
    ((50.0, 3.1571, -77.2803), (50.0, 0.0, -82.7485), 2.8615),
    ((50.0, -1.3802, -84.2814), (50.0, 0.0, -82.7485), 1.0000),
    ((50.0, 0.0, 0.0), (50.0, -1.0, 2.0), 2.3669),
    ((50.0, 2.49, -0.001), (50.0, -2.49, 0.0009), 7.1792),
    ((50.0, 2.49, -0.001), (50.0, -2.49, 0.0011), 7.2195),
    ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
    ((50.0, 2.5, 0.0), (58.0, 24.0, 15.0), 19.4535),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
]


@pytest.mark.parametrize(("one", "other", "expected"), SHARMA)
def test_ciede2000_gives_the_published_figures(one, other, expected):
    assert palette.difference(one, other) == pytest.approx(expected, abs=1e-4)
    assert palette.difference(other, one) == pytest.approx(expected, abs=1e-4)


def test_dichromats_confuse_what_they_should():
    red, green = np.array([200, 60, 40]), np.array([105, 125, 20])
    normal = palette.difference(palette.to_lab(red), palette.to_lab(green))
    assert palette.apart(red, green) < normal / 2
    white = palette.to_lab([255, 255, 255], "deuteranopia")
    assert np.allclose(white, [100, 0, 0], atol=0.1)


def _apart(one: str, other: str) -> float:
    return float(palette.apart(vocabulary.colour(one), vocabulary.colour(other)))


def test_palette_rows_are_the_colours():
    assert PALETTE.shape == (256, 3) and PALETTE.dtype == np.uint8
    assert set(palette.COLOURS) == set(ID)
    assert all(tuple(PALETTE[i]) == vocabulary.colour(name) == vocabulary.colour(i) for i, name in NAME.items())
    assert not PALETTE[0].any() and not PALETTE[len(STRUCTURES) + 1 :].any()


def test_touching_structures_differ_clearly_under_all_kinds_of_sight():
    assert {n for pair in palette.TOUCHING for n in pair} <= set(ID)
    least = min((_apart(*pair), pair) for pair in palette.TOUCHING)
    assert least[0] >= 12.0, least


def test_a_lesion_differs_from_its_organ():
    for s in STRUCTURES:
        if s.system == "lesion":
            assert _apart(s.name, s.part_of) >= 12.0, s.name


def test_major_organs_differ_under_all_kinds_of_sight():
    assert len(palette.MAJOR) == 20
    least = min((_apart(a, b), a, b) for a in palette.MAJOR for b in palette.MAJOR if a < b)
    assert least[0] >= 8.0, least


def test_no_two_structures_look_alike():
    colours = np.array([vocabulary.colour(s.name) for s in STRUCTURES])
    apart = palette.apart(colours[:, None], colours[None])
    np.fill_diagonal(apart, np.inf)
    assert apart.min() >= 4.0, [STRUCTURES[i].name for i in np.unravel_index(apart.argmin(), apart.shape)]


def test_colours_show_on_grey_ct():
    for s in STRUCTURES:
        lightness, a, b = palette.to_lab(vocabulary.colour(s.name))
        assert lightness >= 40, s.name
        if s.system not in ("body", "skeleton"):
            assert np.hypot(a, b) >= 20, s.name
        if s.system == "skeleton":
            assert lightness >= 70, s.name


@pytest.mark.parametrize("kind", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool])
def test_labels_are_counted_rather_than_sorted(kind, monkeypatch):
    labels = torch.tensor([[0, 3], [1, 3]]).to(kind)
    monkeypatch.setattr(vocabulary.torch, "unique", None)  # sorting a whole scan takes seconds and 17 bytes a voxel
    assert vocabulary.present_ids(labels) == ((1,) if kind is torch.bool else (1, 3))
