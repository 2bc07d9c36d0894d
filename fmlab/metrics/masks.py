"""One structure, two masks: Dice, surface Dice (NSD), 95th percentile Hausdorff distance (HD95), volume error.

What each returns for empty masks is written in the table of ``fmlab.metrics``.

The surface of a mask is the set of its voxels that touch the outside by a face (in 2-D: by an edge); whatever lies beyond the
array counts as outside. A distance is measured in mm between voxel centres, so unequal spacing is respected; every surface voxel
counts once. This is MONAI's definition and our numbers equal MONAI's. The ``surface-distance`` package meshes the mask instead
and weighs each piece by its area in mm2; weighing our voxels by the area of their free faces brought no closer agreement with
it on random smooth shapes, with equal or unequal spacing, so we keep the rule that can be counted by hand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage

from fmlab.errors import ScanError

Mask = np.ndarray | torch.Tensor
Spacing = float | Sequence[float]

_ROUNDING = 1e-4  # mm; a surface that is off by the tolerance exactly counts as right although float32 affines say 2.0000002


def dice(prediction: Mask, reference: Mask) -> float:
    """Dice coefficient 2 |P and R| / (|P| + |R|), from 0 (no common voxel) to 1 (the same mask).

    prediction, reference: (X, Y, Z) or (X, Y), bool or 0/1, numpy or torch. One mask empty: 0. Both empty: NaN, not applicable.
    Raises ScanError for unfit masks. Source: Dice 1945, doi:10.2307/1932409.
    """
    p, r = checked_masks(prediction, reference)
    size = np.count_nonzero(p) + np.count_nonzero(r)
    return float(2 * np.count_nonzero(p & r) / size) if size else math.nan


def nsd(prediction: Mask, reference: Mask, spacing: Spacing, tolerance: float = 2.0) -> float:
    """Normalised surface Dice: the share of both surfaces that lies within ``tolerance`` mm of the other surface, 0 to 1.

    Masks as for ``dice``; spacing: mm per voxel along each axis, or one number. One mask empty: 0. Both empty: NaN.
    A tolerance below the voxel size forgives nothing: surfaces are then the same voxels or wrong. Where the field of view cuts a
    structure, the cut is surface too. Raises ScanError for unfit masks, spacing or tolerance.
    Source: Nikolov et al. 2021, doi:10.2196/26151.
    """
    p, r = checked_masks(prediction, reference)
    size, limit = checked_spacing(spacing, p.ndim), checked_tolerance(tolerance)
    if not (p.any() and r.any()):
        return 0.0 if p.any() or r.any() else math.nan
    return share_within(*surface_distances(p, r, size), limit)


def hd95(prediction: Mask, reference: Mask, spacing: Spacing) -> float:
    """How far apart the surfaces are in mm, the worst 5% on each side left out; 0 is best.

    The 95th percentile of the distances from one surface to the other, both ways; the larger of the two. Masks and spacing as for
    ``nsd``. One mask empty: the diagonal of the field of view, which no real distance reaches. Both empty: NaN.
    Raises ScanError. Source: Huttenlocher et al. 1993, doi:10.1109/34.232073, with the percentile in place of the maximum.
    """
    p, r = checked_masks(prediction, reference)
    size = checked_spacing(spacing, p.ndim)
    if not (p.any() and r.any()):
        return field_of_view_diagonal(p.shape, size) if p.any() or r.any() else math.nan
    return larger_percentile(*surface_distances(p, r, size))


def volume_error(prediction: Mask, reference: Mask, spacing: Spacing) -> float:
    """Volume of the prediction less volume of the reference, in ml: above zero is too much (2-D masks: area in cm2).

    Masks and spacing as for ``nsd``. One mask empty: plus or minus the whole volume of the other. Both empty: NaN, because a
    zero would lower the mean error of the cases where there was something to measure. Raises ScanError.
    """
    p, r = checked_masks(prediction, reference)
    size = checked_spacing(spacing, p.ndim)
    if not (p.any() or r.any()):
        return math.nan
    return float(np.count_nonzero(p) - np.count_nonzero(r)) * voxel_size(size)


def surface(mask: np.ndarray) -> np.ndarray:
    """The voxels of a bool mask that share a face with the outside (or with the array's border): same shape, bool."""
    return mask & ~ndimage.binary_erosion(mask)


def surface_distances(prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Distances in mm from each surface voxel of the prediction to the reference's surface, (n,), and the way back, (m,).

    Both masks bool, of one shape, neither empty. The work is done in the smallest box that holds both, which changes nothing.
    """
    box = ndimage.find_objects((prediction | reference).view(np.int8))[0]
    edge_p, edge_r = surface(prediction[box]), surface(reference[box])
    there = ndimage.distance_transform_edt(~edge_r, sampling=spacing)[edge_p]
    back = ndimage.distance_transform_edt(~edge_p, sampling=spacing)[edge_r]
    return there, back


def share_within(there: np.ndarray, back: np.ndarray, tolerance: float) -> float:
    """The share of all surface distances, both ways together, that are not above the tolerance (mm)."""
    close = sum(np.count_nonzero(d <= tolerance + _ROUNDING) for d in (there, back))
    return float(close / (there.size + back.size))


def larger_percentile(there: np.ndarray, back: np.ndarray, percent: float = 95.0) -> float:
    """The percentile of the distances of each direction (linear between values); the larger of the two."""
    return float(max(np.percentile(there, percent), np.percentile(back, percent)))


def field_of_view_diagonal(shape: Sequence[int], spacing: Sequence[float]) -> float:
    """Length in mm of the diagonal of the box of voxels: the HD95 of a missed structure, above any distance inside the box."""
    return math.hypot(*(n * s for n, s in zip(shape, spacing, strict=True)))


def voxel_size(spacing: Sequence[float]) -> float:
    """Volume of one voxel in ml, from mm; for two axes its area in cm2."""
    return math.prod(spacing) / 10 ** len(spacing)  # 10 mm to the cm, along each axis


def checked_masks(prediction: Mask, reference: Mask) -> tuple[np.ndarray, np.ndarray]:
    """Both masks as bool numpy arrays of one shape, 2-D or 3-D; ScanError says what does not fit."""
    p, r = _bool_mask(prediction, "prediction"), _bool_mask(reference, "reference")
    if p.shape != r.shape:
        raise ScanError(
            f"The prediction has shape {p.shape} and the reference {r.shape}; "
            "bring both to one grid before you compare them.")
    return p, r


def _bool_mask(mask: Mask, which: str) -> np.ndarray:
    array = as_numpy(mask)
    if array.ndim not in (2, 3) or array.size == 0:
        raise ScanError(f"The {which} has shape {array.shape}; give the mask of one structure in one scan, (X, Y, Z) or (X, Y).")
    if array.dtype != bool:
        if array.dtype.kind not in "iuf" or not ((array == 0) | (array == 1)).all():
            raise ScanError(
                f"The {which} holds values other than 0 and 1; "
                "threshold probabilities, or select one label, before you compare.")
        array = array == 1
    return np.ascontiguousarray(array)


def as_numpy(array: Mask) -> np.ndarray:
    """A numpy view or copy of a torch tensor (from any device) or of whatever numpy understands."""
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu()
        return (array.float() if array.dtype is torch.bfloat16 else array).numpy()
    return np.asarray(array)


def checked_spacing(spacing: Spacing, axes: int) -> tuple[float, ...]:
    """The spacing as one number in mm per axis; ScanError if the count is wrong or a value is not above zero."""
    try:
        size = np.asarray(spacing, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ScanError(f"The spacing is {spacing!r}; give {axes} numbers in mm.") from error
    if size.ndim == 0:
        size = np.repeat(size, axes)
    if size.shape != (axes,) or not (np.isfinite(size).all() and (size > 0).all()):
        raise ScanError(f"The spacing is {spacing!r}; give {axes} finite numbers in mm above zero, one per axis of the mask.")
    return tuple(float(s) for s in size)


def checked_tolerance(tolerance: float) -> float:
    """The tolerance in mm as a float; ScanError if it is not a finite number of at least 0."""
    try:
        limit = float(tolerance)
    except (TypeError, ValueError) as error:
        raise ScanError(f"The tolerance is {tolerance!r}; give a number in mm.") from error
    if not (math.isfinite(limit) and limit >= 0):
        raise ScanError(f"The tolerance is {tolerance!r}; give a finite number in mm, 0 or more.")
    return limit
