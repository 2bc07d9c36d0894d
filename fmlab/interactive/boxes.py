"""Boxes that a person might draw around a structure: tight, relaxed, jittered, shifted, one a slice, of a crowd.

| function         | the tight box, and then                                                              | of                |
|------------------|--------------------------------------------------------------------------------------|-------------------|
| tight_box        | nothing                                                                              | SegVol, and all   |
| relaxed_box      | each side outward by a whole number of 0 to 20, clipped to the image                 | MedSAM            |
| jittered_box     | each side by normal noise, 10 % of the box's side, at most 20                        | SAM               |
| translated_boxes | moved as a whole by -m to m - 1, m = min(5, half the shorter side); largest regions  | SAM-Med2D         |
| boxes_per_slice  | any of these, in each slice of a volume                                              | 2-D models        |
| crowd_boxes      | none: boxes around blurred regions, united where they overlap                        | the crowd study   |

A box is (2 D,) float32, one corner and then the opposite one: in 2-D (x0, y0, x1, y1) in pixels, x the column; in 3-D
(d0, d1, d2, D0, D1, D2), voxel indices in array order. The second corner is the last pixel of the structure; with SAM-Med2D
and the crowd study it lies one beyond. Masks and generators as in ``fmlab.interactive.clicks``; an empty one raises PromptError.

Sources: Kirillov et al. 2023, arXiv:2304.02643, appendix A; Ma et al. 2024, doi:10.1038/s41467-024-44824-z; Cheng et al. 2023,
arXiv:2308.16184; Du et al. 2023, arXiv:2311.13385; Kulkarni et al. 2024, arXiv:2403.15218.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from fmlab.errors import PromptError
from fmlab.interactive.clicks import Mask, foreground


def tight_box(truth: Mask) -> Tensor:
    """The smallest box around the structure, its last pixels included: (2 D,)."""
    return as_box(*extent(foreground(truth)))


def relaxed_box(truth: Mask, rng: np.random.Generator, most: int = 20) -> Tensor:
    """The tight box, each side moved outward by 0 to ``most`` pixels, independently; its far side may lie on the image's edge.

    MedSAM's pixels are those of its 1024 x 1024 image. Draws: for each coordinate the near side, then the far one.
    """
    mask = foreground(truth)
    low, high = extent(mask)
    for axis, size in enumerate(sizes(mask)):
        low[axis] = max(0, low[axis] - rng.integers(0, most + 1))
        high[axis] = min(size, high[axis] + rng.integers(0, most + 1))
    return as_box(low, high)


def jittered_box(truth: Mask, rng: np.random.Generator, share: float = 0.1, most: float = 20) -> Tensor:
    """The tight box, each corner coordinate moved by normal noise: deviation ``share`` of that side, never beyond ``most``.

    Kept within the image. SAM's pixels are those of its image of 1024.
    """
    mask = foreground(truth)
    low, high = extent(mask)
    noise = np.clip(rng.normal(0, share * (high - low + 1), (2, mask.ndim)), -most, most)
    corners = np.clip(np.stack([low, high]) + noise, 0, np.array(sizes(mask)) - 1)
    return as_box(*np.sort(corners, axis=0))


def regions(truth: Mask, n: int = 1) -> list[tuple[np.ndarray, np.ndarray]]:
    """Corners of the boxes of the n largest connected regions, the largest first; the far corner is one beyond.

    Regions connect by corners too. Fewer than n: all in the order in which they are met, and again from the first.
    """
    mask = foreground(truth)
    labels, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
    order = list(range(count))
    if count >= n:
        order = np.argsort(-np.bincount(labels.ravel())[1:], kind="stable")[:n].tolist()
    found = ndimage.find_objects(labels)
    return [extent_of(found[order[i % len(order)]]) for i in range(n)]


def translated_boxes(truth: Mask, rng: np.random.Generator, n: int = 1, most: int = 5) -> Tensor:
    """Boxes of the n largest regions, each moved as a whole by -m to m - 1 along each axis: (n, 2 D).

    m = min(most, half the shorter side, rounded down); none at 0. Not clipped: a box may reach beyond the image.
    """
    moved = []
    for low, high in regions(truth, n):
        m = min(most, int((high - low).min() / 2))
        by = np.array([rng.integers(-m, m) if m else 0 for _ in low])
        moved.append(as_box(low + by, high + by))
    return torch.stack(moved)


def translated_box(truth: Mask, rng: np.random.Generator, most: int = 5) -> Tensor:
    """``translated_boxes`` of the largest region alone: (2 D,)."""
    return translated_boxes(truth, rng, 1, most)[0]


def boxes_per_slice(truth: Mask, axis: int = 2, box: Callable[[np.ndarray], Tensor] = tight_box) -> dict[int, Tensor]:
    """A box (4,) for each slice along an axis of a volume that shows the structure, by the slice's index.

    box: the policy, as ``partial(relaxed_box, rng=rng)``. In a slice the first axis that is left is y, the second x.
    """
    mask = foreground(truth)
    if mask.ndim != 3:
        raise PromptError(f"Boxes per slice need a volume (X, Y, Z), not a mask of shape {mask.shape}.")
    slices = np.moveaxis(mask, axis, 0)
    return {int(s): box(slices[s]) for s in np.flatnonzero(slices.any((1, 2)))}


def crowd_boxes(truth: Mask, radius: int = 5, threshold: float = 0.01) -> Tensor:
    """Boxes as the crowd study simulates them on a 2-D mask: (n, 4).

    The mask (0 to 255) is averaged over ``radius`` pixels, cut at the threshold, holes are filled; each region that connects by
    edges gets a box, one pixel wider than its slices say; boxes that touch are replaced by the one around both.
    """
    spread = ndimage.uniform_filter(foreground(truth) * 255.0, radius) > threshold
    found = ndimage.find_objects(ndimage.label(ndimage.binary_fill_holes(spread))[0])
    boxes: list[np.ndarray] = []
    for low, high in map(extent_of, found):
        box = np.stack([low, high + 1])
        while near := [other for other in boxes if (box[0] <= other[1]).all() and (other[0] <= box[1]).all()]:
            boxes = [other for other in boxes if all(other is not one for one in near)]
            box = np.stack([np.min([box[0], *(b[0] for b in near)], 0), np.max([box[1], *(b[1] for b in near)], 0)])
        boxes.append(box)
    return torch.stack([as_box(*box) for box in sorted(boxes, key=lambda b: b.ravel().tolist())])


def yolo_boxes(lines: np.ndarray, width: int, height: int) -> Tensor:
    """(N, 4) of centre x, centre y, width, height, as parts of the image, to (N, 4) of corners in pixels, rounded down."""
    centre, size = np.asarray(lines, dtype=np.float64).reshape(-1, 2, 2).swapaxes(0, 1)
    corners = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
    return torch.from_numpy(np.trunc(corners * np.array([width, height] * 2)).astype(np.float32))


def extent(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last coordinates of a mask that is not empty, in the order of points."""
    low, after = extent_of(ndimage.find_objects(mask.astype(np.uint8))[0])
    return low, after - 1


def extent_of(slices: tuple[slice, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Start and stop of slices, in the order of points."""
    ordered = slices[::-1] if len(slices) == 2 else slices
    return np.array([s.start for s in ordered]), np.array([s.stop for s in ordered])


def sizes(mask: np.ndarray) -> tuple[int, ...]:
    """The mask's shape in the order of points: (W, H) or (X, Y, Z)."""
    return mask.shape[::-1] if mask.ndim == 2 else mask.shape


def as_box(low: np.ndarray, high: np.ndarray) -> Tensor:
    return torch.from_numpy(np.concatenate([low, high]).astype(np.float32))
