"""From some mended slices to a volume: what changed on a slice is carried on to its neighbours, less and less.

A mask has a signed distance S to its border, in mm, positive inside. On a clicked slice i the correction changed it by
D_i = S_i(after) - S_i(before). Slice k gets S_k(before) + sum_i w_i(k) D_i: w_i is 1 on slice i, 0 on every other clicked slice
and ``fade`` mm away, and linear between. So clicked slices are as they were mended, and far ones as they were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage

from fmlab.viewer.cuts import Cuts
from fmlab.viewer.planes import plane_named

FADE = 20.0  # mm
DEEP = 40.0  # mm, the largest distance that is told apart


def signed_distance(mask: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Of a bool mask (H, W), in mm: positive inside, negative outside, at most DEEP; all -DEEP for an empty one."""
    if not mask.any():
        return np.full(mask.shape, -DEEP)
    inside = ndimage.distance_transform_edt(np.pad(mask, 1), spacing)[1:-1, 1:-1]
    return np.clip(inside - ndimage.distance_transform_edt(~mask, spacing), -DEEP, DEEP)


def weights(count: int, clicked: Sequence[int], step: float, fade: float) -> np.ndarray:
    """(slices, clicked): how much of each clicked slice's change a slice gets. step: mm from slice to slice."""
    order = sorted(clicked)
    knots = [order[0] - fade / step]
    for one, other in zip(order, order[1:]):
        knots.append(one)
        if (other - one) * step > 2 * fade:  # too far apart to say anything of what lies between
            knots += [one + fade / step, other - fade / step]
    knots += [order[-1], order[-1] + fade / step]
    hats = [np.array([float(knot == index) for knot in knots]) for index in clicked]
    return np.stack([np.interp(np.arange(count), knots, hat) for hat in hats], axis=1)


def carried(before: np.ndarray, slices: Mapping[int, np.ndarray], axis: str, spacing: Sequence[float],
            fade: float = FADE) -> np.ndarray:
    """The mask (X, Y, Z) bool after some slices were mended.

    before: (X, Y, Z) bool. slices: index along ``axis`` -> the new mask, upright (H, W) bool. spacing: of the voxels, mm.
    """
    plane, cuts, after = plane_named(axis), Cuts(before.shape), before.copy()
    if not slices:
        return after
    flat = spacing[plane.v], spacing[plane.u]
    changes = [signed_distance(new, flat) - signed_distance(cuts.cut(before, axis, index), flat) for index, new in slices.items()]
    for index, row in enumerate(weights(before.shape[plane.axis], list(slices), spacing[plane.axis], fade)):
        if index in slices:
            cuts.cut(after, axis, index)[:] = slices[index]
        elif row.any():
            moved = signed_distance(cuts.cut(before, axis, index), flat) + sum(w * change for w, change in zip(row, changes))
            cuts.cut(after, axis, index)[:] = moved > 0
    return after
