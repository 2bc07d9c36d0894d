"""Exercises of lesson 04: paired prompts, and the law of frequency with an intercept for each test set."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fmlab.contrastive.paired import paired
from fmlab.lessons.exercise import Case, Exercise, Invariant, Misconception
from fmlab.lessons.frequency import correlation, slope, within

Pair = tuple[Tensor, Tensor, Tensor, float]
Counts = tuple[np.ndarray, np.ndarray, np.ndarray]


# ---- 04-paired: images, present, absent, scale -> (N, K)

def _sphere(rng: np.random.Generator, count: int, width: int = 8) -> Tensor:
    return F.normalize(torch.from_numpy(rng.normal(size=(count, width))).float(), dim=1)


def _pairs(rng: np.random.Generator, pictures: int = 5, findings: int = 3, scale: float = 6.0) -> Pair:
    return _sphere(rng, pictures), _sphere(rng, findings), _sphere(rng, findings), scale


def _near(rng: np.random.Generator) -> Pair:
    """Both prompts of a finding nearly the same, as a text encoder has them."""
    images, present, _, _ = _pairs(rng)
    return images, present, F.normalize(present + 0.1 * _sphere(rng, 3), dim=1), 50.0


def _one(rng: np.random.Generator) -> Pair:
    return _pairs(rng, 1, 1)


def _square(rng: np.random.Generator) -> Pair:
    """As many pictures as findings, so that a wrong axis has the right shape."""
    return _pairs(rng, 4, 4)


def _logits(u: Tensor, texts: Tensor, scale: float) -> Tensor:
    return scale * u @ texts.T


def _swapped(function: Callable, rng: np.random.Generator) -> bool:
    """Present and absent exchanged: the probabilities add up to 1."""
    u, present, absent, scale = _pairs(rng)
    both = torch.as_tensor(function(u, present, absent, scale)) + torch.as_tensor(function(u, absent, present, scale))
    return bool(torch.allclose(both, torch.ones(5, 3), atol=1e-4))


def _alone(function: Callable, rng: np.random.Generator) -> bool:
    """A finding's probability does not know which others are asked about."""
    u, present, absent, scale = _pairs(rng)
    every = torch.as_tensor(function(u, present, absent, scale))
    return bool(torch.allclose(every[:, 1:2], torch.as_tensor(function(u, present[1:2], absent[1:2], scale)), atol=1e-5))


