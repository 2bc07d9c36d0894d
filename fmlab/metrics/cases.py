"""One case: two label maps in, one Score per structure out. The conventions are in the table of ``fmlab.metrics``."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy import ndimage

from fmlab import grids
from fmlab.errors import ScanError
from fmlab.metrics import masks
from fmlab.vocabulary import NAME, present_ids, region, structure
from fmlab.volume import Volume

Status = Literal["ok", "missed", "false positive", "absent", "not annotated"]
Labels = Volume | torch.Tensor | np.ndarray
Boxes = list[tuple[slice, ...] | None]


@dataclass(frozen=True)
class Score:
    """How one structure of one case came out.

    dice, nsd: 0 to 1. hd95: mm. volume_error: prediction less reference, ml. volume_ml: the reference's volume. tolerance: of the
    NSD, mm. Status "absent" and "not annotated" carry NaN: there was nothing to score, and nothing enters a mean.
    """

    structure: str
    dice: float
    nsd: float
    hd95: float
    volume_error: float
    volume_ml: float
    status: Status
    tolerance: float = 2.0

    @property
    def scored(self) -> bool:
        """Whether the case counts in the structure's mean: the reference has it, or the prediction claims it wrongly."""
        return self.status in ("ok", "missed", "false positive")


def evaluate(prediction: Labels, reference: Labels, structures: Iterable[str] | None = None, tolerance: float = 2.0,
             spacing: masks.Spacing | None = None, annotated: Iterable[str] | None = None) -> list[Score]:
    """Score the structures of one case.

    prediction, reference: Volumes with labels on one grid, or vocabulary ids as (X, Y, Z), (1, X, Y, Z) or (X, Y); an array
    beside a Volume lies on that Volume's grid, two arrays need ``spacing`` in mm. A structure is its region: liver with tumours.
    structures: names, in the order wanted; by default all that either side draws. tolerance: mm, for the NSD.
    annotated: what the reference's author looked for; by default the reference Volume's ``annotated``. Where that is None too, a
    Volume vouches only for what it draws, while a bare array is taken to be complete.

    Raises ScanError for other grids, sheared grids, missing labels or spacing, VocabularyError for unknown names or ids.
    """
    limit = masks.checked_tolerance(tolerance)
    p, r = _ids(prediction, "prediction"), _ids(reference, "reference")
    size = _common_spacing(prediction, reference, p, r, spacing)
    boxes = ndimage.find_objects(p, 255), ndimage.find_objects(r, 255)  # so that each structure costs its own box, not the scan
    names = [NAME[i + 1] for i in range(255) if boxes[0][i] or boxes[1][i]] if structures is None else _checked_names(structures)
    known = _annotated(reference, annotated)
    scores = []
    for name in names:
        ids = region(name)
        drawn = any(boxes[1][i - 1] for i in ids)
        if (name in known) if known is not None else (drawn or not isinstance(reference, Volume)):
            box = _joint_box([b[i - 1] for b in boxes for i in ids])
            scores.append(_score(name, np.isin(p[box], ids), np.isin(r[box], ids), p.shape, size, limit))
        else:
            scores.append(Score(name, math.nan, math.nan, math.nan, math.nan, math.nan, "not annotated", limit))
    return scores


def _score(name: str, p: np.ndarray, r: np.ndarray, shape: tuple[int, ...], spacing: tuple[float, ...],
           tolerance: float) -> Score:
    """One row of the table of conventions; p and r are bool boxes cut from scans of this shape."""
    voxels_p, voxels_r = int(np.count_nonzero(p)), int(np.count_nonzero(r))
    volume = voxels_r * masks.voxel_size(spacing)
    if not (voxels_p or voxels_r):
        return Score(name, math.nan, math.nan, math.nan, math.nan, volume, "absent", tolerance)
    error = (voxels_p - voxels_r) * masks.voxel_size(spacing)
    if not (voxels_p and voxels_r):
        penalty = masks.field_of_view_diagonal(shape, spacing)
        return Score(name, 0.0, 0.0, penalty, error, volume, "missed" if voxels_r else "false positive", tolerance)
    distances = masks.surface_distances(p, r, spacing)
    nsd, hd95 = masks.share_within(*distances, tolerance), masks.larger_percentile(*distances)
    return Score(name, masks.dice(p, r), nsd, hd95, error, volume, "ok", tolerance)


