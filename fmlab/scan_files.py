"""Scan files to arrays in RAS order and back: NIfTI and NRRD here, folders of DICOM slices in ``dicom_files``."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np

from fmlab import dicom_files
from fmlab.errors import ScanError
from fmlab.grids import LPS_TO_RAS, checked_affine, orientation, to_ras
from fmlab.scan_limits import DEFLATED, refuse_impossible

_NIFTI, _NRRD = (".nii", ".nii.gz"), (".nrrd", ".nhdr")
_KNOWN = ".nii, .nii.gz, .nrrd or a folder of DICOM slices"
_UNIT_MM = {"meter": 1000.0, "micron": 1e-3}  # nibabel's names for NIfTI's units; mm and unknown stay as they are
_SPACE_RAS = {
    "right-anterior-superior": np.eye(4),
    "ras": np.eye(4),
    "left-posterior-superior": LPS_TO_RAS,
    "lps": LPS_TO_RAS,
    "left-anterior-superior": np.diag([-1.0, 1, 1, 1]),
    "las": np.diag([-1.0, 1, 1, 1]),
}
_NRRD_UNIT_MM = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "um": 1e-3, "µm": 1e-3}
_NRRD_BYTES = {"short": 2, "int": 4, "float": 4, "double": 8} | {f"{u}int{n}{t}": n // 8 for u in ("", "u") for n in (16, 32, 64)
                                                                 for t in ("", "_t")}
_MARK = "fmlab"  # key of our JSON comment in a NIfTI header extension; other readers skip it


@dataclass(frozen=True)
class Scan:
    """A file's content, before anyone says whether it is image or labels.

    values: (X, Y, Z), RAS order, finite, slope and intercept applied. affine: (4, 4), index to mm, RAS+. modality: "CT", "MR" or
    "other" where the file says so. comment: what fmlab itself noted in the file. info: facts about the file.
    """

    values: np.ndarray
    affine: np.ndarray
    path: Path
    modality: str | None = None
    comment: Mapping[str, object] = field(default_factory=dict)
    info: Mapping[str, object] = field(default_factory=dict)


def read_scan(path: str | Path) -> Scan:
    """Read .nii, .nii.gz, .nrrd (or .nhdr) or a folder of DICOM slices; the axes come out in the order nearest RAS.

    Raises ScanError for what is missing, broken, not 3-D, not finite, or has no proper grid.
    """
    path = Path(path)
    is_folder = _is_folder(path)
    modality: str | None = None
    comment: Mapping[str, object] = {}
    if is_folder:
        values, affine, modality = dicom_files.read_series(path)
    elif suffix(path) in _NIFTI:
        values, affine, comment = _read_nifti(path)
        modality = comment.get("modality") if comment.get("modality") in ("CT", "MR", "other") else None
    elif suffix(path) in _NRRD:
        values, affine = _read_nrrd(path)
    else:
        raise ScanError(f"{path}: fmlab does not read {suffix(path) or 'a file with no extension'}; give {_KNOWN}.")
    affine = checked_affine(affine, str(path))
    if not np.isfinite(values).all():
        count = int(values.size - np.isfinite(values).sum())
        raise ScanError(
            f"{path}: {count} voxels are NaN or infinite; replace them (numpy.nan_to_num does) and save the file again."
        )
    ordered, moved = to_ras(values, affine)
    return Scan(ordered, moved, path, modality, comment, {"orientation": orientation(affine)})


def suffix(path: str | Path) -> str:
    """The extension in lower case, .nii.gz taken as one."""
    name = Path(path).name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def stem(path: str | Path) -> str:
    """The file or folder's name without its extension."""
    path = Path(path)
    return path.resolve().name if path.is_dir() else path.name[: len(path.name) - len(suffix(path))]


