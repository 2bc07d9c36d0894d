"""Exercises of lesson 06: the cross convolution with its mean over the support, the same without pairs, and the ensemble."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from fmlab.incontext.cross_conv import CrossConv
from fmlab.lessons.exercise import Case, Exercise, Invariant, Misconception
from fmlab.lessons.laws import has_shape, unmoved_by

CrossInput = tuple[Tensor, Tensor, Tensor, Tensor]


# ---- 06-cross: u, v, weight, bias -> mean over the support of Conv([u, v_j])

def _maps(rng: np.random.Generator, supports: int = 3, cu: int = 2, cv: int = 3, out: int = 4) -> CrossInput:
    def normal(*shape: int) -> Tensor:
        return torch.from_numpy(rng.normal(size=shape)).float()

    return normal(cu, 6, 7), normal(supports, cv, 6, 7), normal(out, cu + cv, 3, 3) / 3, normal(out)


def _equal_channels(rng: np.random.Generator) -> CrossInput:
    return _maps(rng, cu=3, cv=3)


def _one_support(rng: np.random.Generator) -> CrossInput:
    return _maps(rng, supports=1, cu=3, cv=3)


def _first_block(rng: np.random.Generator) -> CrossInput:
    """The query is an image, a support entry an image and its mask."""
    return _maps(rng, supports=4, cu=1, cv=2, out=5)


def _wide_query(rng: np.random.Generator) -> CrossInput:
    """More than half of the channels are the query's: a kernel cut in its middle is cut in the wrong place."""
    return _maps(rng, cu=4, cv=1)


def _many(rng: np.random.Generator) -> CrossInput:
    return _maps(rng, supports=12, cu=4, cv=4)


def _pairs(u: Tensor, v: Tensor) -> Tensor:
    """(S, C_u + C_v, H, W), the query first."""
    return torch.cat([u.expand(len(v), *u.shape), v], dim=1)


def _conv(pairs: Tensor, weight: Tensor, bias: Tensor | None, padding: int = 1) -> Tensor:
    return F.conv2d(pairs, weight, bias, padding=padding)


def _cross_conv(u: Tensor, v: Tensor, weight: Tensor, bias: Tensor) -> CrossConv:
    cross = CrossConv((u.shape[0], v.shape[1]), len(weight)).requires_grad_(False)
    cross.cross_conv.weight.data, cross.cross_conv.bias.data = weight, bias
    return cross


