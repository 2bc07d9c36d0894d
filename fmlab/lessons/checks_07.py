"""Exercises of lesson 07: the best candidate's loss, the distance of two sets of masks, and the foreground token of Iris."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fmlab.incontext.candidates import ged
from fmlab.incontext.residual_unet import Features
from fmlab.incontext.task_encoding import pool
from fmlab.lessons.exercise import Case, Exercise, Invariant, Misconception
from fmlab.lessons.laws import has_shape, unmoved_by

# ---- 07-best: losses (B, K) of K candidates for each of B pictures -> one number


def _losses(rng: np.random.Generator, batch: int = 3, candidates: int = 4) -> tuple[Tensor]:
    return (torch.from_numpy(rng.uniform(0.1, 1.5, (batch, candidates))).float().requires_grad_(),)


def _best(losses: Tensor) -> Tensor:
    return losses.min(1).values.mean()


def _gradient(function: Callable, rng: np.random.Generator) -> Tensor:
    (losses,) = _losses(rng, 5, 6)
    function(losses).backward()
    return torch.zeros_like(losses) if losses.grad is None else losses.grad


def _has_a_gradient(function: Callable, rng: np.random.Generator) -> bool:
    answer = function(*_losses(rng))
    return isinstance(answer, Tensor) and answer.requires_grad


def _one_candidate_learns(function: Callable, rng: np.random.Generator) -> bool:
    return bool(((_gradient(function, rng) != 0).sum(1) == 1).all())


def _samples_have_the_same_say(function: Callable, rng: np.random.Generator) -> bool:
    return torch.allclose(_gradient(function, rng).sum(1), torch.full((5,), 0.2), atol=1e-6)


BEST = Exercise(
    id="07-best",
    task="`best(losses)`: losses (B, K) are those of K candidates for each of B pictures. For each picture only its best "
         "candidate counts; return their mean over the batch, one number with its gradient.",
    reference=_best,
    meets="fmlab.incontext.candidates.best_candidate_loss",
    cases=(
        Case("three pictures with four candidates each", _losses, "Smallest loss of each row, then the mean of these."),
        Case("one picture", lambda rng: _losses(rng, 1, 5), "The smallest of its five losses."),
        Case("one candidate each", lambda rng: _losses(rng, 4, 1), "With K = 1 this is the ordinary mean loss."),
        Case("eight pictures with three candidates each", lambda rng: _losses(rng, 8, 3),
             "Rows are pictures, columns are candidates: losses.min(1)."),
    ),
    misconceptions=(
        Misconception("You take the mean over the candidates too. Then each of them is pulled to every reader, and all end at "
                      "the same compromise: only the best may count.", lambda losses: losses.mean()),
        Misconception("You take the best over the batch, for each candidate. Pictures compete there; it is the candidates of "
                      "*one* picture that compete: min over axis 1.", lambda losses: losses.min(0).values.mean()),
        Misconception("You take the smallest loss of all. One picture then learns, and the rest of the batch nothing.",
                      lambda losses: losses.min()),
        Misconception("You take the worst candidate. Every candidate is then forced towards this reader, the farthest hardest; "
                      "the opposite of what leaves room for others.", lambda losses: losses.max(1).values.mean()),
        Misconception("You average each candidate over the batch first and then choose one for all pictures. Each picture has a "
                      "reader of its own, so each chooses its own candidate: min first, mean second.",
                      lambda losses: losses.mean(0).min()),
        Misconception("You add up the batch. The loss, and with it the learning rate that fits, then grows with the batch: take "
                      "the mean.", lambda losses: losses.min(1).values.sum()),
        Misconception("You return one loss a picture; `backward` wants one number, their mean.",
                      lambda losses: losses.min(1).values),
        Misconception("You return the numbers of the best candidates, not their losses: argmin says *which*, min *how much*.",
                      lambda losses: losses.argmin(1).float().mean()),
        Misconception("A soft minimum weighs all candidates, so each has a gradient and is pulled to this reader. Take the hard "
                      "minimum.", lambda losses: (losses * torch.softmax(-losses, 1)).sum(1).mean()),
    ),
    invariants=(
        Invariant("The number is right, and it has no gradient: `.item()`, `.detach()` or numpy cuts the way back to the model.",
                  _has_a_gradient),
        Invariant("The number is right, but the gradient does not reach exactly one candidate of each picture.",
                  _one_candidate_learns),
        Invariant("The number is right, but the gradients are not: each of B pictures has a say of 1/B.",
                  _samples_have_the_same_say),
    ),
    hints=(
        "Which of the two axes do candidates compete on? What is left when that axis is gone?",
        "`losses.min(1)` gives values and places, `.values` is (B,).",
        "`return losses.min(1).values.mean()`",
    ),
)


# ---- 07-ged: candidates (K, H, W), readers (R, H, W) -> squared generalised energy distance

Sets = tuple[Tensor, Tensor]


def _blobs(rng: np.random.Generator, count: int) -> Tensor:
    """Boxes of different sizes about the same place: (count, 8, 9), 0 or 1."""
    masks = torch.zeros(count, 8, 9)
    for mask in masks:
        low, high = rng.integers(0, 3, 2), rng.integers(4, 8, 2)
        mask[low[0] : high[0], low[1] : high[1]] = 1
    return masks


def _sets(rng: np.random.Generator, candidates: int = 5, readers: int = 3) -> Sets:
    return _blobs(rng, candidates), _blobs(rng, readers)


def _as_many(rng: np.random.Generator) -> Sets:
    return _sets(rng, 4, 4)


def _same(rng: np.random.Generator) -> Sets:
    masks = _blobs(rng, 4)
    return masks, masks.flip(0).clone()


def _some_empty(rng: np.random.Generator) -> Sets:
    """Two candidates and a reader who see nothing."""
    found, readers = _sets(rng)
    found[:2], readers[0] = 0, 0
    return found, readers


def _distances(a: Tensor, b: Tensor, of: str = "iou", empty: float = 0.0) -> Tensor:
    """(K, R) of 1 - IoU or 1 - Dice. empty: the distance of two empty masks."""
    a, b = a.flatten(1).double(), b.flatten(1).double()
    common, total = a @ b.T, a.sum(1)[:, None] + b.sum(1)
    top, bottom = (common, total - common) if of == "iou" else (2 * common, total)
    return torch.where(bottom > 0, 1 - top / bottom.clamp(min=1), empty)


def _three(found: Tensor, readers: Tensor, **how: object) -> tuple[Tensor, Tensor, Tensor]:
    return tuple(_distances(a, b, **how) for a, b in ((found, readers), (found, found), (readers, readers)))


def _apart(d: Tensor) -> Tensor:
    """Mean over pairs of different masks; 0 of a single mask."""
    return d.sum() / max(1, len(d) * (len(d) - 1))


def _by_terms(change: Callable[..., object], **how: object) -> Callable[[Tensor, Tensor], object]:
    """A wrong idea of what follows after the right distances."""
    return lambda found, readers: change(*_three(found, readers, **how))


def _same_sets_are_zero(function: Callable, rng: np.random.Generator) -> bool:
    return abs(float(function(*_same(rng)))) < 1e-6


def _one_number(function: Callable, rng: np.random.Generator) -> bool:
    return np.size(np.asarray(function(*_sets(rng)), dtype=float)) == 1


GED = Exercise(
    id="07-ged",
    task="`ged(candidates, readers)`: 2 E[d(s, y)] - E[d(s, s')] - E[d(y, y')] of candidates s (K, H, W) and readers y (R, H, "
         "W), masks of 0 and 1, with d = 1 - IoU; the means are over all pairs, a mask with itself included.",
    reference=ged,
    meets="fmlab.incontext.candidates.ged",
    tolerance=1e-5,
    cases=(
        Case("five candidates and three readers", _sets, "Three tables of distances: (K, R), (K, K) and (R, R); their means."),
        Case("as many candidates as readers", _as_many, "Each candidate is compared with each reader, not only with its own."),
        Case("a single candidate", lambda rng: _sets(rng, 1, 4), "Its distance to itself is 0, so E[d(s, s')] is 0."),
        Case("candidates that are the readers' masks in another order", _same, "The distance of a set to itself is 0."),
        Case("masks that are empty", _some_empty,
             "Two empty masks are the same mask: d = 0. One that is empty and one that is not: d = 1."),
    ),
    misconceptions=(
        Misconception("The factor 2 is missing. With it the first term weighs as much as the two others together, and equal sets "
                      "have distance 0.", _by_terms(lambda sy, ss, yy: sy.mean() - ss.mean() - yy.mean())),
        Misconception("You have the first term alone. It is smallest for a compromise that is given K times; the diversity terms "
                      "reward being as various as the readers.", _by_terms(lambda sy, ss, yy: 2 * sy.mean())),
        Misconception("You return the mean distance of candidates and readers. Where are factor 2 and the two diversity terms?",
                      _by_terms(lambda sy, ss, yy: sy.mean())),
        Misconception("E[d(s, s')] is missing: candidates that differ get nothing for it.",
                      _by_terms(lambda sy, ss, yy: 2 * sy.mean() - yy.mean())),
        Misconception("E[d(y, y')] is missing: the better the candidates, the more you count the readers' own disagreement "
                      "against them.", _by_terms(lambda sy, ss, yy: 2 * sy.mean() - ss.mean())),
        Misconception("The diversity terms have the wrong sign: you punish candidates for being different.",
                      _by_terms(lambda sy, ss, yy: 2 * sy.mean() + ss.mean() + yy.mean())),
        Misconception("You take Dice in place of IoU. 1 - Dice is no metric (no triangle inequality); GED has 1 - IoU.",
                      _by_terms(lambda sy, ss, yy: 2 * sy.mean() - ss.mean() - yy.mean(), of="dice")),
        Misconception("You use the IoU itself, which is a likeness. A distance is 1 - IoU.",
                      _by_terms(lambda sy, ss, yy: 2 * (1 - sy).mean() - (1 - ss).mean() - (1 - yy).mean())),
        Misconception("You leave a mask's distance to itself out. The definition draws both of a pair independently, so the same "
                      "one may come twice.", _by_terms(lambda sy, ss, yy: 2 * sy.mean() - _apart(ss) - _apart(yy))),
        Misconception("You count each pair of the diversity terms once and divide by all: d(s, s') and d(s', s) are two draws.",
                      _by_terms(lambda sy, ss, yy: 2 * sy.mean() - ss.mean() / 2 - yy.mean() / 2)),
        Misconception("You compare each reader with its best candidate only. That is the idea of max Dice; GED compares every "
                      "candidate with every reader, so a bad candidate costs.",
                      _by_terms(lambda sy, ss, yy: 2 * sy.min(0).values.mean() - ss.mean() - yy.mean())),
        Misconception("You compare candidate k with reader k only. They come in no order: all pairs.",
                      _by_terms(lambda sy, ss, yy: 2 * _paired(sy) - ss.mean() - yy.mean())),
        Misconception("You take the square root. The sum of the three terms is already called the squared distance, and it is "
                      "what papers report.",
                      _by_terms(lambda sy, ss, yy: (2 * sy.mean() - ss.mean() - yy.mean()).clamp(min=0).sqrt())),
        Misconception("Two empty masks give 0/0, and nan spreads over everything. Two readers who both see nothing agree: d = 0.",
                      _by_terms(lambda sy, ss, yy: 2 * sy.mean() - ss.mean() - yy.mean(), empty=float("nan"))),
        Misconception("You take two empty masks for a distance of 1, perhaps by a small number below the line. Two readers who "
                      "both see nothing agree: d = 0.",
                      _by_terms(lambda sy, ss, yy: 2 * sy.mean() - ss.mean() - yy.mean(), empty=1.0)),
    ),
    invariants=(
        Invariant("GED is one number for two sets.", _one_number),
        Invariant("The distance of a set to itself must be 0.", _same_sets_are_zero),
        Invariant("Your distance changes when candidates and readers change places; a distance is the same both ways.",
                  unmoved_by(_sets, lambda found, readers: (readers, found), 1e-6)),
    ),
    hints=(
        "Write a small function first: all distances of a set a (N, H, W) to a set b (M, H, W), a table (N, M).",
        "Flat masks a (N, P) and b (M, P): `a @ b.T` counts common pixels; `a.sum(1)[:, None] + b.sum(1)` less it is the union.",
        "`torch.where(union > 0, 1 - common / union.clamp(min=1), 0.0)` gives two empty masks a distance of 0.",
        "Then `2 * d(s, y).mean() - d(s, s).mean() - d(y, y).mean()`.",
    ),
)


def _paired(d: Tensor) -> Tensor:
    if d.shape[0] != d.shape[1]:
        raise RuntimeError("sizes differ")  # as torch says of sets of different size
    return d.diagonal().mean()


# ---- 07-foreground: features (C, d, h, w), mask (X, Y, Z) -> the mean feature under the mask (C,)

def _volume(rng: np.random.Generator, ratio: int = 2, size: tuple[int, int, int] = (3, 4, 2), channels: int = 5) -> Sets:
    features = torch.from_numpy(rng.normal(size=(channels, *size))).float()
    mask = torch.zeros(*(n * ratio for n in size))
    low = [int(rng.integers(0, n - 2)) for n in mask.shape]
    mask[low[0] : low[0] + 3, low[1] : low[1] + 3, low[2] : low[2] + 2] = 1
    mask[tuple(int(rng.integers(n)) for n in mask.shape)] = 1
    return features, mask


def _coarse(rng: np.random.Generator) -> Sets:
    return _volume(rng, ratio=4, size=(2, 3, 3), channels=4)


def _tiny(rng: np.random.Generator) -> Sets:
    """A structure of one voxel, where a feature voxel covers 4 x 4 x 4."""
    features, mask = _coarse(rng)
    mask.zero_()
    mask[tuple(int(rng.integers(n)) for n in mask.shape)] = 1
    return features, mask


def _nothing(rng: np.random.Generator) -> Sets:
    features, mask = _volume(rng)
    return features, mask.zero_()


def _token(features: Tensor, mask: Tensor) -> Tensor:
    """By the package's pooling, of a single level, picture and class."""
    return pool(Features((), features[None]), mask[None, None])[0, 0]


