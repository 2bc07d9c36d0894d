"""Exercises of lesson 02: FLAIR's pairing loss, and classes as ensembles of texts; with learners' most frequent wrong ideas."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fmlab.contrastive.pairing_loss import pairing_loss, targets
from fmlab.contrastive.zero_shot import ensemble
from fmlab.lessons.exercise import Case, Exercise, Invariant, Misconception

# ---- 02-pairing: logits (B, B), categories (B,) -> one number


def _batch(rng: np.random.Generator, categories: list[int]) -> tuple[Tensor, Tensor]:
    """Logits of a model that is right more often than not, pictures by captions."""
    c = torch.tensor(rng.permutation(categories))
    logits = torch.from_numpy(rng.normal(size=(len(c), len(c)))).float() * 2 + 3 * (c[:, None] == c[None])
    return logits + torch.from_numpy(rng.normal(size=(1, len(c)))).float(), c  # some captions please every picture


def _all_different(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    return _batch(rng, [3, 1, 4, 0, 7, 9])


def _some_twice(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    return _batch(rng, [0, 0, 0, 1, 1, 2, 3, 3, 8])


def _all_the_same(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    return _batch(rng, [5, 5, 5, 5])


def _own(logits: Tensor) -> Tensor:
    return torch.arange(len(logits))


def _both(cost: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Half of each direction of a cost, which is given the logits and G."""
    return lambda logits, c: (cost(logits, targets(c)) + cost(logits.T, targets(c))) / 2


def _unnormalised(logits: Tensor, c: Tensor) -> Tensor:
    same = (c[:, None] == c[None]).float()
    return (F.cross_entropy(logits, same) + F.cross_entropy(logits.T, same)) / 2


def _over_all(logits: Tensor, c: Tensor) -> Tensor:
    same = (c[:, None] == c[None]).float()
    return (F.cross_entropy(logits, same / same.sum()) + F.cross_entropy(logits.T, same / same.sum())) / 2


def _has_gradient(function: Callable, rng: np.random.Generator) -> bool:
    logits, c = _some_twice(rng)
    loss = function(logits.requires_grad_(), c)
    return isinstance(loss, Tensor) and loss.requires_grad


def _transposes(function: Callable, rng: np.random.Generator) -> bool:
    logits, c = _some_twice(rng)
    return bool(torch.isclose(torch.as_tensor(function(logits, c)).detach(), torch.as_tensor(function(logits.T, c)).detach(),
                              rtol=1e-3))


PAIRING = Exercise(
    id="02-pairing",
    task="`pairing_loss(logits, categories)` -> one number. logits (B, B): picture i by caption j. categories (B,): the "
         "condition of each pair. Row i's target is 1 where a caption has picture i's category, divided by how many have; "
         "cross-entropy over the captions, the same over the pictures, and the mean of the two.",
    reference=pairing_loss,
    meets="fmlab.contrastive.pairing_loss.pairing_loss",
    tolerance=1e-4,
    cases=(
        Case("a batch in which every category comes once", _all_different,
             "Then the target is the diagonal: CLIP's loss. Cross-entropy of the rows, of the columns, and half of both."),
        Case("a batch in which some categories come twice or three times", _some_twice,
             "`categories[:, None] == categories[None]` is who belongs together; each row's targets must add up to 1."),
        Case("a batch of one single category", _all_the_same, "All captions are right ones then, and share the mass evenly."),
    ),
    misconceptions=(
        Misconception("That is CLIP's loss: only the own caption counts as right. Two pictures of one condition are then pushed "
                      "away from each other's captions, although both captions are true of both.",
                      lambda logits, c: (F.cross_entropy(logits, _own(logits)) + F.cross_entropy(logits.T, _own(logits))) / 2),
        Misconception("You take one direction only: each picture looks for its captions. The captions must look for their "
                      "pictures as well: the same with `logits.T`.",
                      lambda logits, c: F.cross_entropy(logits, targets(c))),
        Misconception("You take one direction only: each caption looks for its pictures. The pictures must look for their "
                      "captions as well: the same without `.T`.",
                      lambda logits, c: F.cross_entropy(logits.T, targets(c))),
        Misconception("You add the two directions; take their mean, so that a model that only guesses stands at log B.",
                      lambda logits, c: 2 * pairing_loss(logits, c)),
        Misconception("Your targets do not add up to 1 in a row: divide each row by its sum, else a category that comes often "
                      "counts for more, just because it does.", _unnormalised),
        Misconception("You divide the targets by the sum of the whole matrix; each row is a distribution of its own, so it is "
                      "divided by its own sum.", _over_all),
        Misconception("You take the softmax before the cross-entropy, which takes one itself: the logits go in as they are.",
                      _both(lambda logits, goal: F.cross_entropy(logits.softmax(1), goal))),
        Misconception("You add up over the batch; `F.cross_entropy` takes the mean unless told otherwise.",
                      _both(lambda logits, goal: F.cross_entropy(logits, goal, reduction="sum"))),
        Misconception("You compare with the targets by squared error; it is a cross-entropy, of a softmax over the row.",
                      _both(lambda logits, goal: F.mse_loss(logits.softmax(1), goal))),
        Misconception("You ask each pair by itself, with a sigmoid. That is SigLIP's idea, and a good one; here the captions of "
                      "a row compete, in a softmax.",
                      _both(lambda logits, goal: F.binary_cross_entropy_with_logits(logits, (goal > 0).float()))),
    ),
    invariants=(
        Invariant("Your loss cannot train: it is cut off from the logits. Return the tensor itself; `float()`, `.item()` and "
                  "`.detach()` lose the gradient.", _has_gradient),
        Invariant("Pictures and captions play the same part: with `logits.T` your loss should be the same number.", _transposes),
    ),
    hints=(
        "Three steps: who belongs together, (B, B); each row divided by its sum; cross-entropy of rows and of columns, and their "
        "mean.",
        "`same = (categories[:, None] == categories[None]).float()`, and `same.sum(1, keepdim=True)` are the rows' sums.",
        "`F.cross_entropy(logits, goal)` takes a (B, B) matrix of target probabilities as well as class numbers.",
        "`goal = same / same.sum(1, keepdim=True)`; the answer is half of `F.cross_entropy(logits, goal)` and half of "
        "`F.cross_entropy(logits.T, goal)`.",
    ),
)