PAIRED = Exercise(
    id="04-paired",
    task="`paired(images, present, absent, scale)`: the probability of each of K findings in each of N pictures, (N, K): a "
         "softmax over the two prompts of one finding. images (N, D), present and absent (K, D) of length 1.",
    reference=paired,
    meets="fmlab.contrastive.paired.paired",
    tolerance=1e-5,
    cases=(
        Case("five pictures and three findings", _pairs, "Two logits for each picture and finding: scale u.v+ and scale u.v-."),
        Case("as many pictures as findings", _square, "Pictures in rows, findings in columns; the softmax is over the pair."),
        Case("two prompts that are nearly the same", _near, "A large scale makes much of a small difference: multiply by it."),
        Case("one picture and one finding", _one, "The result is (1, 1)."),
    ),
    misconceptions=(
        Misconception("You take the softmax over the findings. Then they compete, and a scan with a liver and a spleen cannot "
                      "have both; each finding is asked by itself, against its own absence.",
                      lambda u, p, a, s: _logits(u, p, s).softmax(1)),
        Misconception("You leave the absent prompt out. The sigmoid of one cosine has no zero to be compared with: the text that "
                      "says \"not\" gives it.", lambda u, p, a, s: _logits(u, p, s).sigmoid()),
        Misconception("You return the probability of the absent prompt: one less what is asked for.",
                      lambda u, p, a, s: 1 - paired(u, p, a, s)),
        Misconception("You forget the scale. Cosines differ by a few hundredths, and without exp(t) every probability is about a "
                      "half.", lambda u, p, a, s: paired(u, p, a, 1.0)),
        Misconception("You divide by the scale. It is exp(t), the inverse of a temperature: multiply.",
                      lambda u, p, a, s: paired(u, p, a, 1 / s)),
        Misconception("You take the softmax over the pictures. Each picture is judged by itself.",
                      lambda u, p, a, s: _logits(u, p, s).softmax(0)),
        Misconception("You return the difference of the two logits. Its sigmoid is the probability.",
                      lambda u, p, a, s: _logits(u, p - a, s)),
        Misconception("You decide: 0 or 1. A probability can be ranked and have its threshold chosen later.",
                      lambda u, p, a, s: (_logits(u, p - a, s) > 0).float()),
        Misconception("You take the softmax over all 2K prompts. The absence of a spleen is no rival of the liver.",
                      lambda u, p, a, s: _logits(u, torch.cat([p, a]), s).softmax(1)[:, : len(p)]),
    ),
    invariants=(
        Invariant("Exchanging the two prompts has to give 1 less the probability, and yours does not.", _swapped),
        Invariant("Your probability of a finding changes with which other findings are asked about.", _alone),
    ),
    hints=(
        "For each picture and finding there are two logits. What is the softmax of two numbers?",
        "`images @ present.T` is (N, K), and so is `images @ absent.T`; both times the scale.",
        "`torch.stack([a, b])` puts them on a new first axis of two: the softmax goes over that axis, and [0] is \"present\".",
        "`both = scale * torch.stack([images @ present.T, images @ absent.T])`; `return both.softmax(0)[0]`.",
    ),
)


# ---- 04-within: counts, accuracy, sets -> points per decade

def _sets(rng: np.random.Generator, sizes: tuple[int, ...] = (12, 9, 15), zeros: int = 0) -> Counts:
    """Test sets of other levels and other frequencies; the rarer a set's concepts, the harder it is."""
    counts, accuracy, names = [], [], []
    for k, size in enumerate(sizes):
        x = rng.uniform(0.5, 2, size) + k
        counts.append(np.round(10 ** x))
        accuracy.append(10 + 15 * k + 4 * (x - x.mean()) + rng.normal(0, 2, size))
        names.append(np.full(size, k))
    counts, accuracy, names = (np.concatenate(each) for each in (counts, accuracy, names))
    counts[rng.permutation(len(counts))[:zeros]] = 0
    order = rng.permutation(len(counts))
    return counts[order].astype(int), accuracy[order], names[order]


def _zeros(rng: np.random.Generator) -> Counts:
    return _sets(rng, zeros=5)


def _single(rng: np.random.Generator) -> Counts:
    return _sets(rng, sizes=(14,))


def _lonely(rng: np.random.Generator) -> Counts:
    """A set of one concept has nothing to be compared with."""
    return _sets(rng, sizes=(10, 1, 8))


def _seen(counts: np.ndarray, accuracy: np.ndarray, sets: np.ndarray) -> Counts:
    seen = counts > 0
    return np.log10(counts[seen]), accuracy[seen], sets[seen]


def _centred(values: np.ndarray, sets: np.ndarray) -> np.ndarray:
    return values - np.array([values[sets == name].mean() for name in sets])


def _pooled(counts: np.ndarray, accuracy: np.ndarray, sets: np.ndarray) -> float:
    x, y, _ = _seen(counts, accuracy, sets)
    return slope(x, y)


def _of_means(counts: np.ndarray, accuracy: np.ndarray, sets: np.ndarray) -> float:
    x, y, names = _seen(counts, accuracy, sets)
    return slope(*([values[names == name].mean() for name in np.unique(names)] for values in (x, y)))


def _mean_slope(counts: np.ndarray, accuracy: np.ndarray, sets: np.ndarray) -> float:
    x, y, names = _seen(counts, accuracy, sets)
    return float(np.nanmean([slope(x[names == name], y[names == name]) for name in np.unique(names)]))


