"""What the viewer shows: one image and any number of label maps on its grid, checked and in whole numbers.

``Scene`` is the one input of all three renderings (live widget, figure, saved page).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fmlab.errors import ScanError
from fmlab.grids import same_grid
from fmlab.viewer.planes import WINDOWS
from fmlab.vocabulary import NAME, PALETTE
from fmlab.volume import Volume

# Okabe and Ito (2008), for label ids that the vocabulary does not know; black is left out, as it vanishes on a scan.
OKABE_ITO = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))
MASK_CODE = 255  # a yes/no mask has no id of the vocabulary

Labels = Volume | torch.Tensor | np.ndarray


@dataclass(frozen=True)
class Entry:
    """One row of the legend. code: the value in the codes arrays. id: the value in the caller's labels. ml: per label map."""

    code: int
    id: int
    name: str
    colour: tuple[int, int, int]
    ml: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Scene:
    """values: (X, Y, Z) int16, Fortran order; value * slope + intercept is in ``unit``. codes: one uint8 array per label map.

    note: what was simplified, for the reader ("" if nothing). auto: a window from the image's own 1st to 99th percentile.
    """

    values: np.ndarray
    slope: float
    intercept: float
    unit: str
    affine: np.ndarray
    title: str
    auto: tuple[float, float]
    layers: tuple[str, ...] = ()
    codes: tuple[np.ndarray, ...] = ()
    entries: tuple[Entry, ...] = ()
    note: str = ""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along x, y, z."""
        return self.values.shape

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm along x, y, z."""
        return tuple(float(s) for s in np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def windows(self) -> dict[str, tuple[float, float]]:
        """Presets that make sense here: those of CT for HU, else the automatic one alone."""
        return {**WINDOWS, "auto": self.auto} if self.unit == "HU" else {"auto": self.auto}


def build_scene(volume: Volume, labels: Labels | None = None, compare: Sequence[tuple[str, Labels]] = ()) -> Scene:
    """Check the parts and put them together; ScanError with one sentence if one of them does not fit.

    Without ``labels`` the volume's own are taken; with two label maps or more in ``compare`` and no ``labels``, those alone.
    """
    if not isinstance(volume, Volume):
        raise ScanError(f"view() was given a {type(volume).__name__}, not a Volume; read a scan by Volume.read(path) first.")
    maps = _label_maps(volume, labels, compare)
    arrays = [_label_array(volume, one, name) for name, one in maps]
    codes, entries = _coded(arrays, [name for name, _ in maps], volume.voxel_ml)
    values, slope, intercept = _whole_numbers(volume)
    title = volume.name or ("CT scan" if volume.modality == "CT" else "scan")
    unit = "HU" if volume.modality == "CT" else "(intensity)"
    low, high = np.percentile(values[::2, ::2, ::2], (1, 99)) * slope + intercept
    width = max(float(high - low), 0.001)
    digits = 2 - int(np.floor(np.log10(width)))  # three of the width's: they are read in a small field
    auto = round(float(low + high) / 2, digits), round(width, digits)
    return Scene(values, slope, intercept, unit, volume.affine, title, auto, tuple(n for n, _ in maps), codes, entries)


def _label_maps(volume: Volume, labels: Labels | None, compare: Sequence[tuple[str, Labels]]) -> list[tuple[str, Labels]]:
    """(name, labels) of every label map, the first one first."""
    for pair in compare:
        if not (isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[0], str)):
            raise ScanError('compare= takes pairs of a name and labels, such as [("reader 1", labels1), ("reader 2", labels2)].')
    if labels is None and len(compare) < 2:
        labels = volume.labels
    return ([] if labels is None else [("labels", labels)]) + [(name, one) for name, one in compare]


def _label_array(volume: Volume, labels: Labels, name: str) -> np.ndarray:
    """Labels as an (X, Y, Z) array of whole numbers (or yes/no) on the image's grid."""
    if isinstance(labels, Volume):
        if labels.labels is None:
            raise ScanError(f"The volume given as {name!r} has no labels to show; read it with labels=... or leave it out.")
        if not same_grid(volume.shape, volume.affine, labels.shape, labels.affine):
            raise ScanError(f"The labels {name!r} lie on another grid than the image; use volume.with_labels(...).")
        labels = labels.labels
    array = labels.detach().cpu().numpy() if isinstance(labels, torch.Tensor) else np.asarray(labels)
    array = array[0] if array.ndim == 4 and array.shape[0] == 1 else array
    if array.shape != tuple(volume.shape):
        raise ScanError(f"The labels {name!r} have shape {array.shape}, the image {tuple(volume.shape)}; resample them to it.")
    if array.dtype.kind == "f" and (array == np.round(array)).all():
        array = array.astype(np.int64)
    if array.dtype.kind not in "biu":
        raise ScanError(f"The labels {name!r} are not whole numbers ({array.dtype}); give ids, or threshold probabilities first.")
    return array


def _coded(arrays: list[np.ndarray], names: list[str], voxel_ml: float) -> tuple[tuple[np.ndarray, ...], tuple[Entry, ...]]:
    """Every label map as uint8 codes, and the legend over all of them; ids beyond 255 or below 0 get free codes."""
    ids = sorted({int(i) for a in arrays if a.dtype.kind != "b" for i in np.unique(a)} - {0})
    masks = [name for name, a in zip(names, arrays, strict=True) if a.dtype.kind == "b"]
    free = iter(sorted(set(range(1, MASK_CODE)) - set(ids)))
    if len(ids) > MASK_CODE - 1:
        raise ScanError(f"The labels hold {len(ids)} different ids; the viewer shows at most {MASK_CODE - 1}.")
    code = {i: i if 0 < i < MASK_CODE else next(free) for i in ids}
    coded = tuple(_translate(a, code) for a in arrays)
    counts = [np.bincount(c.ravel(order="K"), minlength=256) for c in coded]
    rows = [(code[i], i, NAME.get(i, f"label {i}"), _colour(i)) for i in ids]
    if masks:
        rows.append((MASK_CODE, MASK_CODE, masks[0] if masks[0] != "labels" else "mask", OKABE_ITO[0]))
    entries = (Entry(*row, tuple(round(float(n[row[0]]) * voxel_ml, 3) for n in counts)) for row in rows)
    return coded, tuple(entries)


def _translate(array: np.ndarray, code: dict[int, int]) -> np.ndarray:
    if array.dtype.kind == "b":
        return np.asfortranarray(array.astype(np.uint8) * np.uint8(MASK_CODE))
    if all(i == c for i, c in code.items()):
        return np.asfortranarray(array.astype(np.uint8))
    ids = np.array([0, *code], dtype=np.int64)
    order = np.argsort(ids)
    codes = np.array([0, *code.values()], dtype=np.uint8)[order]
    return np.asfortranarray(codes[np.searchsorted(ids[order], array)])


def _colour(label: int) -> tuple[int, int, int]:
    return tuple(int(c) for c in PALETTE[label]) if label in NAME else OKABE_ITO[label % len(OKABE_ITO)]


def _whole_numbers(volume: Volume) -> tuple[np.ndarray, float, float]:
    """The image as int16 with slope and intercept: HU as they are (rounded), other intensities over the whole int16 range."""
    image = volume.image[0].detach().cpu().numpy()
    low, high = float(image.min()), float(image.max())
    if volume.modality == "CT" and -32768 <= low and high <= 32767:
        return np.asfortranarray(np.round(image).astype(np.int16)), 1.0, 0.0
    slope = max((high - low) / 65000, 1e-12)
    return np.asfortranarray((np.round((image - low) / slope) - 32500).astype(np.int16)), slope, low + 32500 * slope
