"""Clicks that a person might make, drawn from masks: the first ones from the ground truth, later ones from what is still wrong.

    missed  FN = truth and not prediction  -> label 1          wrong  FP = prediction and not truth  -> label 0

| function                 | drawn from                               | label      | of                                       |
|--------------------------|------------------------------------------|------------|------------------------------------------|
| random_foreground        | truth, with replacement                  | 1          | SAM, SAM-Med2D, SAM-Med3D, MedSAM-points |
| half_and_half            | n // 2 in truth, the others outside      | 1, 0       | SAM-Med2D                                |
| points_per_slice         | truth, n in each slice that has some     | 1          | 2-D models on volumes                    |
| padded_points            | 1 to 11 in truth, 0 to 10 outside        | 1, 0, -1   | SegVol                                   |
| foreground_and_anywhere  | truth and the whole volume               | 1, 0       | 3DSAM-adapter, which ignores the labels  |
| random_error             | FN and FP, with replacement              | 1, 0 (-1)  | SAM, SAM-Med2D, SAM-Med3D ("random")     |
| largest_error            | where the deeper of FN and FP is deeper than half its depth | 1, 0 | SAM-Med3D ("ritm"), after RITM |
| centre_of_largest_error  | its deepest place                        | 1, 0       | the course, for evaluation without luck  |

Masks are (H, W) or (X, Y, Z), bool or 0/1, numpy or torch. Coordinates: in 2-D (x, y) in pixels, x the column, as in SAM; in 3-D
(d0, d1, d2), voxel indices in array order. Whole numbers are centres of pixels. All draws are uniform and come from an explicit
``numpy.random.Generator``, by its ``integers`` over the candidates in row-major order. What can be drawn is told by functions
without randomness: the mask itself, ``missed_and_wrong``, ``error_candidates``, ``largest_error_candidates``.

Sources: Kirillov et al. 2023, arXiv:2304.02643, appendix A; Cheng et al. 2023, arXiv:2308.16184; Wang et al. 2023,
arXiv:2310.15161; Gong et al. 2023, arXiv:2306.13465; Du et al. 2023, arXiv:2311.13385; RITM: Sofiiuk et al. 2021,
arXiv:2102.06583.
"""

from __future__ import annotations

import warnings
from typing import Literal, NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from fmlab.errors import PromptError, PromptWarning
from fmlab.metrics.masks import as_numpy

Mask = np.ndarray | Tensor


class Clicks(NamedTuple):
    """points: (N, D) float32, coordinates as above. labels: (N,) int64: 1 inside, 0 outside, -1 does not count."""

    points: Tensor
    labels: Tensor


class LargestError(NamedTuple):
    """candidates: bool, the masks' shape. positive: whether they are missed. missed, wrong: greatest depth of each, in voxels."""

    candidates: np.ndarray
    positive: bool
    missed: float
    wrong: float


def random_foreground(truth: Mask, rng: np.random.Generator, n: int = 1) -> Clicks:
    """n positive clicks in the structure, with replacement. Raises PromptError where it is empty."""
    return clicks(drawn(foreground(truth), rng, n), 1)


