"""Volume: what it refuses, how it reads and writes pairs of image and labels, and that nothing moves in the body."""

from __future__ import annotations

import pickle
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from fmlab import grids
from fmlab.errors import ScanError, VocabularyError
from fmlab.vocabulary import ANNOTATED, ID, MAPPINGS, NAME
from fmlab.volume import Volume

SHAPE = (12, 10, 8)


def ct(shape=SHAPE, seed=0) -> torch.Tensor:
    return torch.randint(-1000, 1500, (1, *shape), generator=torch.Generator().manual_seed(seed)).float()


def blocks(shape=SHAPE, names=("liver", "liver_tumor", "spleen")) -> torch.Tensor:
    """Labels in slabs along the first axis, 0 at both ends."""
    labels = torch.zeros(1, *shape, dtype=torch.uint8)
    for i, name in enumerate(names):
        labels[:, 2 + 2 * i : 4 + 2 * i, 2:-2, 2:-2] = ID[name]
    return labels


def oblique() -> np.ndarray:
    affine = np.eye(4)
    turn = np.radians(20)
    affine[:3, :3] = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]) * [1.5, 1.5, 3.0]
    affine[:3, 3] = [-40, 30, 500]
    return affine


@pytest.fixture
def volume() -> Volume:
    return Volume(ct(), oblique(), blocks(), frozenset({"liver", "spleen"}), name="case 1", info={"seed": 3})


def save(path: Path, values, affine) -> Path:
    nib.save(nib.Nifti1Image(np.asarray(values), affine), path)
    return path


# --- the object --------------------------------------------------


def test_properties(volume):
    assert volume.shape == SHAPE and volume.spacing == pytest.approx((1.5, 1.5, 3.0))
    assert volume.voxel_ml == pytest.approx(1.5 * 1.5 * 3.0 / 1000)
    assert volume.structures == ("liver", "spleen", "liver_tumor")
    assert Volume(ct(), np.eye(4)).structures == ()
    assert "case 1" in repr(volume) and "3 structures" in repr(volume)


def test_mask_is_the_region_with_its_parts(volume):
    labels = volume.labels[0]
    assert volume.mask("liver").shape == SHAPE and volume.mask("liver").dtype == torch.bool
    assert torch.equal(volume.mask("liver"), (labels == ID["liver"]) | (labels == ID["liver_tumor"]))
    assert torch.equal(volume.mask("body"), labels > 0)
    assert not volume.mask("stomach").any()
    with pytest.raises(VocabularyError, match="did you mean"):
        volume.mask("livr")
    with pytest.raises(ScanError, match="no labels"):
        Volume(ct(), np.eye(4)).mask("liver")


def test_world_and_index_are_inverse(volume):
    points = np.random.default_rng(0).uniform(-5, 20, size=(4, 7, 3))
    assert np.allclose(volume.index(volume.world(points)), points)
    assert np.allclose(volume.world((0, 0, 0)), [-40, 30, 500])
    assert np.allclose(volume.world((0, 0, 2)) - volume.world((0, 0, 0)), [0, 0, 6])


def test_it_travels_between_processes(volume):
    copy = pickle.loads(pickle.dumps(volume))
    assert torch.equal(copy.image, volume.image) and copy.info == {"seed": 3} and copy.annotated == volume.annotated


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"image": torch.zeros(12, 10, 8)}, r"\(1, X, Y, Z\)"),
        ({"image": torch.zeros(2, 12, 10, 8)}, r"\(1, X, Y, Z\)"),
        ({"image": torch.zeros(1, 12, 0, 8)}, r"\(1, X, Y, Z\)"),
        ({"image": torch.full((1, *SHAPE), float("nan"))}, "NaN"),
        ({"image": ct().masked_fill(ct() == ct().max(), float("nan"))}, "NaN"),
        ({"image": ct().masked_fill(ct() == ct().max(), float("-inf"))}, "infinite"),
        ({"affine": np.diag([1, 0, 1, 1])}, "above zero"),
        ({"affine": np.ones((4, 4))}, "affine"),
        ({"affine": np.diag([-1, 1, 1, 1])}, "LAS"),
        ({"affine": np.eye(4)[[1, 0, 2, 3]]}, "ARS"),
        ({"modality": "PET"}, "modality"),
        ({"labels": torch.zeros(1, 12, 10, 9, dtype=torch.uint8)}, "another grid.*with_labels"),
        ({"labels": torch.full((1, *SHAPE), 200, dtype=torch.uint8)}, "200 are not in the vocabulary"),
        ({"labels": torch.full((1, *SHAPE), -1)}, "-1 are not in the vocabulary"),
        ({"labels": torch.full((1, *SHAPE), 1.5)}, "1.5 are not"),
    ],
)
def test_what_a_volume_refuses(change, sentence):
    with pytest.raises((ScanError, VocabularyError), match=sentence):
        Volume(**{"image": ct(), "affine": np.eye(4), **change})


