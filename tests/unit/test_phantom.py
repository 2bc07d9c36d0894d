"""The procedural body: anatomy, determinism, intensities, centres, bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

import fmlab.phantom as phantom
from fmlab.errors import SettingsError
from fmlab.phantom import scanner
from fmlab.phantom.centres import CENTRES
from fmlab.phantom.tidy import SEVERAL, tidy
from fmlab.vocabulary import ID, NAME, region

# Adult ranges in ml: fmlab/phantom/README.md names their sources.
VOLUMES_ML = {
    "liver": (900, 2100),
    "spleen": (80, 400),
    "kidney_left": (100, 250),
    "kidney_right": (100, 250),
    "pancreas": (40, 130),
    "heart": (400, 1050),
    "lung_left": (1200, 3800),
    "lung_right": (1200, 4000),
    "urinary_bladder": (40, 700),
    "gallbladder": (8, 70),
    "prostate": (10, 90),
    "uterus": (30, 160),
    "stomach": (60, 600),
    "aorta": (60, 350),
    "adrenal_gland_left": (1, 10),
    "adrenal_gland_right": (1, 10),
}
# Drawn in every torso: all but lesions, wholes that only their parts draw, the head, and what one sex lacks.
ALWAYS = {n for n in ID if ID[n] < 71} - {"brain", "lung_left", "lung_right", "heart", "prostate", "uterus"}


@pytest.fixture(scope="module")
def torso():
    return phantom.sample(7, "E", spacing=4.0)


@pytest.fixture(scope="module")
def volumes():
    """Region volumes in ml of 100 seeds, coarse voxels: a census of the population."""
    found: dict[str, list[float]] = {name: [] for name in VOLUMES_ML}
    for seed in range(100):
        body = phantom.sample(seed, "ABCDEF"[seed % 6], spacing=6.0, field_of_view="torso")
        counts = np.bincount(body.labels.numpy().ravel(), minlength=256)
        for name in VOLUMES_ML:
            found[name].append(counts[list(region(name))].sum() * body.voxel_ml)
    return found


@pytest.mark.parametrize("name", VOLUMES_ML)
def test_volume_lies_in_the_adult_range(volumes, name):
    low, high = VOLUMES_ML[name]
    present = [v for v in volumes[name] if v > 0]
    outside = [round(v, 1) for v in present if not low <= v <= high]
    assert len(present) >= (100 if name not in ("prostate", "uterus") else 30)
    assert not outside, f"{name}: {outside} outside {low}-{high} ml"


def test_volumes_differ_between_people(volumes):
    assert np.std(volumes["liver"]) > 100 and np.std(volumes["spleen"]) > 20


def test_a_torso_holds_more_than_45_structures_and_every_one_that_all_people_have(torso):
    assert len(ALWAYS) >= 60
    assert not ALWAYS - set(torso.structures)


@pytest.mark.parametrize("seed", [3, 12, 31])
def test_each_structure_is_one_piece(seed):
    body = phantom.sample(seed, "ABCDEF"[seed % 6], spacing=4.0, field_of_view="torso")
    labels = body.labels[0].numpy()
    for name in body.structures:
        if name in SEVERAL:
            continue
        pieces, count = ndimage.label(np.isin(labels, region(name)), np.ones((3, 3, 3)))
        assert np.bincount(pieces.ravel())[1:].max() > 0.99 * (pieces > 0).sum(), f"{name} falls into {count} pieces"


def test_same_seed_same_body_at_every_spacing():
    fine, coarse = (
        phantom.sample(5, spacing=2.0, field_of_view="upper abdomen"),
        phantom.sample(5, spacing=4.0, field_of_view="upper abdomen"),
    )
    seen = fine.labels[0].numpy()
    grid = np.indices(coarse.shape).reshape(3, -1).T
    index = np.round(fine.index(coarse.world(grid))).astype(int)
    inside = ((index >= 0) & (index < seen.shape)).all(1)
    agree = seen[tuple(index[inside].T)] == coarse.labels[0].numpy()[tuple(grid[inside].T)]
    assert agree.mean() > 0.85  # half-voxel shifts move surfaces by up to 1 mm
    for name in ("liver", "spleen", "kidney_left", "vertebrae"):
        a, b = fine.mask(name).sum() * fine.voxel_ml, coarse.mask(name).sum() * coarse.voxel_ml
        assert abs(a - b) / a < 0.04, name


def test_voxels_on_a_common_grid_are_identical():
    """A voxel's label is a function of its world position alone, whatever the voxels round it."""
    person = phantom.draw(9)
    fine = tuple(torch.arange(n, dtype=torch.float64) * 3 + s for n, s in ((120, -180), (96, -140), (60, -150)))
    every, third = (
        phantom.paint(person, fine, "none").label,
        phantom.paint(person, tuple(axis[1::3] for axis in fine), "none").label,
    )
    assert torch.equal(every[1::3, 1::3, 1::3], third)


