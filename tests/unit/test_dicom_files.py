"""Folders of DICOM slices: shuffled, scaled, oblique ones come out right; everything that is no even stack is refused."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from fmlab import grids
from fmlab.errors import ScanError
from fmlab.scan_files import read_scan


def distinct_pixels(count: int) -> np.ndarray:
    """(slice, row, column) with no value twice, so that any swap or flip shows."""
    return np.random.default_rng(0).permutation(np.arange(-100, count * 20 - 100)).reshape(count, 4, 5).astype(np.int16)


def write_slice(folder: Path, name: str, pixels: np.ndarray, position, series: str, **tags) -> Path:
    """One CT slice; pixels (row, column), position in mm, LPS."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = (
        CTImageStorage,
        generate_uid(),
        ExplicitVRLittleEndian,
    )
    data = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Modality, data.SeriesInstanceUID = "CT", series
    data.ImagePositionPatient = [f"{v:.6f}"[:16] for v in position]
    data.ImageOrientationPatient, data.PixelSpacing, data.SliceThickness = [1, 0, 0, 0, 1, 0], [0.7, 0.9], 2.5
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.RescaleSlope, data.RescaleIntercept = 1, 0
    data.PixelData = pixels.astype("<i2").tobytes()
    for tag, value in tags.items():
        setattr(data, tag, value) if value is not None else delattr(data, tag)
    path = folder / name
    data.save_as(path, enforce_file_format=True)
    return path


def write_series(folder: Path, count: int = 6, step=(0.0, 0.0, 2.5), **tags) -> np.ndarray:
    """A series in shuffled file order; returns its stored pixels (slice, row, column)."""
    folder.mkdir(exist_ok=True)
    pixels = distinct_pixels(count)
    order, series = np.random.default_rng(3).permutation(count), generate_uid()
    for number, i in enumerate(order):
        write_slice(folder, f"IM{number:03d}", pixels[i], np.array([-100.0, -50.0, 20.0]) + i * np.array(step), series, **tags)
    return pixels


def test_a_shuffled_series_with_slope(tmp_path):
    pixels = write_series(tmp_path / "ct", RescaleSlope=2, RescaleIntercept=-1024)
    (tmp_path / "ct" / "readme.txt").write_text("not a slice")
    scan = read_scan(tmp_path / "ct")
    assert scan.modality == "CT" and grids.orientation(scan.affine) == "RAS" and scan.values.shape == (5, 4, 6)
    for k, row, column in itertools.product(range(6), range(4), range(5)):
        mm = [-(-100 + 0.9 * column), -(-50 + 0.7 * row), 20 + 2.5 * k]  # written in LPS, read in RAS
        index = np.linalg.inv(scan.affine) @ [*mm, 1]
        assert np.allclose(index, np.rint(index), atol=1e-3)
        assert scan.values[tuple(np.rint(index[:3]).astype(int))] == pixels[k, row, column] * 2 - 1024


def test_every_slice_has_its_own_slope(tmp_path):
    folder, series = tmp_path / "pet", generate_uid()
    folder.mkdir()
    for k, slope in enumerate((1, 2, 4)):
        write_slice(folder, f"IM{k}", np.full((4, 5), 10), (0, 0, 3.0 * k), series, RescaleSlope=slope, Modality="PT")
    scan = read_scan(folder)
    assert scan.modality == "other" and scan.values[0, 0].tolist() == [10, 20, 40]


def test_one_slice_takes_its_thickness(tmp_path):
    write_series(tmp_path / "ct", count=1)
    assert np.linalg.norm(read_scan(tmp_path / "ct").affine[:3, 2]) == pytest.approx(2.5)


@pytest.mark.parametrize("seed", range(4))
def test_oblique_dicom_agrees_with_itk(seed, tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    turn[:, 2] = np.cross(turn[:, 0], turn[:, 1])
    directions = [f"{v:.12f}"[:16] for v in (*turn[:, 0], *turn[:, 1])]
    write_series(tmp_path / "ct", step=2.5 * turn[:, 2], ImageOrientationPatient=directions)
    scan = read_scan(tmp_path / "ct")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "ct")))
    other = reader.Execute()
    for ijk in itertools.product((0, 4), (0, 3), (0, 5)):
        mm = np.array(other.TransformIndexToPhysicalPoint(ijk)) * [-1, -1, 1]
        index = np.linalg.inv(scan.affine) @ [*mm, 1]
        assert np.allclose(index, np.rint(index), atol=1e-3)
        assert scan.values[tuple(np.rint(index[:3]).astype(int))] == other[ijk]


def by_height(folder: Path) -> list[Path]:
    return sorted(folder.iterdir(), key=lambda path: float(pydicom.dcmread(path).ImagePositionPatient[2]))


def mixed(folder: Path) -> None:
    write_series(folder)
    write_slice(folder, "other", distinct_pixels(1)[0], (-100, -50, 90), generate_uid())


def cut_file(folder: Path) -> None:
    write_series(folder)
    path = folder / "IM002"
    path.write_bytes(path.read_bytes()[:-21])


def gap(folder: Path) -> None:
    write_series(folder)
    by_height(folder)[2].unlink()


def double(folder: Path) -> None:
    write_series(folder)
    (folder / "copy").write_bytes(by_height(folder)[2].read_bytes())


def localiser(folder: Path) -> None:
    write_series(folder)
    path = by_height(folder)[0]
    dataset = pydicom.dcmread(path)
    dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    dataset.save_as(path)


def tagged(**tags: object) -> Callable[[Path], object]:
    """A series with these tags changed; None takes a tag out."""
    return lambda folder: write_series(folder, **tags)


BAD_FOLDERS = [
    (lambda folder: (folder / "note.txt").write_text("nothing here"), "holds no DICOM slices"),
    (lambda folder: write_series(folder / "series-1"), "name one of its folders .series-1"),
    (mixed, "2 series .6, 1 slices|2 series .1, 6 slices"),
    (tagged(ImagePositionPatient=None), "lacks ImagePositionPatient"),
    (tagged(NumberOfFrames=2), "many frames"),
    (tagged(step=(0.0, 0.6, 2.5)), "leans by 13.5 degrees"),
    (tagged(PhotometricInterpretation="MONOCHROME1"), "grey-scale"),
    (tagged(PixelData=b"\0\0"), "cannot be decoded"),
    (tagged(PixelSpacing=[0, 0.9]), "above zero"),
    (tagged(count=1, SliceThickness=None), "single slice"),
    (cut_file, "cannot be decoded|damaged"),
    (gap, "unevenly spaced .usually 2.5 mm, once 5 mm"),
    (double, "lie where another one lies"),
    (localiser, "localiser"),
]


@pytest.mark.parametrize(("make", "sentence"), BAD_FOLDERS)
def test_bad_folders(make, sentence, tmp_path):
    folder = tmp_path / "ct"
    folder.mkdir()
    make(folder)
    with pytest.raises(ScanError, match=sentence):
        read_scan(folder)