# --- reading and writing -----------------------------------------


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_round_trip(volume, tmp_path, suffix):
    image, labels = volume.write(tmp_path / f"i{suffix}"), volume.write_labels(tmp_path / f"l{suffix}")
    again = Volume.read(image, labels)
    assert torch.equal(again.image, volume.image) and torch.equal(again.labels, volume.labels)
    assert again.labels.dtype == torch.uint8 and again.image.dtype == torch.float32 and again.affine.dtype == np.float64
    assert grids.corner_distance(SHAPE, volume.affine, again.affine) < 1e-3
    assert again.annotated == volume.annotated and again.name == "case 1" and again.modality == "CT"
    assert nib.load(image).get_data_dtype() == np.int16 and nib.load(labels).get_data_dtype() == np.uint8


def test_fractions_and_modality_survive(tmp_path):
    path = Volume(ct() / 7, oblique(), modality="MR").write(tmp_path / "mr.nii.gz")
    again = Volume.read(path)
    assert torch.equal(again.image, ct() / 7) and again.modality == "MR"


def test_unknown_annotation_stays_unknown(volume, tmp_path):
    bare = volume.with_labels(volume.labels)
    assert bare.annotated is None
    image = bare.write(tmp_path / "i.nii.gz")
    assert Volume.read(image, bare.write_labels(tmp_path / "l.nii.gz")).annotated is None
    foreign = save(tmp_path / "f.nii.gz", volume.labels[0].numpy(), volume.affine)
    assert Volume.read(image, foreign).annotated is None  # a file of another program in our ids promises nothing