def _ids(labels: Labels, which: str) -> np.ndarray:
    """The label ids as a uint8 array with two or three axes."""
    if isinstance(labels, Volume):
        if labels.labels is None:
            raise ScanError(f"The {which} {labels.name!r} has no labels to score; add them by with_labels().")
        return np.ascontiguousarray(masks.as_numpy(labels.labels[0]))
    array = masks.as_numpy(labels)
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim not in (2, 3) or array.size == 0:
        raise ScanError(f"The {which} has shape {array.shape}; give one label id per voxel, (X, Y, Z), (1, X, Y, Z) or (X, Y).")
    if array.dtype.kind not in "biuf" or not np.array_equal(array, np.round(array)):
        raise ScanError(f"The {which} holds values that are no label ids; take the argmax of scores, or threshold them, first.")
    present_ids(torch.from_numpy(array.astype(np.int64)), f"the {which}")
    return np.ascontiguousarray(array.astype(np.uint8))


def _common_spacing(prediction: Labels, reference: Labels, p: np.ndarray, r: np.ndarray,
                    spacing: masks.Spacing | None) -> tuple[float, ...]:
    """The spacing both share, in mm; ScanError if they lie on two grids or nobody says how large a voxel is."""
    volumes = [v for v in (reference, prediction) if isinstance(v, Volume)]
    if len(volumes) == 2 and not grids.same_grid(reference.shape, reference.affine, prediction.shape, prediction.affine):
        difference = grids.grid_difference(reference.shape, reference.affine, prediction.shape, prediction.affine)
        raise ScanError(
            f"The prediction lies on another grid than the reference: {difference}; "
            "bring it over with reference.with_labels(prediction).")
    if p.shape != r.shape:
        raise ScanError(
            f"The prediction has shape {p.shape} and the reference {r.shape}; "
            "bring both to one grid before you compare them.")
    if not volumes:
        if spacing is None:
            raise ScanError("Label arrays do not say how large a voxel is; pass spacing=(sx, sy, sz) in mm.")
        return masks.checked_spacing(spacing, p.ndim)
    own = volumes[0].spacing
    if spacing is not None and not np.allclose(masks.checked_spacing(spacing, 3), own, rtol=1e-3):
        raise ScanError(
            f"The Volume has a spacing of {own} mm, yet spacing={spacing!r} was given; "
            "leave it out, or mend the affine.")
    if abs(volumes[0].voxel_ml / masks.voxel_size(own) - 1) > 0.01:  # mm along the axes are mm in the body only at right angles
        raise ScanError(
            f"The axes of {volumes[0].name!r} are not at right angles (a tilted gantry?); "
            "resample it to a straight grid first.")
    return own


def _annotated(reference: Labels, annotated: Iterable[str] | None) -> frozenset[str] | None:
    if annotated is not None:
        return frozenset(_checked_names(annotated))
    return reference.annotated if isinstance(reference, Volume) else None


def _checked_names(names: Iterable[str]) -> list[str]:
    if isinstance(names, str):  # a lone "liver" would be read letter by letter
        names = [names]
    return list(dict.fromkeys(structure(name).name for name in names))


def _joint_box(boxes: Boxes) -> tuple[slice, ...]:
    """The smallest box around all boxes that are there; an empty one if none is."""
    found = [box for box in boxes if box]
    if not found:
        return (slice(0, 0),)
    return tuple(slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*found))
