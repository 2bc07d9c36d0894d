"""How the files of a data set pair up: which image and which labels are one case, whatever the folders above are called.

Most sets have one label file a case. TotalSegmentator has a folder of masks, one a structure; CHAOS a folder of PNG slices beside
its DICOM slices. ``read`` turns each into a Volume, whose own checks then compare the two grids.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel as nib
import numpy as np

from fmlab.errors import DataError, ScanError
from fmlab.grids import LPS_TO_RAS
from fmlab.schemes import ANNOTATED
from fmlab.vocabulary import ID, region
from fmlab.volume import Volume

_PIECES = {"{any}": r"(?:.*/)?", "{top}": r"(?P<top>(?:.*/)?)", "*": r"[^/]+"}

# TotalSegmentator's masks that the vocabulary has only as a part of something, as in ``fmlab.schemes``.
_PART_OF = {"vertebrae_S1": "sacrum", "atrial_appendage_left": "heart_atrium_left", "skull": "bone", "face": "body",
            "thyroid_gland": "body", "pulmonary_vein": "body"}
_PREFIX = {"vertebrae_": "vertebrae", "rib_": "ribs", "humerus_": "bone", "scapula_": "bone", "clavicula_": "bone",
           "brachiocephalic_": "body", "subclavian_": "body", "common_carotid_": "body"}


@dataclass(frozen=True)
class Layout:
    """Patterns of a data set's paths.

    pairs: (image, labels) patterns below the data set's folder. "{case}" stands for the case's name, "{top}" for folders that
    both share, "{any}" for any folders, "*" for one step; a last step without a dot is a folder. case: regular expression of the
    names that count. kind: the labels are a "file", a folder of "masks" or a folder of "slices".
    """

    pairs: tuple[tuple[str, str], ...]
    case: str = r"[^/]+?"
    kind: str = "file"


@dataclass(frozen=True)
class Pair:
    """One case: its name, its image (file or folder of DICOM slices), its labels (file or folder, see ``Layout.kind``)."""

    case: str
    image: Path
    labels: Path
    kind: str = "file"


def find_pairs(layout: Layout, folder: str | Path) -> tuple[Pair, ...]:
    """The labelled cases below a folder, sorted by name; images without labels are passed over.

    Raises DataError if the folder is not there, holds no labelled case, or one case twice.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; name the folder that holds the unpacked data set.")
    files, folders = _walk(folder)
    found: dict[str, Pair] = {}
    for image_pattern, label_pattern in layout.pairs:
        shared = tuple(name for name in ("top", "case") if all(f"{{{name}}}" in p for p in (image_pattern, label_pattern)))
        images, labels = (_matches(pattern, layout.case, files if "." in pattern.split("/")[-1] else folders, shared, folder)
                          for pattern in (image_pattern, label_pattern))
        for key, (case, image) in images.items():
            if key in labels and found.setdefault(case, pair := Pair(case, folder / image, folder / labels[key][1],
                                                                     layout.kind)) != pair:
                raise DataError(f"{folder}: the case {case} is there twice, as {found[case].image} and {pair.image}; "
                                "name a folder with one copy of the data set.")
    if not found:
        wanted = " or ".join(f"{image} with {labels}" for image, labels in layout.pairs)
        raise DataError(f"{folder} holds no labelled case of this data set, which would be {wanted}; unpack its archives there.")
    return tuple(found[case] for case in sorted(found))


def read(pair: Pair, scheme: str, modality: str = "CT") -> Volume:
    """A case as a Volume in RAS with labels in vocabulary ids. Raises ScanError or VocabularyError as ``Volume.read`` does."""
    if pair.kind == "file":
        return Volume.read(pair.image, pair.labels, scheme, modality, pair.case)
    with TemporaryDirectory() as work:
        joined = Path(work) / f"{pair.case}.nii"
        if pair.kind == "slices":
            stack_slices(pair.image, pair.labels, joined)
            return Volume.read(pair.image, joined, scheme, modality, pair.case)
        join_masks(pair.labels, joined)
        volume = Volume.read(pair.image, joined, "fmlab", modality, pair.case)
    return volume.with_labels(volume.labels, ANNOTATED[scheme])


def join_masks(folder: Path, target: Path) -> None:
    """Write a folder of masks, NAME.nii.gz each, as one NIfTI label file in vocabulary ids; parts are drawn over their wholes."""
    paths = {path.name.removesuffix(".nii.gz"): path for path in folder.glob("*.nii.gz") if not path.name.startswith(".")}
    if not paths:
        raise ScanError(f"{folder}: holds no mask, NAME.nii.gz; unpack the data set again.")
    drawn = affine = None
    for name in sorted(paths, key=lambda n: (-len(region(structure_of(n))), n)):
        file = nib.load(paths[name])
        mask = np.asarray(file.dataobj) > 0
        if drawn is None:
            drawn, affine = np.zeros(mask.shape, np.uint8), file.affine
        if mask.shape != drawn.shape or not np.allclose(file.affine, affine, atol=1e-3):
            raise ScanError(f"{paths[name]}: lies on another grid than the masks beside it; unpack the data set again.")
        drawn[mask] = ID[structure_of(name)]
    nib.save(nib.Nifti1Image(drawn, affine), target)