# ---- 02-ensemble: K times (n_k, width) -> (K, width)


def _texts(rng: np.random.Generator, counts: tuple[int, ...], spread: tuple[float, ...]) -> tuple[list[Tensor]]:
    """Embeddings of length 1; a class with a larger spread has texts that agree less."""
    made = []
    for count, wide in zip(counts, spread):
        middle = rng.normal(size=(1, 16))
        made.append(F.normalize(torch.from_numpy(middle + wide * rng.normal(size=(count, 16))).float(), dim=1))
    return (made,)


def _one_each(rng: np.random.Generator) -> tuple[list[Tensor]]:
    return _texts(rng, (1, 1, 1), (0.0, 0.0, 0.0))


def _as_many(rng: np.random.Generator) -> tuple[list[Tensor]]:
    return _texts(rng, (4, 4, 4), (0.1, 0.8, 2.0))


def _of_any_number(rng: np.random.Generator) -> tuple[list[Tensor]]:
    return _texts(rng, (1, 6, 3, 2), (0.0, 1.5, 0.5, 1.0))


def _rows(function: Callable[[Tensor], Tensor]) -> Callable[[list[Tensor]], Tensor]:
    return lambda embeddings: torch.stack([function(each) for each in embeddings])


def _of_length_one(function: Callable, rng: np.random.Generator) -> bool:
    answer = torch.as_tensor(function(*_of_any_number(rng)))
    return answer.ndim != 2 or bool(torch.allclose(answer.norm(dim=1), torch.ones(len(answer)), atol=1e-3))


ENSEMBLE = Exercise(
    id="02-ensemble",
    task="`ensemble(embeddings)` -> (K, width). embeddings: a list with one tensor (n_k, width) a class, its texts, each of "
         "length 1. Row k of the answer is the mean of class k's texts, brought back to length 1.",
    reference=ensemble,
    meets="fmlab.contrastive.zero_shot.ensemble",
    tolerance=1e-4,
    cases=(
        Case("classes of one text each", _one_each, "The mean of one text is that text; stack them to (K, width)."),
        Case("classes of four texts each", _as_many, "The mean over a class's texts is over axis 0; its length is then below 1."),
        Case("classes of one to six texts", _of_any_number, "Each class has as many texts as it has: take its own mean, one by "
                                                            "one."),
    ),
    misconceptions=(
        Misconception("You leave the mean as it is, as FLAIR's code does. A class whose texts say different things then has a "
                      "shorter vector, and lower logits for every picture, wherever it points. Bring it back to length 1.",
                      lambda embeddings: ensemble(embeddings, normalise=False)),
        Misconception("You add the texts up: a class with six descriptions then shouts six times as loud as a class with one. "
                      "Take the mean, and bring it back to length 1.", _rows(lambda each: each.sum(0))),
        Misconception("You take the largest value in each dimension. That is no direction that any text points to; the mean is.",
                      _rows(lambda each: F.normalize(each.amax(0), dim=0))),
        Misconception("You keep the first text of each class alone; the ensemble is the mean of all of them.",
                      _rows(lambda each: each[0])),
        Misconception("You divide by the length over the classes (axis 0). Each row, one class, must have the length 1: axis 1.",
                      lambda embeddings: F.normalize(ensemble(embeddings, normalise=False), dim=0)),
        Misconception("You divide by the largest of all lengths: the classes' lengths still differ. Each row by its own.",
                      lambda embeddings: (m := ensemble(embeddings, normalise=False)) / m.norm(dim=1).max()),
        Misconception("You divide by the sum of the values; the length is the root of the sum of their squares.",
                      _rows(lambda each: each.mean(0) / each.mean(0).sum())),
        Misconception("You divide by the square of the length: a class whose texts disagree becomes the *loudest*.",
                      _rows(lambda each: each.mean(0) / each.mean(0).square().sum())),
        Misconception("You take a softmax: embeddings are directions and no probabilities, and their values may be negative.",
                      _rows(lambda each: each.mean(0).softmax(0))),
    ),
    invariants=(
        Invariant("Some of your rows are not of length 1.", _of_length_one),
    ),
    hints=(
        "For each class: the mean over its texts. Then all means together, (K, width), and each row divided by its length.",
        "`torch.stack([each.mean(0) for each in embeddings])` is (K, width).",
        "`F.normalize(means, dim=1)` divides each row by its length.",
        "`F.normalize(torch.stack([each.mean(0) for each in embeddings]), dim=1)`.",
    ),
)

EXERCISES = (PAIRING, ENSEMBLE)