def _up(features: Tensor, mask: Tensor, **how: object) -> Tensor:
    """(C, X, Y, Z)"""
    return F.interpolate(features[None], size=tuple(mask.shape), **({"mode": "nearest"} | how))[0]


def _mean(values: Tensor, share: Tensor) -> Tensor:
    """Mean (C,) of values (C, X, Y, Z) with weights (X, Y, Z); 0 without weight."""
    return (values * share).sum((1, 2, 3)) / share.sum().clamp(min=1e-6)


def _shrunk(features: Tensor, mask: Tensor, **how: object) -> Tensor:
    return F.interpolate(mask[None, None], size=tuple(features.shape[1:]), **({"mode": "nearest"} | how))[0, 0]


def _touched(features: Tensor, mask: Tensor) -> Tensor:
    return F.adaptive_max_pool3d(mask[None, None], tuple(features.shape[1:]))[0, 0]


def _averaged(features: Tensor, mask: Tensor) -> Tensor:
    return F.adaptive_avg_pool3d(mask[None, None], tuple(features.shape[1:]))[0, 0]


def _nan_of_nothing(features: Tensor, mask: Tensor) -> Tensor:
    return (_up(features, mask) * mask).sum((1, 2, 3)) / mask.sum()


def _a_voxel_speaks(function: Callable, rng: np.random.Generator) -> bool:
    features, mask = _tiny(rng)
    place = [int(i) // 4 for i in mask.nonzero()[0]]
    return torch.allclose(function(features, mask), features[:, *place], atol=1e-5)


def _all_of_it(function: Callable, rng: np.random.Generator) -> bool:
    features, mask = _coarse(rng)
    return torch.allclose(function(features, torch.ones_like(mask)), features.mean((1, 2, 3)), atol=1e-5)


FOREGROUND = Exercise(
    id="07-foreground",
    task="`foreground(features, mask)`: bring features (C, d, h, w) to the size of mask (X, Y, Z) by repeating each voxel, and "
         "return their mean over the mask, (C,); zeros where the mask is empty.",
    reference=_token,
    meets="fmlab.incontext.task_encoding.pool",
    tolerance=1e-4,
    cases=(
        Case("features at half the mask's resolution", _volume,
             "Upsample, multiply by the mask, add up, divide by the number of voxels in the mask."),
        Case("features at a quarter of the mask's resolution", _coarse, "Take the size to bring them to from the mask."),
        Case("a structure of a single voxel", _tiny, "Its token is the feature voxel that it lies in."),
        Case("an empty mask", _nothing, "A mean over nothing: give zeros, by a divisor that is never 0."),
    ),
    misconceptions=(
        Misconception("You shrink the mask to the features by picking every r-th voxel. What falls between is gone, a small "
                      "tumour for example: bring the features up to the mask.",
                      lambda features, mask: _mean(features, _shrunk(features, mask))),
        Misconception("You shrink the mask and round it. A structure that fills nowhere half of a feature voxel is gone; the "
                      "slides pool at the mask's full resolution because of that.",
                      lambda features, mask: _mean(features, (_averaged(features, mask) > 0.5).float())),
        Misconception("You count every feature voxel that the mask touches fully. One that is filled and one that is grazed then "
                      "say the same; at full resolution each counts by its share.",
                      lambda features, mask: _mean(features, _touched(features, mask))),
        Misconception("You add up over the mask. A liver's token would be a thousand times an adrenal gland's: divide by the "
                      "number of voxels in the mask.", lambda features, mask: (_up(features, mask) * mask).sum((1, 2, 3))),
        Misconception("You divide by all voxels, not by those of the mask. A small structure's token then vanishes.",
                      lambda features, mask: (_up(features, mask) * mask).mean((1, 2, 3))),
        Misconception("The mask is not used: this is the mean over the whole picture, and the same for every class.",
                      lambda features, mask: _up(features, mask).mean((1, 2, 3))),
        Misconception("You read linearly between the feature voxels. The paper does not say how it brings them up; the package "
                      "repeats each voxel (mode=\"nearest\"), and so never has to make the large map: it weighs each feature "
                      "voxel by the share that the mask takes of it.",
                      lambda features, mask: _mean(_up(features, mask, mode="trilinear", align_corners=False), mask)),
        Misconception("You read linearly, corner on corner (align_corners=True). Feature voxels then do not lie over the voxels "
                      "that they were made of: repeat each voxel, mode=\"nearest\".",
                      lambda features, mask: _mean(_up(features, mask, mode="trilinear", align_corners=True), mask)),
        Misconception("You take the largest feature under the mask: one odd voxel then speaks for the organ. Take the mean.",
                      lambda features, mask: _up(features, mask)[:, mask > 0].amax(1) if mask.any() else features.new_zeros(
                          len(features))),
        Misconception("You keep a token's axes apart or add one: (C,) is wanted, not (1, C) or (C, 1, 1, 1).",
                      lambda features, mask: _token(features, mask)[None]),
        Misconception("With an empty mask you divide 0 by 0. One nan in one token makes the whole training nan: give zeros, for "
                      "example by `mask.sum().clamp(min=1)`.", _nan_of_nothing),
    ),
    invariants=(
        Invariant("Your result has not the shape (C,) of one token.", has_shape(_coarse, 4)),
        Invariant("A structure of one voxel must have a token: the feature voxel in which it lies.", _a_voxel_speaks),
        Invariant("With a mask that is 1 everywhere your token must be the mean feature.", _all_of_it),
    ),
    hints=(
        "Which of the two has to change its size, and what is lost if it is the mask?",
        "`F.interpolate(features[None], size=mask.shape, mode=\"nearest\")[0]` is (C, X, Y, Z).",
        "`(up * mask).sum((1, 2, 3))` adds up over the mask; divide by `mask.sum().clamp(min=1)`.",
    ),
)

EXERCISES = (BEST, GED, FOREGROUND)
