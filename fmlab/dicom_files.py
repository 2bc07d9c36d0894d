"""A folder of DICOM slices to one array: the slices of one series, in order, evenly spaced, stacked along their normal."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from fmlab.errors import ScanError
from fmlab.grids import LPS_TO_RAS
from fmlab.scan_limits import refuse_impossible

_UNEVEN_MM = 0.05  # slice positions are often written with one or two decimals; beyond this a slice is missing or out of place
_NEEDED = ("SeriesInstanceUID", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns")


def read_series(folder: Path) -> tuple[np.ndarray, np.ndarray, str]:
    """Values (column, row, slice) with slope and intercept applied, affine (4, 4) to mm in RAS+, and "CT", "MR" or "other".

    Files that are not DICOM are passed over. Raises ScanError for an empty folder, mixed series, several frames in a file,
    missing or doubled slices, a tilted gantry, and pixels that cannot be decoded.
    """
    try:
        return _stacked(_slices(folder), folder)
    except ScanError:
        raise
    except Exception as error:  # a tag is decoded when it is first looked at, and one that is damaged can raise anything
        raise ScanError(
            f"{folder}: a slice has a tag that cannot be understood ({type(error).__name__}), so it is damaged; "
            "copy or export the series again."
        ) from error


def _stacked(slices: list[Dataset], folder: Path) -> tuple[np.ndarray, np.ndarray, str]:
    """What ``read_series`` returns, of slices in any order."""
    _refuse_mixed(slices, folder)
    refuse_impossible(folder, (slices[0].Columns, slices[0].Rows, len(slices)), 8)
    across, down = np.array(slices[0].ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
    normal = np.cross(across, down)
    if not np.isclose(np.linalg.norm(normal), 1.0, atol=1e-3):
        raise ScanError(
            f"{folder}: ImageOrientationPatient does not hold two directions at right angles; export the series again."
        )
    slices.sort(key=lambda s: float(np.dot(normal, np.array(s.ImagePositionPatient, dtype=np.float64))))
    affine = np.eye(4)
    row_mm, column_mm = (float(v) for v in slices[0].PixelSpacing)  # DICOM names the distance between rows first
    affine[:3, 0], affine[:3, 1] = across * column_mm, down * row_mm
    affine[:3, 2] = _step(slices, normal, folder)
    affine[:3, 3] = np.array(slices[0].ImagePositionPatient, dtype=np.float64)
    values = np.stack([_pixels(s, folder) for s in slices], axis=-1)
    kind = str(slices[0].get("Modality", "other"))
    return values, LPS_TO_RAS @ affine, kind if kind in ("CT", "MR") else "other"


def _slices(folder: Path) -> list[Dataset]:
    """Every DICOM image that lies in the folder itself."""
    found = []
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        try:
            dataset = pydicom.dcmread(path)
        except InvalidDicomError:
            continue
        except Exception as error:  # pydicom raises many kinds
            raise ScanError(f"{path}: is a damaged DICOM file; copy or export it again.") from error
        if "PixelData" in dataset:
            found.append(dataset)
    if not found:
        below = sorted(p.name for p in folder.iterdir() if p.is_dir())
        advice = (
            f"name one of its folders ({', '.join(below[:4])})"
            if below
            else "name the folder that holds the slices of one series"
        )
        raise ScanError(f"{folder}: holds no DICOM slices; {advice}.")
    return found


def _refuse_mixed(slices: list[Dataset], folder: Path) -> None:
    """One series, one size, one orientation, one frame a file; all the tags that place a slice."""
    for dataset in slices:
        name = Path(str(dataset.filename)).name
        if int(dataset.get("NumberOfFrames") or 1) > 1:
            raise ScanError(
                f"{folder}: {name} holds many frames in one file, which fmlab does not read; convert it to NIfTI (dcm2niix does)."
            )
        missing = [tag for tag in _NEEDED if dataset.get(tag) in (None, "")]
        if missing:
            raise ScanError(
                f"{folder}: {name} lacks {', '.join(missing)}, so its place is unknown; take it out or export the series again."
            )
        if (
            int(dataset.get("SamplesPerPixel", 1)) != 1
            or dataset.get("PhotometricInterpretation", "MONOCHROME2") != "MONOCHROME2"
        ):
            raise ScanError(
                f"{folder}: {name} is not a plain grey-scale slice ({dataset.get('PhotometricInterpretation')}); take it out."
            )
    series = Counter(str(s.SeriesInstanceUID) for s in slices)
    if len(series) > 1:
        counts = ", ".join(str(n) for n in series.values())
        raise ScanError(
            f"{folder}: holds slices of {len(series)} series ({counts} slices); put each series in a folder of its own."
        )
    first = slices[0]
    for dataset in slices[1:]:
        turned = not np.allclose(
            _numbers(dataset, "ImageOrientationPatient"), _numbers(first, "ImageOrientationPatient"), atol=1e-4
        )
        scaled = not np.allclose(_numbers(dataset, "PixelSpacing"), _numbers(first, "PixelSpacing"), rtol=1e-4)
        if turned or scaled or (dataset.Rows, dataset.Columns) != (first.Rows, first.Columns):
            raise ScanError(
                f"{folder}: {Path(str(dataset.filename)).name} has another size, spacing or direction than the rest "
                "(a localiser?); take it out."
            )


def _numbers(dataset: Dataset, tag: str) -> np.ndarray:
    return np.array(dataset[tag].value, dtype=np.float64)


def _step(slices: list[Dataset], normal: np.ndarray, folder: Path) -> np.ndarray:
    """The vector (3,) in mm, LPS, from one slice to the next; ScanError if the slices are no even, upright stack."""
    positions = np.array([_numbers(s, "ImagePositionPatient") for s in slices])
    if len(slices) == 1:
        thick = float(slices[0].get("SpacingBetweenSlices") or slices[0].get("SliceThickness") or 0)
        if thick <= 0:
            raise ScanError(f"{folder}: a single slice with no SliceThickness; name the folder that holds the whole series.")
        return normal * thick
    gaps = np.diff(positions @ normal)
    usual = float(np.median(gaps))
    if (gaps < 1e-3).any():
        raise ScanError(
            f"{folder}: {int((gaps < 1e-3).sum())} slices lie where another one lies (two phases or a copy?); keep one of each."
        )
    step = (positions[-1] - positions[0]) / (len(slices) - 1)
    if np.linalg.norm(step - normal * (step @ normal)) > 1e-3 * np.linalg.norm(step):
        degrees = np.degrees(np.arccos(np.clip(step @ normal / np.linalg.norm(step), -1, 1)))
        raise ScanError(
            f"{folder}: the stack leans by {degrees:.1f} degrees (a tilted gantry); straighten it first (dcm2niix does)."
        )
    away = np.linalg.norm(positions - (positions[0] + np.arange(len(slices))[:, None] * step), axis=1)
    if away.max() > _UNEVEN_MM:
        odd = gaps[np.argmax(np.abs(gaps - usual))]
        raise ScanError(
            f"{folder}: the slices are unevenly spaced (usually {usual:.4g} mm, once {odd:.4g} mm), "
            "so one is missing or two scans are mixed; export the series again."
        )
    return step


def _pixels(dataset: Dataset, folder: Path) -> np.ndarray:
    """One slice as float32 (column, row), slope and intercept applied."""
    try:
        stored = dataset.pixel_array
    except Exception as error:  # pydicom's decoders raise many kinds; all mean the same to the reader
        raise ScanError(
            f"{folder}: the pixels of {Path(str(dataset.filename)).name} cannot be decoded ({type(error).__name__}); "
            "the file is cut short or compressed in a way that needs a plug-in, so convert it to NIfTI."
        ) from error
    slope, intercept = float(dataset.get("RescaleSlope") or 1.0), float(dataset.get("RescaleIntercept") or 0.0)
    return (stored.astype(np.float64) * slope + intercept).astype(np.float32).T
