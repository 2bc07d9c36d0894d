"""Exercises of lesson 00: Dice, voxel index to mm, volume in ml; with the wrong ideas that learners most often have."""

from __future__ import annotations

import math

import numpy as np
import torch
from nibabel.affines import apply_affine

from fmlab.lessons.exercise import Case, Exercise, Invariant, Misconception
from fmlab.metrics import dice
from fmlab.metrics.masks import voxel_size

Masks = tuple[np.ndarray, np.ndarray]


def _masks(rng: np.random.Generator) -> Masks:
    """Two overlapping random masks, the second larger, in a grid that is mostly background."""
    shape = (6, 7, 8)
    return rng.random(shape) < 0.15, rng.random(shape) < 0.3


def _large_masks(rng: np.random.Generator) -> Masks:
    shape = (12, 13, 14)  # more than 255 voxels in each
    return rng.random(shape) < 0.3, rng.random(shape) < 0.5


def _missed(rng: np.random.Generator) -> Masks:
    prediction, reference = _masks(rng)
    return np.zeros_like(prediction), reference


def _both_empty(rng: np.random.Generator) -> Masks:
    return tuple(np.zeros_like(mask) for mask in _masks(rng))


def _tensors(rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(torch.from_numpy(mask) for mask in _masks(rng))


def _counts(p: np.ndarray, r: np.ndarray) -> tuple[int, int, int]:
    return int((p & r).sum()), int(p.sum()), int(r.sum())


def _ratio(above: float, below: float) -> float:
    return above / below if below else math.nan


def _dice_or(p: np.ndarray, r: np.ndarray, empty: float) -> float:
    both, one, other = _counts(p, r)
    return 2 * both / (one + other) if one + other else empty


def _dice_in_bytes(p: np.ndarray, r: np.ndarray) -> float:
    both, one, other = (count % 256 for count in _counts(p, r))
    return _ratio(2 * both, one + other)


def _dice_in_ints(p: np.ndarray, r: np.ndarray) -> float:
    both, one, other = _counts(p, r)
    return 2 * both / (one + other)  # divides by zero when both are empty


_TORCH = "The masks of a `Volume` are torch tensors: `p & r` and `mask.sum()` work on tensors and arrays alike."

DICE = Exercise(
    id="00-dice",
    task="`dice(P, R)` of two masks of the same shape: twice the common voxels over the voxels of both, 2|P∩R| / (|P| + |R|).",
    reference=dice,
    meets="fmlab.metrics.dice",
    cases=(
        Case("two random masks",
             _masks, "Count the common voxels, the voxels of P and the voxels of R, and put them into the "
                                         "formula."),
        Case("two masks of some hundred voxels",
             _large_masks, "It was right for small masks: look for a count that gets too "
                                                               "large."),
        Case("a missed structure (P is empty, R is not)", _missed, "Nothing in common is a Dice of 0."),
        Case("two empty masks", _both_empty, "0/0: there is nothing to measure, so the answer is `nan`."),
        Case("two torch tensors", _tensors, _TORCH),
    ),
    misconceptions=(
        # the ideas about empty masks first: with nothing to count, many formulas give the same
        Misconception("Two empty masks divide by zero: say before the division that there is nothing to measure, `return "
                      "float('nan')`.",
                      _dice_in_ints),
        Misconception("Two empty masks get 1 from you: right, but no evidence of skill. A mean would rise with every structure "
                      "that is not there. Here the rule is `nan`: nothing to measure.", lambda p, r: _dice_or(p, r, 1.0)),
        Misconception("Two empty masks get 0 from you, as if something had been missed. Here the rule is `nan`: nothing to "
                      "measure.",
                      lambda p, r: _dice_or(p, r, 0.0)),
        Misconception("A missed structure gets `nan` from you: it would drop out of a mean, and missing more would look "
                      "better. It is 0.",
                      lambda p, r: math.nan),
        Misconception("This is the IoU (Jaccard index), |P∩R| / |P∪R|: Dice counts the common voxels twice and divides by "
                      "|P| + |R|.",
                      lambda p, r: _ratio((p & r).sum(), (p | r).sum())),
        Misconception("The factor 2 is missing: two equal masks would get 0.5.",
                      lambda p, r: _ratio((p & r).sum(), p.sum() + r.sum())),
        Misconception("You count the background as agreement: most voxels are background in both, so even a bad mask would "
                      "look good.",
                      lambda p, r: float((p == r).sum() / math.prod(p.shape))),
        Misconception("`P + R` of two bool masks is their union, not a sum of counts: count each mask first, `P.sum() + "
                      "R.sum()`.",
                      lambda p, r: _ratio(2 * (p & r).sum(), (p | r).sum())),
        Misconception("This divides by |R| only (sensitivity): voxels that P marks too much cost nothing.",
                      lambda p, r: _ratio((p & r).sum(), r.sum())),
        Misconception("This divides by |P| only (precision): voxels that P misses cost nothing.",
                      lambda p, r: _ratio((p & r).sum(), p.sum())),
        Misconception("Your counts wrap around at 256, as the type uint8 does: sum bools, or sum to int64.", _dice_in_bytes),
        Misconception("You add 1 above and below to be safe from 0/0; it changes every other value too. Treat two empty masks "
                      "apart.",
                      lambda p, r: (2 * (p & r).sum() + 1) / (p.sum() + r.sum() + 1)),
    ),
    invariants=(
        Invariant("Your Dice of a mask with itself is not 1.",
                  lambda f, rng: (lambda p: abs(float(f(p, p)) - 1) < 1e-6)(_masks(rng)[1])),
        Invariant("Your Dice changes when P and R are swapped; the formula is symmetric.",
                  lambda f, rng: (lambda p, r: abs(float(f(p, r)) - float(f(r, p))) < 1e-6)(*_masks(rng))),
        Invariant("Your Dice leaves the range from 0 to 1.", lambda f, rng: 0 <= float(f(*_masks(rng))) <= 1),
    ),
    hints=(
        "You need three counts: voxels that are true in both masks, in P, and in R.",
        "`P & R` is true where both are; `.sum()` counts the true voxels of a bool mask.",
        "Two empty masks make the divisor 0: test for it first and return `float(\"nan\")`.",
    ),
)


def _affine(rng: np.random.Generator) -> np.ndarray:
    """An oblique affine with unequal spacing and a shifted origin."""
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn * rng.uniform(0.5, 5.0, size=3)
    affine[:3, 3] = rng.uniform(-200, 200, size=3)
    return affine


def _straight(rng: np.random.Generator) -> np.ndarray:
    affine = np.diag([-0.8, -0.8, 5.0, 1.0])  # stored right to left and front to back, as DICOM often is
    affine[:3, 3] = rng.uniform(-200, 200, size=3)
    return affine


def _index(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(1, 100, size=3)


def _of(ijk: np.ndarray, matrix: np.ndarray, shift: np.ndarray) -> np.ndarray:
    return matrix @ np.asarray(ijk) + shift


WORLD = Exercise(
    id="00-world",
    task="`world(ijk, affine)`: the place in mm, three numbers, of the voxel with index (i, j, k), from the 4x4 affine.",
    reference=lambda ijk, affine: apply_affine(affine, ijk),  # of any orientation; a test holds Volume.world equal
    meets="fmlab.volume.Volume.world",
    cases=(
        Case("an index and an oblique affine", lambda rng: (_index(rng), _affine(rng)),
             "Multiply the 3x3 part of the affine by the index, then add the last column."),
        Case("an affine that flips two axes", lambda rng: (_index(rng), _straight(rng)),
             "The signs are in the affine's columns; spacing alone does not know them."),
        Case("the first voxel (0, 0, 0)", lambda rng: (np.zeros(3, dtype=int), _affine(rng)),
             "The first voxel lies where the affine's last column says."),
        Case("an index given as a tuple", lambda rng: (tuple(int(i) for i in _index(rng)), _affine(rng)),
             "`affine[:3, :3] @ ijk` takes tuples too; `np.asarray(ijk)` makes an array of them."),
    ),
    misconceptions=(
        Misconception("The translation is missing: every scan would start at (0, 0, 0) mm. Add the affine's last column, "
                      "`affine[:3, 3]`.",
                      lambda ijk, a: _of(ijk, a[:3, :3], np.zeros(3))),
        Misconception("Your affine is transposed: it is matrix times column, `affine[:3, :3] @ ijk`, not the other way round.",
                      lambda ijk, a: _of(ijk, a[:3, :3].T, a[:3, 3])),
        Misconception("Your affine is transposed, and so its translation is lost: it is `affine @ (i, j, k, 1)`, matrix times "
                      "column.",
                      lambda ijk, a: _of(ijk, a[:3, :3].T, np.zeros(3))),
        Misconception("The order of the axes is turned round: the index is (i, j, k) along x, y, z here, not (z, y, x).",
                      lambda ijk, a: _of(tuple(ijk)[::-1], a[:3, :3], a[:3, 3])),
        Misconception("You use the spacing only: it knows neither flips nor rotation. The 3x3 part of the affine holds all "
                      "three.",
                      lambda ijk, a: np.asarray(ijk) * np.linalg.norm(a[:3, :3], axis=0) + a[:3, 3]),
        Misconception("You use the diagonal only: in an oblique scan each index moves along all three directions. Use the 3x3 "
                      "part.",
                      lambda ijk, a: np.asarray(ijk) * np.diag(a)[:3] + a[:3, 3]),
        Misconception("You add the translation before the multiplication: it is in mm already, so it comes after.",
                      lambda ijk, a: a[:3, :3] @ (np.asarray(ijk) + a[:3, 3])),
        Misconception("You return four numbers; the last is the 1 that made the translation work. Return the first three.",
                      lambda ijk, a: a @ np.append(np.asarray(ijk), 1)),
        Misconception("This is the way back, from mm to voxel index: leave out the inverse.",
                      lambda ijk, a: (np.linalg.inv(a) @ np.append(np.asarray(ijk), 1))[:3]),
    ),
    hints=(
        "An affine is a matrix and a shift: the matrix turns and scales the index, the shift moves it to the scan's place.",
        "The matrix is `affine[:3, :3]`, the shift is `affine[:3, 3]`; `@` multiplies a matrix and a vector.",
    ),
)


def _mask_and_spacing(rng: np.random.Generator) -> tuple[np.ndarray, tuple[float, ...]]:
    return _masks(rng)[1], tuple(float(s) for s in rng.uniform(0.6, 5.0, size=3))


def _tensor_and_spacing(rng: np.random.Generator) -> tuple[torch.Tensor, tuple[float, ...]]:
    mask, spacing = _mask_and_spacing(rng)
    return torch.from_numpy(mask), spacing


def _large_and_spacing(rng: np.random.Generator) -> tuple[np.ndarray, tuple[float, ...]]:
    return _large_masks(rng)[1], _mask_and_spacing(rng)[1]


def _volume(mask: np.ndarray | torch.Tensor, spacing: tuple[float, ...]) -> float:
    return int(mask.sum()) * voxel_size(spacing)


VOLUME = Exercise(
    id="00-volume",
    task="`volume(mask, spacing)`: the volume in ml of a mask, given the size of a voxel in mm along each axis.",
    reference=_volume,
    meets="fmlab.metrics.masks.voxel_size",
    cases=(
        Case("a mask with unequal spacing", _mask_and_spacing, "Voxels in the mask, times the volume of one voxel, in ml."),
        Case("a mask of some hundred voxels",
             _large_and_spacing, "It was right for a small mask: look for a count that gets "
                                                                  "too large."),
        Case("an empty mask",
             lambda rng: (np.zeros((3, 4, 5), dtype=bool), (1.0, 1.0, 2.5)), "Nothing has a volume of 0 ml.",
                                                                                              draws=1),
        Case("a torch tensor", _tensor_and_spacing, _TORCH),
    ),
    misconceptions=(
        Misconception("This is in mm³: 1 ml is 1 cm³, which is 10 x 10 x 10 = 1000 mm³, so divide by 1000.",
                      lambda m, s: _volume(m, s) * 1000),
        Misconception("You divide by 10, as for a length: a volume has three of them, 10 x 10 x 10 = 1000 mm³ in 1 ml.",
                      lambda m, s: _volume(m, s) * 100),
        Misconception("You divide by 100, as for an area: a volume has three axes, 10 x 10 x 10 = 1000 mm³ in 1 ml.",
                      lambda m, s: _volume(m, s) * 10),
        Misconception("You count voxels and forget how large one is: multiply by the product of the three spacings.",
                      lambda m, s: int(m.sum())),
        Misconception("You count voxels as if each were 1 mm³: multiply by the product of the three spacings.",
                      lambda m, s: int(m.sum()) / 1000),
        Misconception("You add the spacings; the volume of a box is the product of its sides.",
                      lambda m, s: int(m.sum()) * sum(s) / 1000),
        Misconception("You take one spacing for all three axes; slices are often thicker than pixels are wide.",
                      lambda m, s: int(m.sum()) * s[0] ** 3 / 1000),
        Misconception("You measure the area of the pixels and leave out the slice thickness: the third spacing belongs to the "
                      "product.",
                      lambda m, s: int(m.sum()) * s[0] * s[1] / 1000),
        Misconception("You count every voxel of the scan; only those that are true in the mask belong to the organ.",
                      lambda m, s: math.prod(m.shape) * math.prod(s) / 1000),
        Misconception("Your count wraps around at 256, as the type uint8 does: sum bools, or sum to int64.",
                      lambda m, s: int(m.sum()) % 256 * math.prod(s) / 1000),
    ),
    hints=(
        "How many voxels does the mask have, and how large is one?",
        "One voxel is a box: its volume in mm³ is the product of the three spacings.",
        "1 ml = 1 cm³ = 1000 mm³.",
    ),
)

EXERCISES = (DICE, WORLD, VOLUME)