def _cross(u: Tensor, v: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """By the package's CrossConv, all pairs, and the mean over the support."""
    return _cross_conv(u, v, weight, bias)(u[None, None], v[None])[0, 0].mean(0)


def _fast(u: Tensor, v: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """By its two halves."""
    cross = _cross_conv(u, v, weight, bias)
    return (cross.of_target(u[None, None]) + cross.of_support(v.mean(0)[None, None]))[0, 0]


def _by_idea(change: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """A wrong idea of what follows after the right convolution (S, C, H, W)."""
    return lambda u, v, weight, bias: change(_conv(_pairs(u, v), weight, bias))


_CASES = (
    Case("maps with as many channels as the support's", _equal_channels,
         "Put u beside each v_j on the channels, convolve, and take the mean over j."),
    Case("an image as query, and images with their masks as support", _first_block,
         "u has 1 channel here and v_j has 2: take the numbers from the shapes."),
    Case("a query with more channels than its support", _wide_query, "Take C_u and C_v from the shapes of u and v."),
    Case("a single support", _one_support, "The mean of one is that one."),
    Case("twelve supports", _many, "`u.expand(len(v), *u.shape)` repeats u for every support without a copy."),
)
_LAWS = (
    Invariant("Your result has not the shape (C, H, W) of one map: after the mean the support's axis is gone, and padding=1 "
              "keeps the sides.", has_shape(_equal_channels, 4, 6, 7)),
    Invariant("Your result changes with the order of the support: a support is a set, and a mean over it knows no order.",
              unmoved_by(_many, lambda u, v, weight, bias: (u, v.flip(0), weight, bias))),
    Invariant("Your result changes when every example comes twice: that is a sum, and the network would behave otherwise for "
              "every size of the support.", unmoved_by(_many, lambda u, v, weight, bias: (u, torch.cat([v, v]), weight, bias))),
)

CROSS = Exercise(
    id="06-cross",
    task="`cross(u, v, weight, bias)`: the query's map u (C_u, H, W) beside each support map v_j of v (S, C_v, H, W) on the "
         "channels, query first; a convolution of each pair with padding 1; the mean over the S results: (C, H, W).",
    reference=_cross,
    meets="fmlab.incontext.cross_block.CrossBlock.literal",
    tolerance=1e-5,
    cases=_CASES,
    misconceptions=(
        Misconception("You put the support first. The first C_u channels of the kernel were learned for the query, so they must "
                      "meet the query: [u, v_j].",
                      lambda u, v, weight, bias: _conv(torch.cat([v, u.expand(len(v), *u.shape)], 1), weight, bias).mean(0)),
        Misconception("You take the mean over the channels. What is to be the same for every number of examples is the sum over "
                      "*examples*, axis 0; channels are what the network knows.", _by_idea(lambda z: z.mean(1))),
        Misconception("You keep the S results apart. The query needs one answer from all its examples: the mean over j.",
                      _by_idea(lambda z: z)),
        Misconception("You put an activation on z. The paper's formula has one, the published network has none there; and only "
                      "without it the mean and the convolution may change places (exercise 2).",
                      _by_idea(lambda z: F.leaky_relu(z, 0.01).mean(0))),
        Misconception("You put a ReLU on z. The paper's formula has an activation there, the published network has none.",
                      _by_idea(lambda z: z.relu().mean(0))),
        Misconception("You put the activation on the mean. It comes later, after the block's second convolution.",
                      _by_idea(lambda z: F.leaky_relu(z.mean(0), 0.01))),
        Misconception("You add the examples up. With 16 of them the result is 16 times as large as with one, and no network "
                      "can work with both: take the mean.", _by_idea(lambda z: z.sum(0))),
        Misconception("You take the largest of the examples. The published network takes the mean, to which each example has "
                      "something to say.", _by_idea(lambda z: z.max(0).values)),
        Misconception("You forget the bias: F.conv2d(pairs, weight, bias, padding=1).",
                      lambda u, v, weight, bias: _conv(_pairs(u, v), weight, None).mean(0)),
        Misconception("Your map has lost a rim: a 3x3 convolution needs padding=1 to keep the sides.",
                      lambda u, v, weight, bias: _conv(_pairs(u, v), weight, bias, padding=0).mean(0)),
        Misconception("You convolve the sum of u and v_j. They are put side by side, so that the kernel can compare them.",
                      lambda u, v, weight, bias: _conv((u + v).repeat(1, 2, 1, 1)[:, : weight.shape[1]], weight, bias).mean(0)),
    ),
    invariants=_LAWS,
    hints=(
        "Three steps: pairs, one convolution for all pairs as a batch, mean over the batch.",
        "`u.expand(len(v), *u.shape)` is (S, C_u, H, W). `torch.cat([..., v], dim=1)` puts channels side by side.",
        "`F.conv2d(pairs, weight, bias, padding=1)` takes all S pairs at once; its result is (S, C, H, W).",
        "`pairs = torch.cat([u.expand(len(v), *u.shape), v], dim=1)`; `return F.conv2d(pairs, weight, bias, padding=1).mean(0)`.",
    ),
)


# ---- 06-fast: the same, with a cost that does not grow with S

def _flops(function: Callable, given: CrossInput) -> int:
    with FlopCounterMode(display=False) as counter:
        function(*given)
    return counter.get_total_flops()


def _cost_is_flat(function: Callable, rng: np.random.Generator) -> bool:
    return _flops(function, _maps(rng, 16, 4, 4)) <= 1.05 * _flops(function, _maps(rng, 2, 4, 4))


def _cost_is_that_of_a_pair(function: Callable, rng: np.random.Generator) -> bool:
    given = _maps(rng, 16, 4, 4)
    return _flops(function, given) <= 1.05 * _flops(_cross, (given[0], given[1][:1], *given[2:]))


FAST = Exercise(
    id="06-fast",
    task="`fast(u, v, weight, bias)`: the same result as exercise 1, with the convolutions of a single pair, however many "
         "supports there are.",
    reference=_fast,
    meets="fmlab.incontext.cross_block.CrossBlock.query",
    tolerance=1e-4,
    cases=_CASES,
    misconceptions=(
        Misconception("You add the bias twice, once with each half. It belongs to one of them.",
                      lambda u, v, weight, bias: _halves(u, v, weight, bias, bias)),
        Misconception("Neither half has the bias; one of them needs it.",
                      lambda u, v, weight, bias: _halves(u, v, weight, None, None)),
        Misconception("You give the query the last channels of the kernel and the support the first; the query comes first.",
                      lambda u, v, weight, bias: _halves(u, v, weight.roll(u.shape[0] - weight.shape[1], 1), bias, None)),
        Misconception("You take the sum of the supports; the convolution of their *mean* is the mean of the convolutions.",
                      lambda u, v, weight, bias: _halves(u, v * len(v), weight, bias, None)),
        Misconception("You left the query out: W_u * u is part of every z_j.",
                      lambda u, v, weight, bias: _conv(v.mean(0)[None], weight[:, u.shape[0] :], bias)[0]),
    ),
    invariants=(
        Invariant("Right, but your cost grows with the number of supports: it still convolves every v_j. Take the mean over j "
                  "first, and convolve once.", _cost_is_flat),
        Invariant("Right, and the cost does not grow with S; but it is more than that of one pair: convolve u once and the mean "
                  "of the v_j once.", _cost_is_that_of_a_pair),
    ),
    hints=(
        "A convolution of a concatenation is a sum: Conv([u, v_j]) = W_u * u + W_v * v_j + b, with W cut along its input "
        "channels.",
        "The mean over j of W_v * v_j is W_v * (the mean over j of v_j): convolution and mean are both linear.",
        "`weight[:, :C_u]` belongs to u, `weight[:, C_u:]` to the v_j. Give the bias to one of the two convolutions.",
        "`c = len(u)`; `F.conv2d(u, weight[:, :c], bias, padding=1) + F.conv2d(v.mean(0), weight[:, c:], padding=1)`.",
    ),
)


def _halves(u: Tensor, v: Tensor, weight: Tensor, of_u: Tensor | None, of_v: Tensor | None) -> Tensor:
    c = len(u)
    return _conv(u[None], weight[:, :c], of_u)[0] + _conv(v.mean(0)[None], weight[:, c:], of_v)[0]


# ---- 06-ensemble: logits of M passes -> one mask

def _logits(rng: np.random.Generator, passes: int = 4) -> tuple[Tensor]:
    return (torch.from_numpy(rng.normal(scale=3, size=(passes, 5, 6))).float(),)


def _one_loud(rng: np.random.Generator) -> tuple[Tensor]:
    """One pass shouts, the others agree on the opposite: means of logits and of probabilities differ."""
    z = torch.full((4, 5, 6), -1.0)
    z[int(rng.integers(4))] = 40.0
    return (z,)


def _ensemble(z: Tensor) -> Tensor:
    return z.sigmoid().mean(0) > 0.5


ENSEMBLE = Exercise(
    id="06-ensemble",
    task="`ensemble(logits)`: from the logits (M, H, W) of M passes, each with a support set of its own, the mask (H, W), True "
         "where the mean of the M *probabilities* is above one half.",
    reference=_ensemble,
    meets="fmlab.incontext.prediction.predict",
    cases=(
        Case("four passes", _logits, "Sigmoid of each pass, mean over the passes, above 0.5."),
        Case("one pass that is very sure and three that disagree", _one_loud,
             "A probability ends at 1, a logit does not end: one loud pass outvotes all others in a mean of logits."),
        Case("a single pass", lambda rng: _logits(rng, 1), "The mean of one is that one."),
    ),
    misconceptions=(
        Misconception("You average the logits. A pass that is very sure then outvotes all others, since a logit has no upper "
                      "end; "
                      "the slides average predictions: sigmoid first, then the mean.", lambda z: z.mean(0).sigmoid() > 0.5),
        Misconception("You take a majority of the M masks. That forgets how sure each pass was.",
                      lambda z: (z > 0).float().mean(0) > 0.5),
        Misconception("You threshold the mean at 0. Probabilities are all above 0; the middle is one half.",
                      lambda z: z.sigmoid().mean(0) > 0),
        Misconception("You return the probabilities; the mask is where they are above one half.", lambda z: z.sigmoid().mean(0)),
        Misconception("You forgot the sigmoid: the model gives logits, and 0.5 of a logit is no "
                      "middle.", lambda z: z.mean(0) > 0.5),
        Misconception("You take the union of all passes: one false alarm of one pass then stays for ever.",
                      lambda z: (z > 0).any(0)),
    ),
    hints=(
        "Which two steps are in the wrong order if one very sure pass decides alone?",
        "`logits.sigmoid()` gives M probabilities for each pixel; the mean over passes is `.mean(0)`.",
        "`return logits.sigmoid().mean(0) > 0.5`",
    ),
)

EXERCISES = (CROSS, ENSEMBLE, FAST)