def test_same_seed_twice_is_identical_and_other_seeds_differ():
    a, b, c = (phantom.sample(s, spacing=8.0) for s in (1, 1, 2))
    assert torch.equal(a.labels, b.labels) and torch.equal(a.image, b.image)
    depth = min(a.shape[2], c.shape[2])
    assert (a.labels[..., :depth] != c.labels[..., :depth]).float().mean() > 0.05


def test_phase_and_field_of_view_do_not_change_the_person():
    plain, enhanced = (phantom.sample(4, spacing=6.0, phase=p) for p in ("none", "portal"))
    assert torch.equal(plain.labels, enhanced.labels)
    chest, torso = (phantom.sample(4, spacing=6.0, field_of_view=v) for v in ("chest", "torso"))
    assert chest.shape[2] < torso.shape[2]


@pytest.mark.parametrize(
    ("name", "phase", "low", "high"),
    [
        ("liver", "none", -5, 85),
        ("liver", "portal", 50, 150),
        ("aorta", "arterial", 200, 450),
        ("aorta", "none", 20, 70),
        ("spleen", "portal", 80, 160),
        ("lung_left", "none", -900, -600),
        ("subcutaneous_fat", "none", -130, -70),
        ("urinary_bladder", "none", -10, 30),
        ("vertebrae", "none", 90, 400),
    ],
)
def test_density_by_phase(name, phase, low, high):
    for seed in (0, 1, 2):
        body = phantom.sample(seed, "A", spacing=5.0, phase=phase)
        inner = torch.from_numpy(ndimage.binary_erosion(body.mask(name).numpy()))
        inner = inner if inner.any() else body.mask(name)
        assert low <= float(body.image[0][inner].mean()) <= high


def test_image_is_whole_hounsfield_units_in_ct_range(torso):
    image = torso.image
    assert image.dtype == torch.float32 and torch.equal(image, image.round())
    assert -1024 <= float(image.min()) and float(image.max()) <= 3071
    assert float(image[torso.labels == 0].median()) < -950


def test_sharp_kernel_has_less_correlated_noise_and_suppresses_its_slow_part():
    person, spacing = phantom.draw(3), [1.5, 1.5, 3.0]
    axes = tuple(torch.arange(n, dtype=torch.float64) * step for n, step in zip((120, 120, 12), spacing))
    canvas = phantom.Canvas(axes, person.canonical(axes), {"air": 40.0})  # a block of water: no anatomy to confuse the noise
    noise = {name: scanner._noise(canvas, person, CENTRES[name], spacing) for name in "AD"}

    def neighbours(n):
        return float((n[1:] * n[:-1]).mean() / n.var())

    def slow(n):  # variance of 10 x 10 means, against that of independent voxels
        return float(n.reshape(12, 10, 12, 10, 12).mean((1, 3)).var() * 100 / n.var())

    assert neighbours(noise["A"]) > neighbours(noise["D"]) + 0.2
    assert slow(noise["D"]) < 0.6 < slow(noise["A"])
    assert float(noise["D"].std()) == pytest.approx(CENTRES["D"].noise, rel=0.5)


def test_tidy_keeps_the_largest_piece_of_an_organ_but_leaves_bowel_alone():
    labels = torch.zeros(12, 12, 12, dtype=torch.uint8)
    labels[1:6, 1:6, 1:6], labels[9:11, 9:11, 9:11] = ID["spleen"], ID["spleen"]
    labels[2, 2, 2] = ID["hepatic_vessels"]
    labels[8, 1:3, 1], labels[11, 1:3, 1] = ID["small_bowel"], ID["small_bowel"]
    swept = tidy(labels)
    assert (swept[9:11, 9:11, 9:11] == ID["body"]).all()
    assert torch.equal(swept[:9], labels[:9]) and torch.equal(swept[11], labels[11])


def test_beam_hardening_darkens_between_the_hips():
    from dataclasses import replace

    person = phantom.draw(3)
    axes = tuple(torch.arange(n, dtype=torch.float64) * 5 + s for n, s in ((70, -175), (56, -140), (6, -125)))
    canvas = phantom.paint(person, axes, "none")
    strong, none = (scanner.scan(canvas, person, replace(CENTRES["A"], hardening=h)) for h in (2.0, 0.0))
    difference = (none - strong)[canvas.label > 0]
    assert float(difference.max()) > 15 and float((none - strong)[canvas.label == 0].abs().max()) < 60
    middle = (none - strong)[33:37][canvas.label[33:37] > 0]
    assert float(middle.mean()) > float(difference.mean())