def structure_of(mask: str) -> str:
    """The vocabulary's name for a mask of TotalSegmentator: its own entry, or what it is a part of; ScanError if it has none."""
    ours = _PART_OF.get(mask) or next((to for start, to in _PREFIX.items() if mask.startswith(start)), mask)
    if ours not in ID:
        raise ScanError(f"A mask is called {mask!r}, which is no structure of the vocabulary; take it out of the folder.")
    return ours


def stack_slices(dicoms: Path, pictures: Path, target: Path) -> None:
    """Write PNG slices as a NIfTI label file (1 where the picture is not black) on the grid of the DICOM slices.

    The pictures say nothing of where they lie: the n-th picture belongs to the n-th DICOM file, both by the numbers in their
    names. In CHAOS that order gives livers of 100 to 145 HU; the order of positions gives -88 to 59 (seen in the sources).
    """
    import pydicom
    from PIL import Image

    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in _numbered(dicoms, ".dcm")]
    planes = [np.asarray(Image.open(path).convert("L")) > 0 for path in _numbered(pictures, ".png")]
    if not planes or len(headers) != len(planes):
        raise ScanError(f"{pictures}: holds {len(planes)} pictures for {len(headers)} DICOM slices; unpack the data set again.")
    places = np.array([header.ImagePositionPatient for header in headers], dtype=float)
    along = np.array(headers[0].ImageOrientationPatient, dtype=float).reshape(2, 3)  # along a row, down a column
    down, right = (float(size) for size in headers[0].PixelSpacing)
    step = (places[-1] - places[0]) / max(1, len(places) - 1)
    if not np.allclose(places, places[0] + np.arange(len(places))[:, None] * step, atol=0.1):
        raise ScanError(f"{dicoms}: the numbers in the file names do not follow the slices, so the pictures cannot be placed; "
                        "leave this case out.")
    if len(places) == 1:
        step = np.cross(*along) * float(headers[0].SliceThickness)
    affine = np.eye(4)
    affine[:3] = np.column_stack([along[0] * right, along[1] * down, step, places[0]])
    labels = np.stack([plane.T for plane in planes], axis=-1).astype(np.uint8)  # (column, row, slice)
    nib.save(nib.Nifti1Image(labels, LPS_TO_RAS @ affine), target)


def _walk(folder: Path) -> tuple[list[str], list[str]]:
    """Relative paths of all files and of all folders, sorted, without what macOS and we ourselves hide."""
    files, folders = [], []
    for where, below, names in os.walk(folder):
        below[:] = sorted(name for name in below if not name.startswith(".") and name != "__MACOSX")
        files += [Path(where, name).relative_to(folder).as_posix() for name in names if not name.startswith(".")]
        folders += [Path(where, name).relative_to(folder).as_posix() for name in below]
    return sorted(files), sorted(folders)


def _matches(pattern: str, case: str, paths: list[str], key: tuple[str, ...], folder: Path) -> dict[tuple, tuple[str, str]]:
    """What the key is in each path that fits: key to (case, path); DataError for two paths of one key."""
    expression = _expression(pattern, case)
    found: dict[tuple, tuple[str, str]] = {}
    for path in paths:
        if not (fit := expression.fullmatch(path)):
            continue
        name = tuple(fit[group] for group in key)
        if name in found:
            raise DataError(f"{folder}: the case {fit['case']} is there twice, as {found[name][1]} and {path}; "
                            "name a folder with one copy of the data set.")
        found[name] = (fit["case"], path)
    return found


def _expression(pattern: str, case: str) -> re.Pattern[str]:
    """A pattern as a regular expression; the second {case} is the same as the first."""
    pieces, seen = [], False
    for piece in re.split(r"(\{any\}|\{top\}|\{case\}|\*)", pattern):
        if piece == "{case}":
            pieces.append("(?P=case)" if seen else f"(?P<case>{case})")
            seen = True
        else:
            pieces.append(_PIECES.get(piece) or re.escape(piece))
    return re.compile("".join(pieces))


def _numbered(folder: Path, suffix: str) -> list[Path]:
    """The folder's files of this suffix by the numbers in their names: i0002,0000b.dcm before i0010,0000b.dcm."""
    paths = [path for path in folder.iterdir() if path.suffix.lower() == suffix and not path.name.startswith(".")]
    return sorted(paths, key=lambda path: ([int(number) for number in re.findall(r"\d+", path.stem)], path.name))
