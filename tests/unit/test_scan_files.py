"""Reading and writing scan files: every orientation keeps its world coordinates, every bad file gets one clear sentence."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest

from fmlab import grids, scan_files
from fmlab.errors import ScanError
from fmlab.scan_files import read_scan, write_nifti

SHAPE = (5, 6, 7)
ORIENTATIONS = ["".join(axes) for axes in itertools.product("LR", "PA", "SI")]
ORIENTATIONS = ["".join(order) for axes in ORIENTATIONS for order in itertools.permutations(axes)]


def values_at(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> np.ndarray:
    """Distinct values, so that any swap or flip shows."""
    return np.random.default_rng(seed).permutation(np.arange(-100, np.prod(shape) - 100)).reshape(shape).astype(np.int16)


def affine_of(codes: str, spacing=(0.8, 1.1, 2.5), origin=(-11.0, 22.0, 305.0)) -> np.ndarray:
    affine = np.zeros((4, 4))
    for axis, code in enumerate(codes):
        row = {"L": 0, "R": 0, "P": 1, "A": 1, "I": 2, "S": 2}[code]
        affine[row, axis] = spacing[axis] * (1 if code in "RAS" else -1)
    affine[:3, 3], affine[3, 3] = origin, 1
    return affine


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    return q * np.sign(np.diag(r))


def save(path: Path, values: np.ndarray, affine: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(values, affine), path)
    return path


def world_table(values: np.ndarray, affine: np.ndarray) -> dict[float, np.ndarray]:
    """value -> mm; the reference that does not care about axis order."""
    index = np.argwhere(np.ones(values.shape, dtype=bool))
    places = index @ affine[:3, :3].T + affine[:3, 3]
    return dict(zip(values.ravel().tolist(), places, strict=True))


def assert_same_places(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> None:
    first, second = world_table(*one), world_table(*other)
    assert set(first) == set(second)
    assert max(np.linalg.norm(first[v] - second[v]) for v in first) < 1e-3


# --- orientation -------------------------------------------------


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_all_48_orientations_come_out_in_ras(codes, tmp_path):
    values, affine = values_at(), affine_of(codes)
    scan = read_scan(save(tmp_path / "a.nii", values, affine))
    assert grids.orientation(scan.affine) == "RAS" and scan.info["orientation"] == codes
    assert (np.diag(scan.affine)[:3] > 0).all()
    assert_same_places((values, affine), (scan.values, scan.affine))


def test_there_are_48_orientations():
    assert len(set(ORIENTATIONS)) == 48


@pytest.mark.parametrize("seed", range(12))
def test_oblique_affines_stay_oblique_and_right(seed, tmp_path):
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = random_rotation(rng) * rng.uniform(0.4, 6.0, size=3)
    affine[:3, 3] = rng.uniform(-900, 900, size=3)
    values = values_at(seed=seed)
    scan = read_scan(save(tmp_path / "a.nii.gz", values, affine))
    assert grids.orientation(scan.affine) == "RAS"
    assert np.count_nonzero(np.abs(scan.affine[:3, :3]) > 1e-9) > 3  # nothing was straightened
    assert_same_places((values, affine), (scan.values, scan.affine))
    written = write_nifti(tmp_path / "b.nii.gz", scan.values, scan.affine, {}, overwrite=False)
    again = read_scan(written)
    assert np.array_equal(again.values, scan.values)
    assert grids.corner_distance(SHAPE, scan.affine, again.affine) < 1e-3
    assert np.allclose(nib.load(written).get_qform(), scan.affine, atol=1e-3)  # viewers that look at the qform agree


def test_sheared_affine_is_kept_by_the_sform_and_the_qform_is_off(tmp_path):
    affine = affine_of("RAS")
    affine[0, 2] = 0.7
    path = write_nifti(tmp_path / "a.nii", values_at(), affine, {}, overwrite=False)
    file = nib.load(path)
    assert int(file.header["qform_code"]) == 0 and int(file.header["sform_code"]) == 1
    assert np.allclose(read_scan(path).affine, affine, atol=1e-4)


# --- NIfTI -------------------------------------------------------


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.uint16, np.float32, np.float64, np.int64])
def test_number_types(kind, tmp_path):
    values = np.clip(values_at(), 0, 110).astype(kind)
    nib.save(nib.Nifti1Image(values, np.eye(4), dtype=kind), tmp_path / "a.nii.gz")
    assert np.array_equal(read_scan(tmp_path / "a.nii.gz").values, values)


def test_slope_and_intercept_are_applied(tmp_path):
    image = nib.Nifti1Image(values_at(), np.eye(4))
    image.header.set_slope_inter(2.0, -1024.0)
    image.to_filename(tmp_path / "a.nii")
    stored = nib.load(tmp_path / "a.nii")
    assert float(stored.dataobj.slope) == 2.0  # the file itself is scaled
    assert np.allclose(read_scan(tmp_path / "a.nii").values, np.asanyarray(stored.dataobj))


def test_big_endian_and_nifti2(tmp_path):
    values, affine = values_at(), affine_of("LPS")
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    nib.save(nib.Nifti1Image(values, affine, header), tmp_path / "big.nii")
    assert (tmp_path / "big.nii").read_bytes()[:4] == b"\x00\x00\x01\x5c"
    nib.save(nib.Nifti2Image(values, affine), tmp_path / "two.nii.gz")
    for name in ("big.nii", "two.nii.gz"):
        scan = read_scan(tmp_path / name)
        assert_same_places((values, affine), (scan.values, scan.affine))


def test_metres_and_microns_become_mm(tmp_path):
    for unit, factor in (("meter", 1e-3), ("micron", 1e3)):
        affine = affine_of("RAS")
        affine[:3] *= factor
        image = nib.Nifti1Image(values_at(), affine)
        image.header.set_xyzt_units(unit)
        image.to_filename(tmp_path / f"{unit}.nii")
        assert np.allclose(read_scan(tmp_path / f"{unit}.nii").affine, affine_of("RAS"), rtol=1e-5)


def test_a_fourth_axis_of_one_is_dropped(tmp_path):
    path = save(tmp_path / "a.nii.gz", values_at()[..., None], np.eye(4))
    assert np.array_equal(read_scan(path).values, values_at())


def test_written_files_open_in_place_elsewhere(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    affine = affine_of("RAS")
    path = write_nifti(tmp_path / "a.nii.gz", values_at(), affine, {"name": "x"}, overwrite=False)
    header = nib.load(path).header
    assert int(header["sform_code"]) == 1 and int(header["qform_code"]) == 1
    assert header.get_xyzt_units()[0] == "mm" and nib.load(path).get_data_dtype() == np.int16
    other = sitk.ReadImage(str(path))
    place = np.array(other.TransformIndexToPhysicalPoint((1, 2, 3))) * [-1, -1, 1]  # ITK counts in LPS
    assert np.allclose(place, affine[:3] @ [1, 2, 3, 1], atol=1e-3)
    assert other[1, 2, 3] == values_at()[1, 2, 3]


def test_writing_is_all_or_nothing(tmp_path, monkeypatch):
    path = write_nifti(tmp_path / "a.nii.gz", values_at(), np.eye(4), {}, overwrite=False)
    before = path.read_bytes()
    with pytest.raises(ScanError, match="overwrite=True"):
        write_nifti(path, values_at(seed=1), np.eye(4), {}, overwrite=False)

    def half(image, name):
        Path(name).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(nib, "save", half)
        with pytest.raises(ScanError, match="No space left"):
            write_nifti(path, values_at(seed=1), np.eye(4), {}, overwrite=True)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    write_nifti(path, values_at(seed=1), np.eye(4), {}, overwrite=True)
    assert np.array_equal(read_scan(path).values, values_at(seed=1)) and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a.nrrd", "a", "a.nii.zip", "missing/a.nii.gz"])
def test_writing_refuses_other_names(name, tmp_path):
    with pytest.raises(ScanError):
        write_nifti(tmp_path / name, values_at(), np.eye(4), {}, overwrite=False)
    assert list(tmp_path.iterdir()) == []


def test_compact_loses_nothing():
    assert scan_files.compact(np.float32([[[-1024, 3071]]])).dtype == np.int16
    assert scan_files.compact(np.float32([[[0.5, 1]]])).dtype == np.float32
    assert scan_files.compact(np.float32([[[40000, 1]]])).dtype == np.float32


# --- NRRD --------------------------------------------------------


@pytest.mark.parametrize(
    ("space", "turn"), [("left-posterior-superior", (-1, -1, 1)), ("right-anterior-superior", (1, 1, 1)), ("LAS", (-1, 1, 1))]
)
def test_nrrd_spaces(space, turn, tmp_path):
    values, affine = values_at(), affine_of("PSR")
    signs = np.array(turn)[:, None]
    header = {
        "space": space,
        "space directions": (signs * affine[:3, :3]).T,
        "space origin": np.array(turn) * affine[:3, 3],
        "encoding": "gzip",
    }
    nrrd.write(str(tmp_path / "a.nrrd"), values, header)
    scan = read_scan(tmp_path / "a.nrrd")
    assert grids.orientation(scan.affine) == "RAS"
    assert_same_places((values, affine), (scan.values, scan.affine))


def test_nrrd_agrees_with_itk_on_a_real_file(shared_data):
    sitk = pytest.importorskip("SimpleITK")
    path = shared_data / "pyradiomics/brain1_image.nrrd"
    scan, other = read_scan(path), sitk.ReadImage(str(path))
    for ijk in ((0, 0, 0), (200, 31, 7), (128, 255, 24)):
        mm = np.array(other.TransformIndexToPhysicalPoint(ijk)) * [-1, -1, 1]
        ours = np.rint(np.linalg.inv(scan.affine) @ [*mm, 1])[:3].astype(int)
        assert scan.values[tuple(ours)] == other[ijk]


def test_nrrd_without_a_space_is_refused(tmp_path):
    nrrd.write(str(tmp_path / "a.nrrd"), values_at(), {"spacings": [1.0, 1.0, 1.0]})
    with pytest.raises(ScanError, match="which way is left"):
        read_scan(tmp_path / "a.nrrd")


def test_nrrd_with_channels(tmp_path):
    header = {
        "space": "LPS",
        "space directions": np.array([[np.nan] * 3, [1, 0, 0], [0, 1, 0], [0, 0, 1]]),
        "space origin": np.zeros(3),
        "kinds": ["vector", "domain", "domain", "domain"],
    }
    nrrd.write(str(tmp_path / "one.nrrd"), values_at()[None], header)
    assert read_scan(tmp_path / "one.nrrd").values.shape == SHAPE
    nrrd.write(str(tmp_path / "three.nrrd"), np.stack([values_at()] * 3), header)
    with pytest.raises(ScanError, match="3 x 5 x 6 x 7 where a 3-D scan is needed"):
        read_scan(tmp_path / "three.nrrd")


@pytest.mark.parametrize("keep", [10, 200, 300])
def test_truncated_nrrd(keep, tmp_path):
    nrrd.write(
        str(tmp_path / "a.nrrd"), values_at(), {"space": "LPS", "space directions": np.eye(3), "space origin": np.zeros(3)}
    )
    content = (tmp_path / "a.nrrd").read_bytes()
    (tmp_path / "a.nrrd").write_bytes(content[: min(keep, len(content) - 20)])
    with pytest.raises(ScanError, match="a.nrrd"):
        read_scan(tmp_path / "a.nrrd")


# --- bad files ---------------------------------------------------


@pytest.mark.parametrize("keep", [0, 1, 30, 0.5, 0.9])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_truncated_nifti(name, keep, tmp_path):
    path = save(tmp_path / name, values_at((20, 20, 20)), np.eye(4))
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if 0 < keep < 1 else keep])
    with pytest.raises(ScanError, match=name):
        read_scan(path)


def test_not_gzip_though_named_so_and_the_reverse(tmp_path):
    plain = save(tmp_path / "a.nii", values_at(), np.eye(4))
    plain.rename(tmp_path / "b.nii.gz")
    with pytest.raises(ScanError, match="not gzip-compressed"):
        read_scan(tmp_path / "b.nii.gz")
    save(tmp_path / "c.nii.gz", values_at(), np.eye(4)).rename(tmp_path / "c.nii")
    with pytest.raises(ScanError, match="rename it to .nii.gz"):
        read_scan(tmp_path / "c.nii")
    (tmp_path / "d.nii.gz").write_bytes(gzip.compress(b"<html>404 not found</html>" * 100))
    with pytest.raises(ScanError, match="d.nii.gz"):
        read_scan(tmp_path / "d.nii.gz")


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 7, 2), (5, 6, 7, 1, 3)])
def test_only_three_axes(shape, tmp_path):
    path = save(tmp_path / "a.nii.gz", np.zeros(shape, dtype=np.int16), np.eye(4))
    with pytest.raises(ScanError, match="where a 3-D scan is needed"):
        read_scan(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers(value, tmp_path):
    values = values_at().astype(np.float32)
    values[1, 2, 3] = value
    with pytest.raises(ScanError, match="1 voxels are NaN or infinite"):
        read_scan(save(tmp_path / "a.nii.gz", values, np.eye(4)))


@pytest.mark.parametrize("size", [0.0, -2.0, np.nan])
def test_spacing_that_is_not_above_zero(size, tmp_path):
    path = save(tmp_path / "a.nii", values_at(), np.eye(4))
    content = bytearray(path.read_bytes())
    content[84:88] = np.float32(size).tobytes()  # pixdim[2] of NIfTI-1
    path.write_bytes(content)
    with pytest.raises(ScanError, match="voxel size.*above zero"):
        read_scan(path)


@pytest.mark.parametrize(
    "matrix",
    [
        np.diag([1.0, 0, 1, 1]),
        np.array([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
        np.full((4, 4), np.nan),
        np.eye(3),
        "none",
    ],
)
def test_affines_that_are_no_grid(matrix):
    with pytest.raises(ScanError, match="affine"):
        grids.checked_affine(matrix, "here")


def test_singular_affine_in_a_file(tmp_path):
    image = nib.Nifti1Image(values_at(), np.eye(4))
    image.header["srow_x"], image.header["srow_y"] = [1, 1, 0, 0], [1, 1, 0, 0]
    image.header["sform_code"] = 1
    content = image.header.binaryblock + b"\0" * 4 + values_at().tobytes(order="F")
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(ScanError, match="singular"):
        read_scan(tmp_path / "a.nii")


def test_colour_voxels(tmp_path):
    colour = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(ScanError, match="colours"):
        read_scan(save(tmp_path / "a.nii", colour, np.eye(4)))


def test_missing_and_unknown_files(tmp_path):
    with pytest.raises(ScanError, match="no such file"):
        read_scan(tmp_path / "a.nii.gz")
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(ScanError, match="does not read .png"):
        read_scan(tmp_path / "a.png")
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(ScanError, match="no extension"):
        read_scan(tmp_path / "a")