def _is_folder(path: Path) -> bool:
    """Whether it is a folder or a file; ScanError for what is neither, as a pipe or a device could be read for ever."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # the last for a name with a null character
        raise ScanError(f"{str(path)!r}: there is no such file or folder; check the name.") from error
    except OSError as error:
        raise ScanError(f"{path}: cannot be opened ({error.strerror}); check its name and your rights.") from error
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise ScanError(f"{path}: is neither a file nor a folder; give {_KNOWN}.")
    return stat.S_ISDIR(mode)


def _read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray, Mapping[str, object]]:
    """Values (I, J, K), affine in mm, and our own comment."""
    _refuse_bad_header(path)
    try:
        file = nib.load(path)
        values = np.asanyarray(file.dataobj)
        affine = np.array(file.affine, dtype=np.float64)
        affine[:3] *= _UNIT_MM.get(file.header.get_xyzt_units()[0], 1.0)
    except Exception as error:  # nibabel and numpy raise many kinds; to the reader they all mean the same
        raise ScanError(f"{path}: cannot be read as NIfTI, it is damaged or cut short; copy or download it again.") from error
    return _three_d(values, path), affine, _comment(file.header)


def _refuse_bad_header(path: Path) -> None:
    """Look at the header as it lies on disk: how many voxels it claims, and of which size.

    nibabel would quietly turn a negative or zero voxel size into a positive one, and allocate whatever is claimed.
    """
    try:
        with path.open("rb") as stream:
            compressed = stream.read(2) == b"\x1f\x8b"
        stored = path.stat().st_size * (DEFLATED if compressed else 1)
    except OSError as error:
        raise ScanError(f"{path}: cannot be opened ({error.strerror}); check the disk and your rights.") from error
    if compressed != (suffix(path) == ".nii.gz"):
        what = (
            "is gzip-compressed; rename it to .nii.gz"
            if compressed
            else "is not gzip-compressed, or is damaged; name it .nii or fetch it again"
        )
        raise ScanError(f"{path}: the file {what}.")
    try:
        with nib.openers.ImageOpener(path) as stream:
            start = stream.read(540)
        kind = nib.Nifti1Header if nib.Nifti1Header.may_contain_header(start) else nib.Nifti2Header
        header = kind(start[: kind.template_dtype.itemsize], check=False)
        axes = int(header["dim"][0])
        shape, voxel = header.get_data_shape(), header.get_data_dtype().itemsize
    except Exception as error:  # as above
        raise ScanError(
            f"{path}: has no readable NIfTI header, it is damaged or something else; copy or download it again."
        ) from error
    refuse_impossible(path, shape, voxel, stored)
    size = header["pixdim"][1 : 1 + min(axes, 3)].astype(np.float64)
    if axes >= 3 and not (np.isfinite(size).all() and (size > 0).all()):
        raise ScanError(
            f"{path}: the header gives a voxel size of {' x '.join(f'{s:g}' for s in size)} mm; mend it, each must be above zero."
        )


def _comment(header: nib.Nifti1Header) -> Mapping[str, object]:
    """What ``write_nifti`` noted in the header, {} in files of other programs."""
    for extension in header.extensions:
        if extension.get_code() == 6:  # "comment": plain text
            try:
                content = json.loads(bytes(extension.get_content()).rstrip(b"\0 "))[_MARK]
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
            if isinstance(content, dict):
                return content
    return {}


def _read_nrrd(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Values (I, J, K) and the affine in mm, turned from the file's space to RAS."""
    try:
        with path.open("rb") as stream:
            header = nrrd.read_header(stream)
            _refuse_bad_source(path, header)
            values = nrrd.read_data(header, stream, str(path), index_order="F")
    except ScanError:
        raise
    except Exception as error:  # pynrrd and numpy raise many kinds; to the reader they all mean the same
        raise ScanError(f"{path}: cannot be read as NRRD, it is damaged or cut short; copy or download it again.") from error
    space, directions = str(header.get("space", "")).lower(), header.get("space directions")
    if space not in _SPACE_RAS or directions is None:
        raise ScanError(
            f"{path}: the header does not say which way is left (space is {space or 'absent'}); "
            "save it again with its orientation."
        )
    values = _three_d(values, path)
    try:
        rows = np.array([[np.nan] * 3 if d is None else d for d in directions], dtype=np.float64)
        rows = rows[np.isfinite(rows).all(axis=1)]  # axes that are no spatial axis (a list of channels) have no direction
        origin = np.asarray(header.get("space origin", np.zeros(3)), dtype=np.float64).reshape(3)
    except ValueError as error:
        raise ScanError(f"{path}: its directions or origin are not of three numbers each; save it again.") from error
    if rows.shape != (3, 3):
        raise ScanError(
            f"{path}: the header gives {len(rows)} spatial axes where 3 are needed; save it again with its orientation."
        )
    units = header.get("space units") or ["mm"]
    scale = _NRRD_UNIT_MM.get(str(units[0]).lower(), 1.0)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = rows.T * scale, origin * scale
    return values, _SPACE_RAS[space] @ affine


