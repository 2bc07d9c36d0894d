"""Exercises of lesson 11: from slices to the volume, several people's boxes as one, and the slice to annotate next."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fmlab.interactive.coverage import whole
from fmlab.interactive.crowd import median_box
from fmlab.interactive.next_slice import entropy, next_slice
from fmlab.lessons.exercise import Case, Exercise, Invariant, Misconception
from fmlab.lessons.laws import has_shape, unmoved_by

# ---- 11-volume: dice (S,), found (S,), true (S,) of slices -> (coverage, Dice of the volume)

Slices = tuple[np.ndarray, np.ndarray, np.ndarray]


def _slices(rng: np.random.Generator, number: int = 9, missed: tuple[int, ...] = (), beyond: tuple[int, ...] = ()) -> Slices:
    """Dice, pixels found and pixels true of slices of very different sizes; missed: no answer; beyond: found, not there."""
    true, found = (rng.integers(20, 400, number).astype(float) for _ in range(2))
    true[list(beyond)], found[list(missed)] = 0, 0
    dice = 2 * np.floor(rng.uniform(0.4, 1, number) * np.minimum(found, true)) / np.where(found + true > 0, found + true, np.nan)
    return dice, found, true


def _full(rng: np.random.Generator) -> Slices:
    return _slices(rng)


def _gaps(rng: np.random.Generator) -> Slices:
    return _slices(rng, missed=(1, 4, 5))


def _too_long(rng: np.random.Generator) -> Slices:
    """An answer in two slices that show nothing, and none in one that does."""
    return _slices(rng, missed=(3,), beyond=(0, 8))


def _all_kinds(rng: np.random.Generator) -> Slices:
    """Answered, missed, too long, and empty in both: no two wrong ideas give the same here."""
    return _slices(rng, 11, missed=(0, 1, 6, 7, 10), beyond=(0, 1, 4, 10))


def _weighted(dice: np.ndarray, weight: np.ndarray) -> float:
    """The mean of what is a number, by weight."""
    good = ~np.isnan(dice) & (weight > 0)
    return float((dice * weight)[good].sum() / weight[good].sum())


def _coverage(found: np.ndarray, true: np.ndarray) -> float:
    return float((found[true > 0] > 0).mean())


def _dice_as(change: Callable[[np.ndarray, np.ndarray, np.ndarray], float]) -> Callable[..., tuple[float, float]]:
    """The right coverage with a wrong Dice."""
    return lambda dice, found, true: (_coverage(found, true), change(dice, found, true))


def _covered_as(change: Callable[[np.ndarray, np.ndarray], float]) -> Callable[..., tuple[float, float]]:
    """A wrong coverage with the right Dice."""
    return lambda dice, found, true: (float(change(found, true)), _weighted(dice, found + true))


def _twice_as_thin(dice: np.ndarray, found: np.ndarray, true: np.ndarray) -> Slices:
    return np.repeat(dice, 2), np.repeat(found, 2) / 2, np.repeat(true, 2) / 2


VOLUME = Exercise(
    id="11-volume",
    task="`volume(dice, found, true)`: for each of S slices its Dice (NaN where it is empty in both), the pixels found and the "
         "true pixels. Return two numbers: the share of the slices which show the structure (true > 0) that have an answer "
         "(found > 0), and the Dice of the whole volume.",
    reference=whole,
    meets="fmlab.interactive.coverage.whole",
    cases=(
        Case("slices of every kind, some of them empty in both", _all_kinds,
             "Weigh each Dice by found + true. Where both are 0, Dice is NaN, and NaN times 0 is NaN: leave these out."),
        Case("an answer in every slice", _full, "The volume's Dice is a mean of the slices' Dice, each weighed by found + true."),
        Case("three slices without an answer", _gaps,
             "A slice without an answer has Dice 0, and its pixels count in the weights."),
        Case("an answer in two slices that show nothing", _too_long,
             "Coverage asks only slices with true > 0; Dice counts wrong answers, too."),
    ),
    misconceptions=(
        Misconception("You take the mean of the Dice of slices with an answer. This is the number that flatters: what nobody "
                      "annotated does not count in it.", _dice_as(lambda d, p, r: float(np.nanmean(d[(p > 0) & (r > 0)])))),
        Misconception("You take the mean of the Dice of slices with an answer, those in which nothing is true included. Slices "
                      "without an answer must count as well.", _dice_as(lambda d, p, r: float(np.nanmean(d[p > 0])))),
        Misconception("You average the slices' Dice. Dice is a fraction: sum what is above and what is below apart. A slice "
                      "counts by its pixels, found + true.", _dice_as(lambda d, p, r: float(np.nanmean(d)))),
        Misconception("You average Dice over the slices that show the structure. A slice counts by its pixels, found + true, and "
                      "answers in other slices count, too.", _dice_as(lambda d, p, r: float(d[r > 0].mean()))),
        Misconception("You weigh by the true pixels alone. Dice of a slice is 2 common / (found + true), so that its weight is "
                      "found + true.", _dice_as(lambda d, p, r: _weighted(d, r))),
        Misconception("You weigh by the pixels found alone: a slice without an answer then has weight 0, and costs nothing. The "
                      "weight is found + true.", _dice_as(lambda d, p, r: _weighted(d, p))),
        Misconception("Your Dice is NaN where slices are empty in both: leave them out of both sums.",
                      _dice_as(lambda d, p, r: float((d * (p + r)).sum() / (p + r).sum()))),
        Misconception("Your coverage is a share of all slices. Where nothing is to be found, nothing is missed: divide by the "
                      "slices with true > 0.", _covered_as(lambda p, r: ((p > 0) & (r > 0)).mean())),
        Misconception("Your coverage counts answers in slices that show nothing. Only slices with true > 0 are asked.",
                      _covered_as(lambda p, r: (p > 0).sum() / (r > 0).sum())),
        Misconception("Your coverage is the share of the answers that are in a right slice. It is to be the share of the "
                      "slices with true > 0 that have an answer.", _covered_as(lambda p, r: (r[p > 0] > 0).mean())),
        Misconception("Your coverage counts pixels. It is to count slices: of those with true > 0, how many have found > 0?",
                      _covered_as(lambda p, r: r[p > 0].sum() / r.sum())),
        Misconception("You return them the other way round: first the coverage, then Dice.",
                      lambda dice, found, true: whole(dice, found, true)[::-1]),
    ),
    invariants=(
        Invariant("You are to return two numbers, coverage and Dice.", has_shape(_full, 2)),
        Invariant("Your result changes when every slice is cut into two thinner ones: neither number should.",
                  unmoved_by(_gaps, _twice_as_thin)),
    ),
    hints=(
        "Dice of the volume is 2 sum(common) / sum(found + true). What is `dice * (found + true)` of a slice?",
        "`weight = found + true`; slices with weight 0 have no Dice: `good = weight > 0`.",
        "`coverage = (found[true > 0] > 0).mean()`",
        "`return coverage, (dice * weight)[good].sum() / weight.sum()`",
    ),
)


# ---- 11-merge: boxes (A, 4) of A people on one slice, a row of NaN for who drew nothing -> (4,)

def _people(rng: np.random.Generator, number: int = 5, absent: int = 0, astray: int = 0) -> tuple[np.ndarray]:
    low, size = rng.uniform(10, 40, 2), rng.uniform(15, 30, 2)
    boxes = np.concatenate([low, low + size]) + rng.normal(0, 2, (number, 4))
    boxes[:astray] += 50
    boxes[number - absent:] = np.nan
    return (rng.permutation(boxes),)


def _three(rng: np.random.Generator) -> tuple[np.ndarray]:
    return _people(rng, 3)


def _absent(rng: np.random.Generator) -> tuple[np.ndarray]:
    return _people(rng, 5, absent=2)


def _pair(rng: np.random.Generator) -> tuple[np.ndarray]:
    """Two are left: their median is the middle between them."""
    return _people(rng, 3, absent=1)


def _astray(rng: np.random.Generator) -> tuple[np.ndarray]:
    return _people(rng, 6, absent=2, astray=1)


def _nobody(rng: np.random.Generator) -> tuple[np.ndarray]:
    return (np.full((3, 4), np.nan),)


def _drew(boxes: np.ndarray) -> np.ndarray:
    return boxes[~np.isnan(boxes).any(1)]


def _or_nothing(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """A wrong idea of how to merge those who drew."""
    return lambda boxes: change(_drew(boxes)) if len(_drew(boxes)) else np.full(4, np.nan)


def _outer(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2].min(0), boxes[:, 2:].max(0)])


def _inner(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2].max(0), boxes[:, 2:].min(0)])


def _one_astray_moves_little(function: Callable, rng: np.random.Generator) -> bool:
    boxes = _people(rng, 5)[0]
    moved = boxes.copy()
    moved[0] += 1000
    return np.abs(np.asarray(function(boxes)) - np.asarray(function(moved))).max() < 20


MERGE = Exercise(
    id="11-merge",
    task="`merge(boxes)`: on one slice A people were asked for a box (x0, y0, x1, y1): boxes (A, 4), a row of NaN for each who "
         "drew nothing. Return one box (4,): for each side the median of those who drew; NaN four times where nobody did.",
    reference=median_box,
    meets="fmlab.interactive.crowd.median_box",
    cases=(
        Case("six people, two of whom drew nothing and one boxed another organ", _astray,
             "Leave out the rows of NaN, then take the median of each column: it does not follow one who is far off."),
        Case("three people", _three, "The median of each column."),
        Case("five people, two of whom drew nothing", _absent, "Leave out the rows of NaN, then take the median of each column."),
        Case("three people, one of whom drew nothing", _pair,
             "Two are left, and the median is the middle between them, as numpy has it; torch takes the lower of the two."),
        Case("a slice in which nobody drew", _nobody, "Four times NaN: no box. (numpy's nanmedian says so, with a warning.)",
             draws=1),
    ),
    misconceptions=(
        Misconception("Your box is NaN as soon as one person leaves the slice out. Who drew nothing has no vote: leave that row "
                      "out.", lambda boxes: np.median(boxes, 0)),
        Misconception("You take the mean of those who drew. One of them who boxes another organ drags it along; the median "
                      "stays.",
                      _or_nothing(lambda boxes: boxes.mean(0))),
        Misconception("You take the box around all boxes: the largest mistake of each side wins.", _or_nothing(_outer)),
        Misconception("You take what all boxes share: the smallest box wins on each side, and with one astray nothing is left.",
                      _or_nothing(_inner)),
        Misconception("You read NaN as 0, as if these people had boxed the picture's corner. They have no vote.",
                      lambda boxes: np.median(np.nan_to_num(boxes), 0)),
        Misconception("You take the first who drew. Others were asked, too: the median of all who drew.",
                      _or_nothing(lambda boxes: boxes[0])),
        Misconception("You take the least of each column: that is the upper left of all, and no median.",
                      _or_nothing(lambda boxes: boxes.min(0))),
        Misconception("You take one median for all four sides; each side has its own: axis 0.",
                      _or_nothing(lambda boxes: np.full(4, np.median(boxes)))),
        Misconception("Of two people you take the lower side, as torch's nanmedian does. The median of two is the middle between "
                      "them: numpy's.",
                      _or_nothing(lambda boxes: np.sort(boxes, 0)[(len(boxes) - 1) // 2])),
    ),
    invariants=(
        Invariant("Your result has not the shape (4,) of one box.", has_shape(_three, 4)),
        Invariant("Your result changes with the order of the people.", unmoved_by(_three, lambda boxes: (boxes[::-1].copy(),))),
        Invariant("One person who draws far off moves your box far: a median would hardly notice.", _one_astray_moves_little),
    ),
    hints=(
        "Two steps: who drew at all? And of those, side by side, the one in the middle.",
        "`np.isnan(boxes).any(1)` are those who drew nothing.",
        "`np.median(there, axis=0)` or `np.nanmedian(boxes, axis=0)`: numpy's, not torch's.",
        "`return np.nanmedian(boxes, axis=0)` (its warning in the empty case may stay)",
    ),
)


# ---- 11-next: p (S, H, W), done (S,) -> the number of the slice to annotate next

Asked = tuple[np.ndarray, np.ndarray]


def _volume(rng: np.random.Generator, number: int = 7, done: int = 2) -> Asked:
    """Masks, each unsure of some of its pixels, rather inside or rather outside; often the most unsure slice is done already."""
    p = np.where(rng.random((number, 6, 5)) < 0.5, 0.02, 0.98)
    for k, count in enumerate(rng.permutation(number) + 10):
        places = rng.permutation(30)[:count]
        p[k].reshape(-1)[places] = rng.choice([0.37, 0.63]) + rng.uniform(-0.02, 0.02, count)
    known = np.zeros(number, dtype=bool)
    known[rng.permutation(number)[:done]] = True
    if done and rng.random() < 0.5:
        known[entropy(p).argmax()] = True
    return p, known


def _fresh(rng: np.random.Generator) -> Asked:
    p, done = _volume(rng, done=0)
    return p, done


def _certain(rng: np.random.Generator) -> Asked:
    """Probabilities of exactly 0 and 1."""
    p, done = _volume(rng)
    return np.where(p < 0.1, 0.0, np.where(p > 0.9, 1.0, p)), done


def _large_and_small(rng: np.random.Generator) -> Asked:
    """The largest mask is sure of itself, the smallest is not; and one is sure that there is nothing."""
    p = np.full((5, 6, 6), 0.03)
    p[0, :5, :5] = 0.97
    p[1, :2, :2] = rng.uniform(0.4, 0.6, (2, 2))
    p[2] = 0.001
    p[3, 1:4, 1:4] = 0.9
    order = rng.permutation(5)
    return p[order], np.zeros(5, dtype=bool)


def _one_left(rng: np.random.Generator) -> Asked:
    p, _ = _volume(rng)
    done = np.ones(len(p), dtype=bool)
    done[rng.integers(len(p))] = False
    return p, done


def _surprise(p: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return -np.where(p > 0, p * np.log(p), 0).sum((1, 2))


def _careless(p: np.ndarray) -> np.ndarray:
    return -(p * np.log(p) + (1 - p) * np.log(1 - p)).sum((1, 2))


def _of_those_left(score: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray, np.ndarray], int]:
    """A wrong idea of what is uncertain."""
    return lambda p, done: int(np.where(done, -np.inf, score(p)).argmax())


NEXT = Exercise(
    id="11-next",
    task="`next_slice(p, done)`: probabilities p (S, H, W) of S slices, done (S,) True where there is an annotation. Return the "
         "number of the slice without one whose mask is least sure: the largest sum over pixels of - p log p - (1 - p) log(1 - "
         "p).",
    reference=next_slice,
    meets="fmlab.interactive.next_slice.next_slice",
    cases=(
        Case("seven slices, two of them done", _volume, "Entropy of each pixel, summed over the last two axes; done ones are "
                                                        "out.",
             draws=16),
        Case("seven slices, none of them done", _fresh, "The largest entropy of all."),
        Case("a large mask that is sure, and a small one that is not", _large_and_small,
             "Entropy is large where p is about one half, whatever the mask's size.", draws=6),
        Case("probabilities of exactly 0 and 1", _certain,
             "0 log 0 is 0: use `np.where`, clip p a little, or `scipy.special.entr`.", draws=6),
        Case("a single slice left", _one_left, "Then it is that one: `np.where(done, -np.inf, entropy).argmax()`."),
    ),
    misconceptions=(
        Misconception("You take the surest slice. Annotating what the model knows teaches it little: argmax of the entropy.",
                      lambda p, done: int(np.where(done, np.inf, entropy(p)).argmin())),
        Misconception("You choose a slice that is annotated already. Its entropy may well be the largest, and you know it: leave "
                      "out the slices that are done.", lambda p, done: int(entropy(p).argmax())),
        Misconception("You number the slices that are left, and lose their own numbers: p[~done] starts to count at 0 again. Set "
                      "those that are done to -inf, or look the number up.", lambda p, done: int(entropy(p)[~done].argmax())),
        Misconception("You choose among the slices that are done: True means annotated.",
                      lambda p, done: int(np.where(done, entropy(p), -np.inf).argmax())),
        Misconception("You take the slice with the largest mask. Large is not unsure: p log p and (1 - p) log(1 - p) are both "
                      "small where p is about 1.", _of_those_left(lambda p: p.sum((1, 2)))),
        Misconception("You take the slice with the smallest mask. Small is not unsure; where p is about 0 the model is sure "
                      "that there is nothing.", _of_those_left(lambda p: -p.sum((1, 2)))),
        Misconception("You left out the half of \"not this\": (1 - p) log(1 - p).", _of_those_left(_surprise)),
        Misconception("Your logarithm meets a 0, and the entropy becomes NaN, which argmax takes for the largest. 0 log 0 counts "
                      "as 0.", _of_those_left(_careless)),
        Misconception("You take the slice with the single most unsure pixel. One pixel says little: sum over the slice.",
                      _of_those_left(lambda p: -np.abs(p - 0.5).min((1, 2)))),
        Misconception("You return the entropies; which slice has the largest?",
                      lambda p, done: np.where(done, -np.inf, entropy(p))),
    ),
    invariants=(
        Invariant("Your result changes when p becomes 1 - p: to be sure of \"nothing here\" is to be as sure.",
                  unmoved_by(_volume, lambda p, done: (1 - p, done))),
    ),
    hints=(
        "Three steps: entropy of each pixel, sum over the pixels of a slice, the largest of those not done.",
        "`-(p * np.log(p) + (1 - p) * np.log(1 - p))`, with p clipped to `np.clip(p, 1e-12, 1 - 1e-12)`; then `.sum((1, 2))`.",
        "`np.where(done, -np.inf, h)` takes the slices out that are done, and keeps the numbers of the others.",
        "`return np.where(done, -np.inf, h).argmax()`",
    ),
)

EXERCISES = (VOLUME, MERGE, NEXT)