def half_and_half(truth: Mask, rng: np.random.Generator, n: int = 2) -> Clicks:
    """n // 2 positive clicks and as many or one more negative ones, shuffled; one alone is positive. PromptError: empty truth."""
    inside = foreground(truth)
    if n == 1 or inside.all():
        return random_foreground(inside, rng, n)
    found = joined(clicks(drawn(inside, rng, n // 2), 1), clicks(drawn(~inside, rng, n - n // 2), 0))
    order = torch.from_numpy(rng.permutation(n))
    return Clicks(found.points[order], found.labels[order])


def points_per_slice(truth: Mask, rng: np.random.Generator, n: int = 1, axis: int = 2) -> Clicks:
    """n positive clicks in each slice along an axis of a volume that shows the structure, in order of the slices: (S n, 3)."""
    mask = foreground(truth)
    if mask.ndim != 3:
        raise PromptError(f"Points per slice need a volume (X, Y, Z), not a mask of shape {mask.shape}.")
    places = np.argwhere(mask)
    slices = [places[places[:, axis] == s] for s in np.unique(places[:, axis])]
    return clicks(np.concatenate([inside[rng.integers(0, len(inside), n)] for inside in slices]), 1)


def padded_points(truth: Mask, rng: np.random.Generator, most: int = 10) -> Clicks:
    """1 + (0 to most) positive and 0 to most negative clicks, filled up to 2 most + 1 with label -1: one size for a batch."""
    inside = foreground(truth)
    positive = clicks(drawn(inside, rng, 1 + int(rng.integers(0, most + 1))), 1)
    count = 0 if inside.all() else int(rng.integers(0, most + 1))
    found = joined(positive, clicks(drawn(~inside, rng, count), 0))
    missing = 2 * most + 1 - len(found.labels)
    return joined(found, clicks(np.zeros((missing, inside.ndim), dtype=np.int64), -1))


def foreground_and_anywhere(truth: Mask, rng: np.random.Generator, inside: int = 10, anywhere: int = 20) -> Clicks:
    """Clicks in the structure and clicks at any place; labels say what lies there."""
    mask = foreground(truth)
    index = np.concatenate([drawn(mask, rng, inside), drawn(np.ones_like(mask), rng, anywhere)])
    return clicks(index, mask[tuple(index.T)])


def missed_and_wrong(prediction: Mask, truth: Mask) -> tuple[np.ndarray, np.ndarray]:
    """FN and FP, bool. Raises PromptError for masks that are not 0/1 or not of one shape."""
    p, t = as_mask(prediction, "prediction"), as_mask(truth)
    if p.shape != t.shape:
        raise PromptError(f"The prediction has shape {p.shape} and the ground truth {t.shape}; bring both to one grid.")
    return t & ~p, p & ~t


def error_candidates(prediction: Mask, truth: Mask) -> np.ndarray:
    """Where the two differ: what ``random_error`` draws from."""
    missed, wrong = missed_and_wrong(prediction, truth)
    return missed | wrong


def random_error(prediction: Mask, truth: Mask, rng: np.random.Generator, n: int = 1,
                 otherwise: Literal["nothing", "foreground", "ignored"] = "nothing") -> Clicks:
    """n clicks where prediction and truth differ, with replacement.

    otherwise: what comes where nothing is wrong. "nothing": no click, with a PromptWarning. "foreground": positive ones in the
    structure (SAM-Med3D). "ignored": anywhere, with label -1 (SAM-Med2D). Raises PromptError for unfit masks, and with
    "foreground" for a structure that is not there.
    """
    missed, wrong = missed_and_wrong(prediction, truth)
    if (missed | wrong).any():
        index = drawn(missed | wrong, rng, n)
        return clicks(index, missed[tuple(index.T)])
    if otherwise == "foreground":
        return random_foreground(truth, rng, n)
    if otherwise == "ignored":
        return clicks(drawn(np.ones_like(missed), rng, n), -1)
    return nothing_left(missed.ndim)


def largest_error_candidates(prediction: Mask, truth: Mask) -> LargestError:
    """What ``largest_error`` draws from: the inner half of the deeper of FN and FP; FP where they are equally deep.

    Depth is the Euclidean distance to the nearest voxel that is not of the region, in voxels; beyond the image counts as such.
    """
    missed, wrong = (depth(region) for region in missed_and_wrong(prediction, truth))
    positive = bool(missed.max() > wrong.max())
    deeper = missed if positive else wrong
    return LargestError(deeper > deeper.max() / 2, positive, float(missed.max()), float(wrong.max()))


def largest_error(prediction: Mask, truth: Mask, rng: np.random.Generator) -> Clicks:
    """One click in the inner half of the largest error. No click, with a PromptWarning, where nothing is wrong."""
    found = largest_error_candidates(prediction, truth)
    if not found.candidates.any():
        return nothing_left(found.candidates.ndim)
    return clicks(drawn(found.candidates, rng, 1), found.positive)


def centre_of_largest_error(prediction: Mask, truth: Mask) -> Clicks:
    """One click at the deepest place of the largest error, always the same: of several, the one nearest to their mean.

    No click, with a PromptWarning, where nothing is wrong. With an empty prediction: the centre of the structure.
    """
    missed, wrong = (depth(region) for region in missed_and_wrong(prediction, truth))
    positive = missed.max() > wrong.max()
    deeper = missed if positive else wrong
    if not deeper.any():
        return nothing_left(deeper.ndim)
    places = np.argwhere(deeper == deeper.max())
    nearest = np.square(places - places.mean(0)).sum(1).argmin()
    return clicks(places[nearest:nearest + 1], positive)


def depth(region: np.ndarray) -> np.ndarray:
    """Euclidean distance of each voxel of a bool region to the nearest one outside, 0 outside; computed in its bounding box."""
    distance = np.zeros(region.shape, dtype=np.float32)
    if region.any():
        box = ndimage.find_objects(region.astype(np.uint8))[0]
        padded = ndimage.distance_transform_edt(np.pad(region[box], 1))
        distance[box] = padded[(slice(1, -1),) * region.ndim]
    return distance


def as_mask(mask: Mask, which: str = "ground truth") -> np.ndarray:
    """A bool array (H, W) or (X, Y, Z). Raises PromptError for other shapes and for values other than 0 and 1."""
    array = as_numpy(mask)
    if array.ndim not in (2, 3) or not array.size:
        raise PromptError(f"The {which} has shape {array.shape}; give one mask (H, W) or (X, Y, Z), without batch or channel.")
    if array.dtype != bool and not ((array == 0) | (array == 1)).all():
        raise PromptError(f"The {which} holds values other than 0 and 1; threshold logits, or select one label, first.")
    return array.astype(bool)


def foreground(truth: Mask) -> np.ndarray:
    """The ground truth as a bool array. Raises PromptError where it is empty."""
    mask = as_mask(truth)
    if not mask.any():
        raise PromptError("The ground truth is empty, so there is nothing to point at; leave out images without the structure.")
    return mask


def drawn(candidates: np.ndarray, rng: np.random.Generator, n: int) -> np.ndarray:
    """n array indices (n, ndim) of candidates, uniform and with replacement, over them in row-major order."""
    places = np.flatnonzero(candidates)
    return np.stack(np.unravel_index(places[rng.integers(0, len(places), n)], candidates.shape), axis=1)


def clicks(index: np.ndarray, labels: int | bool | np.ndarray) -> Clicks:
    """Array indices (N, D) with one label for all or one each, as clicks: in 2-D (row, column) becomes (x, y)."""
    points = index[:, ::-1] if index.shape[1] == 2 else index
    each = np.broadcast_to(np.asarray(labels, dtype=np.int64), len(index))
    return Clicks(torch.from_numpy(points.astype(np.float32)), torch.from_numpy(each.copy()))


def joined(*parts: Clicks) -> Clicks:
    """Clicks one after the other."""
    return Clicks(*(torch.cat(column) for column in zip(*parts)))


def nothing_left(dimensions: int) -> Clicks:
    """No click at all, and a warning that says so."""
    warnings.warn("Prediction and ground truth are the same, so there is no error to click on.", PromptWarning, stacklevel=3)
    return clicks(np.zeros((0, dimensions), dtype=np.int64), 1)
