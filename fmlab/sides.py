"""Left or right? A rule for label ids that cover both kidneys, lungs or adrenal glands, by place in a RAS volume."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

_APART = 0.15  # of the volume's width: two components whose centres are farther apart lie on two sides of the body
_SECOND = 0.10  # of the largest component: a smaller one is a fragment, not the other organ
_BRIDGED = 0.20  # a component with at least this share on either side of the mid-line is two organs grown or drawn together


def left_side(mask: np.ndarray, paired: bool, middle: float | None = None) -> np.ndarray:
    """Which voxels of a mask (X, Y, Z; RAS) lie on the patient's left: bool, same shape, a subset of the mask.

    Each 26-connected component goes whole to the side of its centre, so that a tumour stays with its kidney. The mid-line is
    ``middle`` (an index along X) if given; else, for a paired organ with two large components well apart, halfway between them;
    else the middle of the volume. One component that bridges the mid-line (a horseshoe kidney, lungs that touch) is cut there.
    A crop that shows one organ of a pair alone cannot be told by this rule; give ``middle`` or crop after the split.
    """
    places, count = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    if count == 0:
        return np.zeros_like(mask, dtype=bool)
    sizes = np.bincount(places.ravel(), minlength=count + 1)[1:]
    centres = np.array(ndimage.center_of_mass(mask, places, np.arange(1, count + 1)))[:, 0]
    line = _mid_line(sizes, centres, mask.shape[0], paired) if middle is None else middle
    index = np.arange(mask.shape[0])[:, None, None]
    left = np.zeros(count + 1, dtype=bool)
    left[1:] = centres < line  # the first axis runs to the right, so a small index is the patient's left
    result = left[places]
    if paired:
        columns = np.stack([np.bincount(places[x].ravel(), minlength=count + 1) for x in range(mask.shape[0])])[:, 1:]
        share = columns[np.arange(mask.shape[0]) < line].sum(axis=0) / sizes
        bridges = np.flatnonzero((share >= _BRIDGED) & (share <= 1 - _BRIDGED) & (sizes >= _SECOND * sizes.max())) + 1
        result = np.where(np.isin(places, bridges), (index < line) & mask, result)
    return result


def _mid_line(sizes: np.ndarray, centres: np.ndarray, width: int, paired: bool) -> float:
    """The index along X that parts left from right."""
    if paired and len(sizes) > 1:
        second, first = np.argsort(sizes)[-2:]
        if sizes[second] >= _SECOND * sizes[first] and abs(centres[first] - centres[second]) >= _APART * width:
            return float(centres[first] + centres[second]) / 2
    return (width - 1) / 2