def test_writing_needs_labels_and_leave_to_overwrite(volume, tmp_path):
    with pytest.raises(ScanError, match="no labels to write"):
        Volume(ct(), np.eye(4)).write_labels(tmp_path / "a.nii.gz")
    volume.write(tmp_path / "a.nii.gz")
    with pytest.raises(ScanError, match="overwrite=True"):
        volume.write(tmp_path / "a.nii.gz")
    with pytest.raises(ScanError, match="overwrite=True"):
        volume.write_labels(tmp_path / "a.nii.gz")
    volume.write_labels(tmp_path / "a.nii.gz", overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["a.nii.gz"]


def test_padding_is_clipped_in_ct_only(tmp_path):
    values = ct()[0].numpy()
    values[:2] = -3024
    path = save(tmp_path / "a.nii.gz", values, oblique())
    scan = Volume.read(path)
    assert float(scan.image.min()) == -1024 and scan.info["clipped_from"] == -3024
    assert bool((scan.image[0, :2] == -1024).all()) and torch.equal(scan.image[0, 2:], torch.from_numpy(values[2:]))
    assert float(Volume.read(path, modality="MR").image.min()) == -3024


def test_labels_are_turned_together_with_the_image(volume, tmp_path):
    flip = nib.orientations.axcodes2ornt("PIL")
    turned = {}
    for name, values in (("i", volume.image[0].numpy()), ("l", volume.labels[0].numpy())):
        image = nib.Nifti1Image(values, volume.affine)
        transform = nib.orientations.ornt_transform(nib.orientations.io_orientation(volume.affine), flip)
        turned[name] = tmp_path / f"{name}.nii.gz"
        nib.save(image.as_reoriented(transform), turned[name])
    again = Volume.read(turned["i"], turned["l"])
    assert torch.equal(again.image, volume.image) and torch.equal(again.labels, volume.labels)
    assert np.allclose(again.affine, volume.affine, atol=1e-3)


def test_foreign_labels_are_translated_and_say_what_was_annotated(tmp_path):
    image = save(tmp_path / "i.nii.gz", ct()[0].numpy(), np.eye(4))
    foreign = np.zeros(SHAPE, dtype=np.float64)
    foreign[2:5, 3:6, 3:6], foreign[7:9, 3:6, 3:6] = 6, 1
    labels = save(tmp_path / "l.nii.gz", foreign, np.eye(4))
    volume = Volume.read(image, labels, scheme="btcv")
    assert volume.structures == ("liver", "spleen") and volume.annotated == ANNOTATED["btcv"]
    with pytest.raises(VocabularyError, match="No label scheme is called 'btc'"):
        Volume.read(image, labels, scheme="btc")
    foreign[0, 0, 0] = 99
    with pytest.raises(VocabularyError, match="99 do not belong to the scheme 'btcv'"):
        Volume.read(image, save(tmp_path / "l2.nii.gz", foreign, np.eye(4)), scheme="btcv")
    with pytest.raises(VocabularyError, match="99 do not belong to the scheme 'fmlab'"):
        Volume.read(image, tmp_path / "l2.nii.gz")


def test_labels_on_another_grid_need_leave(volume, tmp_path):
    image = volume.write(tmp_path / "i.nii.gz")
    coarse = volume.resample(3.0)
    labels = coarse.write_labels(tmp_path / "l.nii.gz")
    with pytest.raises(ScanError, match="another grid than the image: 6 x [56] x 8 voxels.*resample_labels=True"):
        Volume.read(image, labels)
    moved = volume.affine.copy()
    moved[0, 3] += 1.0
    shifted = save(tmp_path / "s.nii.gz", volume.labels[0].numpy(), moved)
    with pytest.raises(ScanError, match="same corner 1 mm apart"):
        Volume.read(image, shifted)
    assert Volume.read(image, labels, resample_labels=True).labels.shape == volume.image.shape


@pytest.mark.parametrize("order", ["swapped", "label map as image", "image as labels"])
def test_swapped_files(order, volume, tmp_path):
    image, labels = volume.write(tmp_path / "i.nii.gz"), volume.write_labels(tmp_path / "l.nii.gz")
    pair = {"swapped": (labels, image), "label map as image": (labels, None), "image as labels": (image, image)}[order]
    with pytest.raises(ScanError, match="are image and labels swapped"):
        Volume.read(*pair)


def test_swapped_files_are_seen_in_mr_too(tmp_path):
    mr = save(tmp_path / "mr.nii.gz", np.abs(ct()[0].numpy()) + 0.5, np.eye(4))
    labels = save(tmp_path / "l.nii.gz", blocks()[0].numpy(), np.eye(4))
    with pytest.raises(ScanError, match="swapped"):
        Volume.read(labels, mr, modality="MR")
    assert Volume.read(mr, labels, modality="MR").structures
    whole = save(
        tmp_path / "whole.nii.gz", np.abs(ct()[0].numpy()), np.eye(4)
    )  # as scanners store it: whole numbers, none below zero
    with pytest.raises(ScanError, match="swapped"):
        Volume.read(labels, whole, modality="MR")


def test_an_8_bit_image_is_no_label_map(tmp_path):
    path = save(tmp_path / "a.nii.gz", np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint8), np.eye(4))
    assert Volume.read(path, modality="MR").shape == SHAPE
    assert Volume.read(path).shape == SHAPE


# --- grids -------------------------------------------------------