def test_centres_differ_in_what_they_annotate_and_keep_only_that():
    for name, centre in CENTRES.items():
        body = phantom.sample(11, name, spacing=8.0, partial=True)
        drawn = {NAME[int(i)] for i in body.labels.unique() if i}
        assert body.annotated == frozenset(centre.annotated)
        assert drawn <= body.annotated
    kinds = {frozenset(c.annotated) for c in CENTRES.values()}
    assert len(kinds) == 6


def test_protocols_disagree_where_the_rectum_begins_and_on_hepatic_vessels():
    by_centre = {c: phantom.sample(21, c, spacing=5.0, field_of_view="torso", sex="male") for c in "ABC"}
    assert not by_centre["B"].mask("hepatic_vessels").any() and by_centre["A"].mask("hepatic_vessels").any()
    assert by_centre["B"].mask("liver").sum() < by_centre["A"].mask("liver").sum() * 1.2
    top = {
        c: float(v.world(torch.nonzero(v.mask("rectum"))[:, [0, 1, 2]].double().mean(0).numpy())[2]) for c, v in by_centre.items()
    }
    assert top["C"] > top["A"]


def test_unannotated_part_is_drawn_as_its_whole():
    seed = next(s for s in range(200) if "liver_tumor" in phantom.draw(s, CENTRES["A"].habitus, CENTRES["A"].lesion_rate).lesions)
    full, partial = phantom.sample(seed, "A", spacing=4.0), phantom.sample(seed, "A", spacing=4.0, partial=True)
    tumour = full.mask("liver_tumor")
    assert tumour.any() and bool((partial.labels[0][tumour] == ID["liver"]).all())


def test_females_have_a_uterus_and_males_a_prostate():
    assert phantom.sample(1, spacing=8.0, sex="female").mask("uterus").any()
    male = phantom.sample(1, spacing=8.0, sex="male")
    assert male.mask("prostate").any() and not male.mask("uterus").any()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"centre": "Q"}, "centre"),
        ({"phase": "venous"}, "phase"),
        ({"field_of_view": "head"}, "field of view"),
        ({"spacing": 0.0}, "spacing"),
        ({"spacing": 50}, "spacing"),
        ({"sex": "x"}, "sex"),
    ],
)
def test_bad_input_says_what_and_what_to_choose(wrong, says):
    with pytest.raises(SettingsError, match=says):
        phantom.sample(0, **wrong)


def test_paint_lets_the_deeper_shape_own_a_shared_voxel():
    axes = tuple(torch.arange(20, dtype=torch.float64) for _ in range(3))
    points = tuple(torch.meshgrid(*axes, indexing="ij"))
    canvas = phantom.Canvas(axes, points, {"air": -1000.0, "a": 50.0, "b": 100.0})
    everything = (slice(None),) * 3
    canvas.paint(everything, points[0] - 12, "liver", "a")  # x < 12
    canvas.paint(everything, 8 - points[0], "spleen", "b")  # x > 8: they overlap in 8..12 and meet at 10
    assert (canvas.label[:10] == ID["liver"]).all() and (canvas.label[11:] == ID["spleen"]).all()
    canvas.layer()
    canvas.paint(everything, points[0] - 3, "colon", "b")  # a new layer covers
    assert (canvas.label[:3] == ID["colon"]).all()


def test_breathing_step_moves_belly_and_chest_but_not_the_spine():
    from dataclasses import replace

    person = next(p for p in map(phantom.draw, range(100)) if p.step_mm)
    axes = tuple(torch.arange(n, dtype=torch.float64) * 5 + s for n, s in ((60, -150), (50, -125), (70, 0)))
    moved = person.canonical(axes)[2] - replace(person, step_mm=0.0).canonical(axes)[2]
    above = axes[2] > person.step_height
    assert moved[..., ~above].abs().max() == 0
    assert moved[:, axes[1] < -45][..., above].abs().max() == 0
    assert torch.allclose(moved[:, axes[1] > 15][..., above] * person.height, torch.tensor(person.step_mm, dtype=torch.float64))


@pytest.mark.parametrize(("seed", "spacing"), [(-1, 4.0), ("a", 4.0), (1.5, 4.0), (0, (4, 4)), (0, "x")])
def test_odd_seeds_and_spacings_get_a_sentence(seed, spacing):
    with pytest.raises(SettingsError, match="seed|spacing"):
        phantom.sample(seed, spacing=spacing)