def _refuse_bad_source(path: Path, header: Mapping[str, object]) -> None:
    """ScanError if a NRRD header names no plain file for its voxels, or claims more of them, or of lines to skip, than it has."""
    name = header.get("datafile", header.get("data file"))
    source = path if name is None else path.parent / str(name)
    if not source.is_file():  # a device or a pipe could be read for ever
        raise ScanError(f"{path}: the data file {name!r} that it names is not there, or is none; bring both files together.")
    size, encoding = source.stat().st_size, str(header.get("encoding"))
    if header.get("lineskip", header.get("line skip", 0)) > size:
        raise ScanError(f"{path}: its header skips more lines than {source.name} has bytes; copy or download it again.")
    packed = {"gz": DEFLATED, "gzip": DEFLATED, "bz2": float("inf"), "bzip2": float("inf")}
    voxel = _NRRD_BYTES.get(str(header.get("type")).split()[-1], 1)  # "unsigned char" is of one byte, as "char" is
    text = encoding in ("ascii", "ASCII", "text", "txt")
    refuse_impossible(path, header.get("sizes", ()), 1 if text else voxel, size * packed.get(encoding, 1))


def _three_d(values: np.ndarray, path: Path) -> np.ndarray:
    """Drop axes of one voxel beyond the third (or, in NRRD, a leading channel axis); refuse what is not 3-D numbers."""
    if values.dtype.kind not in "iufb":
        raise ScanError(
            f"{path}: its voxels are colours or complex numbers ({values.dtype}); fmlab reads one real number per voxel."
        )
    found = values.shape
    while values.ndim > 3 and 1 in (values.shape[-1], values.shape[0]):
        values = values[..., 0] if values.shape[-1] == 1 else values[0]
    if values.ndim != 3 or 0 in values.shape:
        advice = "choose one frame and save it alone" if values.ndim > 3 else "give the whole stack of slices"
        raise ScanError(f"{path}: has shape {' x '.join(map(str, found))} where a 3-D scan is needed; {advice}.")
    return values


def compact(values: np.ndarray) -> np.ndarray:
    """int16 where that holds every value exactly, else float32: half the disk for a CT in HU."""
    whole = values.min() >= -32768 and values.max() <= 32767 and (values == np.rint(values)).all()
    return values.astype(np.int16 if whole else np.float32)


def write_nifti(path: str | Path, values: np.ndarray, affine: np.ndarray, comment: Mapping[str, object], overwrite: bool) -> Path:
    """Write (X, Y, Z) values as NIfTI-1, first under a temporary name beside the final one; returns the path.

    sform and qform are set where the grid has right angles (a qform cannot hold shear, so it is left out there); units are mm.
    Raises ScanError for an unknown extension, a missing folder, a full disk, or an existing file without ``overwrite``.
    """
    path = Path(path)
    if suffix(path) not in _NIFTI:
        raise ScanError(f"{path}: fmlab writes NIfTI only; end the name with .nii or .nii.gz.")
    image = nib.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm", "sec")
    sides = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner" if np.allclose(sides.T @ sides, np.eye(3), atol=1e-5) else "unknown")
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", json.dumps({_MARK: dict(comment)}).encode()))
    temporary = None
    try:
        if path.exists() and not overwrite:
            raise ScanError(f"{path}: is there already and was left as it is; choose another name or pass overwrite=True.")
        if not path.parent.is_dir():
            raise ScanError(f"{path}: the folder {path.parent} does not exist; make it first.")
        # a short name, as one that is nearly as long as the system allows would be too long with anything added
        handle, temporary = tempfile.mkstemp(suffix=suffix(path), prefix=".fmlab-", dir=path.parent)
        os.close(handle)
        nib.save(image, temporary)
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes files that only their owner can read
        os.replace(temporary, path)
    except OSError as error:
        raise ScanError(
            f"{path}: could not be written ({error.strerror or error}); check the disk and the folder's rights."
        ) from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