def nearest_by_hand(source: torch.Tensor, affine: np.ndarray, shape, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels brought to a grid by plain index arithmetic; and where the answer is no tie between two voxels."""
    ijk = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    mm = ijk @ grid[:3, :3].T + grid[:3, 3]
    index = (mm - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    near = np.rint(index).astype(int)
    inside = ((near >= 0) & (near < source.shape)).all(axis=-1)
    clipped = np.clip(near, 0, np.array(source.shape) - 1)
    found = np.where(inside, source.numpy()[tuple(np.moveaxis(clipped, -1, 0))], 0)
    return found, np.abs(np.abs(index - np.rint(index)) - 0.5).min(axis=-1) > 1e-3


@pytest.mark.parametrize("seed", range(6))
def test_labels_come_to_the_grid_by_their_affine(seed):
    rng = np.random.default_rng(seed)
    labels = torch.from_numpy(rng.integers(0, 80, SHAPE).astype(np.uint8))
    source, grid = oblique(), oblique()
    source[:3, 3] += rng.uniform(-4, 4, 3)
    grid[:3, :3] = np.diag(rng.uniform(0.8, 2.5, 3)) @ np.array([[1, 0.1, 0], [-0.1, 1, 0.05], [0, -0.05, 1]])
    target = Volume(ct((9, 11, 7)), grid)
    ours = target.with_labels(Volume(ct(), source, labels)).labels[0].numpy()
    expected, clear = nearest_by_hand(labels, source, (9, 11, 7), grid)
    assert clear.mean() > 0.9 and (expected == 0).mean() > 0.05 and np.array_equal(ours[clear], expected[clear])


def test_with_labels_keeps_what_is_known(volume):
    bare = Volume(volume.image, volume.affine)
    assert torch.equal(bare.with_labels(volume).labels, volume.labels)
    assert bare.with_labels(volume).annotated == volume.annotated
    assert bare.with_labels(volume, annotated=["liver"]).annotated == {"liver"}
    assert torch.equal(bare.with_labels(volume.labels[0].numpy()).labels, volume.labels)
    with pytest.raises(ScanError, match="another grid"):
        bare.with_labels(volume.labels[:, 1:])
    with pytest.raises(ScanError, match="has no labels to bring"):
        bare.with_labels(bare)


def test_resample_keeps_places_and_a_linear_ramp():
    affine = oblique()
    flat = Volume(torch.zeros(1, *SHAPE), affine)
    mm = flat.world(np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1))
    ramp = Volume(torch.from_numpy(mm @ [1.0, -2.0, 0.5])[None], affine, blocks())
    fine = ramp.resample((1.0, 1.2, 2.0))
    assert fine.spacing == pytest.approx((1.0, 1.2, 2.0)) and np.allclose(fine.world((0, 0, 0)), ramp.world((0, 0, 0)))
    index = np.stack(np.meshgrid(*map(np.arange, fine.shape), indexing="ij"), axis=-1)
    inner = (ramp.index(fine.world(index)) <= np.array(SHAPE) - 1).all(axis=-1)
    assert np.allclose(fine.image[0].numpy()[inner], (fine.world(index) @ [1.0, -2.0, 0.5])[inner], atol=1e-2)
    assert set(fine.structures) == set(ramp.structures)
    assert fine.mask("liver").sum() * fine.voxel_ml == pytest.approx(float(ramp.mask("liver").sum()) * ramp.voxel_ml, rel=0.35)


def test_resample_to_the_same_spacing_changes_nothing(volume):
    same = volume.resample(volume.spacing)
    assert (
        torch.allclose(same.image, volume.image)
        and torch.equal(same.labels, volume.labels)
        and np.allclose(same.affine, volume.affine)
    )


@pytest.mark.parametrize("spacing", [0, -1.0, (1, 1, float("nan")), (1.0, 0.0, 1.0), (1.0, 1.0)])
def test_resample_refuses(volume, spacing):
    with pytest.raises(ScanError, match="above zero"):
        volume.resample(spacing)


def test_crop_moves_the_affine(volume):
    part = volume.crop((2, 1, 3), (7, 9, 6))
    assert part.shape == (5, 8, 3) and np.allclose(part.world((1, 1, 1)), volume.world((3, 2, 4)))
    assert torch.equal(part.image, volume.image[:, 2:7, 1:9, 3:6]) and torch.equal(part.labels, volume.labels[:, 2:7, 1:9, 3:6])
    assert part.annotated == volume.annotated


@pytest.mark.parametrize(
    ("start", "stop"),
    [((-1, 0, 0), (3, 3, 3)), ((0, 0, 0), (13, 3, 3)), ((3, 3, 3), (3, 4, 4)), ((0, 0), (3, 3)), ((0.5, 0, 0), (3, 3, 3))],
)
def test_crop_refuses(volume, start, stop):
    with pytest.raises(ScanError, match="box"):
        volume.crop(start, stop)


# --- real files --------------------------------------------------


def test_real_ct_with_two_label_versions(shared_data, tmp_path):
    folder = shared_data / "totalsegmentator"
    volume = Volume.read(folder / "example_ct.nii.gz", folder / "example_seg_v1.nii.gz", scheme="totalsegmentator_v1")
    assert volume.shape == (122, 101, 112) and volume.spacing == pytest.approx((3, 3, 3)) and volume.image.min() >= -1024
    assert len(volume.structures) >= 35 and volume.annotated == ANNOTATED["totalsegmentator_v1"]
    centre = {
        name: volume.world(volume.mask(name).nonzero().double().mean(dim=0).numpy())
        for name in ("liver", "spleen", "kidney_left", "kidney_right")
    }
    assert (
        centre["liver"][0] > centre["spleen"][0] and centre["kidney_right"][0] > centre["kidney_left"][0]
    )  # x runs to the right
    assert volume.image[0][volume.mask("liver")].median() > 0 > volume.image[0][volume.mask("lung_left")].median()
    raw = np.asanyarray(nib.load(folder / "example_seg_v1.nii.gz").dataobj)
    for i, name in MAPPINGS["totalsegmentator_v1"].items():
        assert set(volume.labels[0].numpy()[raw == i].tolist()) <= {ID[name]}
    image, labels = volume.write(tmp_path / "i.nii.gz"), volume.write_labels(tmp_path / "l.nii.gz")
    again = Volume.read(image, labels)
    assert torch.equal(again.image, volume.image) and torch.equal(again.labels, volume.labels)
    assert grids.corner_distance(volume.shape, volume.affine, again.affine) < 1e-3


def test_real_mr_with_labels(shared_data):
    folder = shared_data / "totalsegmentator"
    volume = Volume.read(
        folder / "example_mr_sm.nii.gz", folder / "example_seg_mr.nii.gz", scheme="totalsegmentator_mr", modality="MR"
    )
    assert volume.info["orientation"] == "LPS" and grids.orientation(volume.affine) == "RAS"
    assert len(volume.structures) > 10 and set(volume.structures) <= set(NAME.values())


def test_real_files_given_the_wrong_way_round(shared_data):
    folder = shared_data / "totalsegmentator"
    with pytest.raises(ScanError, match="swapped"):
        Volume.read(folder / "example_seg_sm.nii.gz", folder / "example_ct_sm.nii.gz", scheme="totalsegmentator_v2")
    with pytest.raises(ScanError, match="another grid"):
        Volume.read(folder / "example_ct.nii.gz", folder / "example_seg_sm.nii.gz", scheme="totalsegmentator_v2")


def test_real_nrrd_pair(shared_data):
    volume = Volume.read(shared_data / "pyradiomics/brain1_image.nrrd", modality="MR")
    labels = Volume.read(
        shared_data / "pyradiomics/brain1_image.nrrd", shared_data / "pyradiomics/brain1_label.nrrd", modality="MR"
    ).labels
    assert volume.shape == (256, 256, 25) and volume.spacing == pytest.approx((0.78125, 0.78125, 6.5)) and labels.any()


def test_real_8_bit_mr(shared_data):
    assert Volume.read(shared_data / "mni/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz", modality="MR").shape == (
        197,
        233,
        189,
    )