def _half_centred(counts: np.ndarray, accuracy: np.ndarray, sets: np.ndarray) -> float:
    x, y, names = _seen(counts, accuracy, sets)
    return slope(x, _centred(y, names))


def _r(counts: np.ndarray, accuracy: np.ndarray, sets: np.ndarray) -> float:
    x, y, names = _seen(counts, accuracy, sets)
    return correlation(_centred(x, names), _centred(y, names))


def _easier(function: Callable, rng: np.random.Generator) -> bool:
    """One set made easier by ten points for all: nothing within it has changed."""
    counts, accuracy, sets = _sets(rng)
    easier = accuracy + 10 * (sets == 1)
    return bool(np.isclose(float(function(counts, accuracy, sets)), float(function(counts, easier, sets)), atol=1e-6))


WITHIN = Exercise(
    id="04-within",
    task="`within(counts, accuracy, sets)`: the slope of accuracy over log10 of the count, points per decade, with an intercept "
         "for each test set; concepts with a count of 0 are left out. counts, accuracy, sets: (N,) arrays; sets: the "
         "set's number; one number.",
    reference=within,
    meets="fmlab.lessons.frequency.within",
    tolerance=1e-6,
    cases=(
        Case("three test sets of other levels", _sets, "Subtract from x and y the means of their test set, then fit one slope."),
        Case("some concepts that never occurred", _zeros, "log10(0) is -inf: leave these concepts out before anything else."),
        Case("a single test set", _single, "With one set this is the ordinary slope."),
        Case("a test set of one concept", _lonely, "Centred, it lies at 0, 0 and says nothing; that is right."),
    ),
    misconceptions=(
        Misconception("You fit one line through all concepts. Some test sets are harder for other reasons, and have rarer "
                      "concepts besides: that difference is in your slope.", _pooled),
        Misconception("You fit the means of the test sets. That is what is to be taken out: compare concepts within a set.",
                      _of_means),
        Misconception("You average the slopes of the test sets. A set of three concepts then speaks as loudly as ImageNet; "
                      "centre, and fit one slope for all.", _mean_slope),
        Misconception("You centre the accuracy and not the frequency. A set of frequent concepts then lies far right of where it "
                      "belongs: centre both.", _half_centred),
        Misconception("You take the natural logarithm: that is points per factor of 2.7. A decade is a factor of ten.",
                      lambda c, a, s: within(c, a, s) / np.log(10)),
        Misconception("You take the logarithm to base 2: that is points per doubling.",
                      lambda c, a, s: within(c, a, s) * np.log10(2)),
        Misconception("You return the correlation. It says how close to a line the concepts are, not how steep the line is.", _r),
        Misconception("You add 1 to every count to save those of 0. A count of 0 often means that a tagger missed the concept, "
                      "and + 1 moves all rare ones: leave them out.", lambda c, a, s: within(c + 1, a, s)),
        Misconception("You fit the counts themselves, without the logarithm.",
                      lambda c, a, s: slope(_centred(c[c > 0].astype(float), s[c > 0]), _centred(a[c > 0], s[c > 0]))),
    ),
    invariants=(
        Invariant("Your slope changes when one test set becomes easier for all of its concepts alike.", _easier),
    ),
    hints=(
        "Each set has a level of its own. Which number takes a level away?",
        "First `seen = counts > 0`, and keep these. Then, for each name in `np.unique(sets)`, subtract the set's means.",
        "A slope through centred points is `(x * y).sum() / (x * x).sum()`.",
        "`for name in np.unique(sets): own = sets == name; x[own] -= x[own].mean(); y[own] -= y[own].mean()`; "
        "then `return (x * y).sum() / (x * x).sum()`.",
    ),
)

EXERCISES = (PAIRED, WITHIN)
