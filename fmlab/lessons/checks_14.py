"""Exercises of lesson 14: the question that DoDNet's controller reads, and the exchange of Hermes; with frequent wrong ideas."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fmlab.lessons.exercise import Case, Exercise, Invariant, Misconception
from fmlab.lessons.laws import has_shape

Answer = Tensor | tuple[Tensor, Tensor]


# ---- 14-question: deepest level, tasks -> what the controller reads

QuestionInput = tuple[Tensor, Tensor, int]


def _batch(rng: np.random.Generator, task: tuple[int, ...], channels: int = 5, tasks: int = 4) -> QuestionInput:
    """deep (B, C, 2, 3, 2) above 0, as after a ReLU; task (B,); T."""
    deep = torch.from_numpy(rng.exponential(size=(len(task), channels, 2, 3, 2))).float()
    return deep, torch.tensor(task), tasks


def _one_scan(rng: np.random.Generator) -> QuestionInput:
    return _batch(rng, (3,))


def _mixed(rng: np.random.Generator) -> QuestionInput:
    return _batch(rng, (2, 0, 3))


def _low_tasks(rng: np.random.Generator) -> QuestionInput:
    """The last tasks are not in the batch: the code has room for them all the same."""
    return _batch(rng, (1, 0), tasks=6)


def _all_alike(rng: np.random.Generator) -> QuestionInput:
    """B = C = T: axes that are mixed up still fit."""
    return _batch(rng, (3, 1, 0, 2), channels=4)


def _pooled(deep: Tensor) -> Tensor:
    return deep.mean((2, 3, 4))


def _code(task: Tensor, tasks: int) -> Tensor:
    return F.one_hot(task, tasks).float()


def _question(deep: Tensor, task: Tensor, tasks: int) -> Tensor:
    return torch.cat([_pooled(deep), _code(task, tasks)], 1)


def _with_code(code: Callable[[Tensor, int], Tensor]) -> Callable[[Tensor, Tensor, int], Tensor]:
    """A wrong idea of the code."""
    return lambda deep, task, tasks: torch.cat([_pooled(deep), code(task, tasks).expand(len(deep), -1)], 1)


def _with_pool(pool: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor, int], Tensor]:
    """A wrong idea of the pooling."""
    return lambda deep, task, tasks: torch.cat([pool(deep).expand(len(deep), -1), _code(task, tasks)], 1)


def _maps(deep: Tensor, task: Tensor, tasks: int) -> Tensor:
    """The code as maps beside the features, nothing pooled."""
    return torch.cat([deep, _code(task, tasks)[:, :, None, None, None].expand(-1, -1, *deep.shape[2:])], 1)


def _learns(function: Callable, rng: np.random.Generator) -> bool:
    deep, task, tasks = _mixed(rng)
    found = function(deep.requires_grad_(), task, tasks)
    return isinstance(found, Tensor) and found.requires_grad


def _each_for_itself(function: Callable, rng: np.random.Generator) -> bool:
    """A sample's row does not depend on who else is in the batch."""
    deep, task, tasks = _mixed(rng)
    return torch.allclose(function(deep.clone(), task.clone(), tasks)[1:2], function(deep[1:2].clone(), task[1:2].clone(), tasks))


QUESTION = Exercise(
    id="14-question",
    task="`question(deep, task, tasks)`: what DoDNet's controller reads, (B, C + T), of the deepest level deep (B, C, X, Y, Z), "
         "after its norm and ReLU, and the tasks (B,), numbers from 0 to T - 1: each channel's mean over the voxels, then the "
         "one-hot code of the sample's own task.",
    reference=_question,
    meets="fmlab.pretraining.dodnet.DoDNet.theta",
    cases=(
        Case("one scan", _one_scan, "`deep.mean((2, 3, 4))` is (B, C); the code has T columns, and a single 1."),
        Case("three scans of three hospitals", _mixed, "Row n belongs to scan n: its own image, its own task."),
        Case("a batch without the last tasks", _low_tasks, "The code has T columns, whichever tasks are in the batch."),
        Case("as many scans as channels as tasks", _all_alike, "Axes are mixed up somewhere, and only fit because all are 4: "
             "row n is the code of sample n."),
    ),
    misconceptions=(
        Misconception("You put the code first. The controller's first C columns meet the image and its last T the code; trained "
                      "weights would read your code as brightness.",
                      lambda deep, task, tasks: torch.cat([_code(task, tasks), _pooled(deep)], 1)),
        Misconception("You give all scans the task of the first. In a mixed batch each sample has a question of its own.",
                      _with_code(lambda task, tasks: _code(task[:1], tasks))),
        Misconception("You ask every scan the questions of the whole batch: `code[:, task] = 1` writes all of these columns in "
                      "all rows. Row n gets column task[n] alone.",
                      _with_code(lambda task, tasks: _code(task, tasks).amax(0, keepdim=True))),
        Misconception("There is a softmax on your code. It is no prediction: the task is known, so its column is 1 and the "
                      "others are 0.", _with_code(lambda task, tasks: _code(task, tasks).softmax(1))),
        Misconception("You hand over the task's number. That says task 2 is twice task 1 and lies between 1 and 3; in a code of "
                      "T columns no two tasks are nearer than others.",
                      _with_code(lambda task, tasks: task[:, None].float())),
        Misconception("Your code has as many columns as the largest task of this batch needs. It always has T: "
                      "`F.one_hot(task, tasks)`.", _with_code(lambda task, tasks: F.one_hot(task).float())),
        Misconception("You count the tasks from 1. They go from 0 to T - 1, so task 0 is column 0.",
                      _with_code(lambda task, tasks: _code(task, tasks).roll(1, 1))),
        Misconception("You count the tasks from 1 and have a column too many. They go from 0 to T - 1.",
                      _with_code(lambda task, tasks: _code(task + 1, tasks + 1))),
        Misconception("You add up the voxels. GAP is their *mean*: a larger patch shall not ask louder.",
                      _with_pool(lambda deep: deep.sum((2, 3, 4)))),
        Misconception("You take the largest voxel. GAP is *average* pooling.", _with_pool(lambda deep: deep.amax((2, 3, 4)))),
        Misconception("You average over the batch as well: each scan would get its neighbours' image. Keep axis 0.",
                      _with_pool(lambda deep: deep.mean((0, 2, 3, 4))[None])),
        Misconception("You average over the channels as well, and one number is left of the image.",
                      _with_pool(lambda deep: deep.mean((1, 2, 3, 4))[:, None])),
        Misconception("You have forgotten the image: DoDNet's head depends on it as well as on the task.",
                      lambda deep, task, tasks: _code(task, tasks)),
        Misconception("You have not pooled: the controller reads one vector a sample, not one a voxel.", _maps),
        Misconception("The numbers are right, and three axes of length 1 are left: `mean((2, 3, 4))` without keepdim, or "
                      "`.flatten(1)`.", lambda deep, task, tasks: _question(deep, task, tasks)[:, :, None, None, None]),
    ),
    invariants=(
        Invariant("Your result has not the shape (B, C + T): one row a sample, the image's C numbers, then T of the code.",
                  has_shape(_mixed, 3, 9)),
        Invariant("A sample's row changes with the others of the batch. Each is to be asked for itself.", _each_for_itself),
        Invariant("Your numbers are right, but cut off from deep, so the encoder would not learn from them. `.detach()`, "
                  "`.data`, numpy and `torch.no_grad` lose the gradient.", _learns),
    ),
    hints=(
        "Two parts, side by side: what the image is like, (B, C), and which hospital asks, (B, T).",
        "Global average pooling is the mean over the three axes of the voxels: `deep.mean((2, 3, 4))`.",
        "`F.one_hot(task, tasks)` is (B, T), of whole numbers; give it the type of deep by `.to(deep.dtype)`.",
        "`return torch.cat([deep.mean((2, 3, 4)), F.one_hot(task, tasks).to(deep.dtype)], 1)`.",
    ),
)


# ---- 14-exchange: features and priors attend to each other

ExchangeInput = tuple[Tensor, Tensor]


def _meeting(rng: np.random.Generator, samples: int = 1, voxels: int = 6, priors: int = 3, channels: int = 4,
             scale: float = 1.5) -> ExchangeInput:
    """features (B, N, C) and priors (B, P, C)."""
    shapes = (samples, voxels, channels), (samples, priors, channels)
    return tuple(torch.from_numpy(scale * rng.normal(size=shape)).float() for shape in shapes)


def _one_prior(rng: np.random.Generator) -> ExchangeInput:
    return _meeting(rng, priors=1)


def _two_images(rng: np.random.Generator) -> ExchangeInput:
    return _meeting(rng, samples=2)


def _all_the_same(rng: np.random.Generator) -> ExchangeInput:
    """B = N = P = C: axes that are mixed up still fit."""
    return _meeting(rng, samples=4, voxels=4, priors=4, channels=4)


def _loud(rng: np.random.Generator) -> ExchangeInput:
    """So large that exp() alone is infinite."""
    return _meeting(rng, scale=10.0)


def _scaled(weights: Tensor) -> Tensor:
    return weights.softmax(-1)


def _heard(queries: Tensor, context: Tensor, softmax: Callable[[Tensor], Tensor] = _scaled, power: float = 0.5,
           residual: bool = True) -> Tensor:
    """queries + softmax(queries context^T / C^power) context."""
    weights = softmax(queries @ context.transpose(1, 2) / queries.shape[-1] ** power)
    return weights @ context + (queries if residual else 0)


def _exchange(features: Tensor, priors: Tensor) -> Answer:
    priors = _heard(priors, features)
    return _heard(features, priors), priors


def _by(**settings: object) -> Callable[[Tensor, Tensor], Answer]:
    """A wrong idea of the attention, in both directions."""
    def formula(features: Tensor, priors: Tensor) -> Answer:
        priors = _heard(priors, features, **settings)
        return _heard(features, priors, **settings), priors
    return formula


def _features_first(features: Tensor, priors: Tensor) -> Answer:
    features = _heard(features, priors)
    return features, _heard(priors, features)


def _first_sample(features: Tensor, priors: Tensor) -> Answer:
    return _exchange(features, priors[:1].expand(priors.shape))


def _is_pair(function: Callable, rng: np.random.Generator) -> bool:
    given = _meeting(rng)
    found = function(*given)
    return isinstance(found, tuple | list) and len(found) == 2 and all(a.shape == b.shape for a, b in zip(found, given))


def _order_of_priors(function: Callable, rng: np.random.Generator) -> bool:
    """Priors in another order: posteriors in that order, and the same features."""
    features, priors = _meeting(rng)
    first, then = function(features.clone(), priors.clone()), function(features.clone(), priors.flip(1))
    return torch.allclose(first[0], then[0], atol=1e-4) and torch.allclose(first[1].flip(1), then[1], atol=1e-4)


def _both_learn(function: Callable, rng: np.random.Generator) -> bool:
    given = tuple(part.requires_grad_() for part in _meeting(rng))
    return all(isinstance(part, Tensor) and part.requires_grad for part in function(*given))


EXCHANGE = Exercise(
    id="14-exchange",
    task="`exchange(features, priors)`: of features (B, N, C), one row a voxel, and priors (B, P, C), one row a question, the "
         "new features and the posteriors, in this order. Attention of queries to a context is "
         "softmax(queries context^T / sqrt(C)) context, and is added to the queries. First the priors ask the features; then the "
         "features ask the priors as they are now.",
    reference=_exchange,
    meets="fmlab.pretraining.hermes_priors.Exchange",
    tolerance=1e-4,
    cases=(
        Case("three questions about one image", _meeting,
             "`queries @ context.transpose(1, 2)` is (B, Q, N); a softmax over its last axis, times the context, is (B, Q, C)."),
        Case("one question", _one_prior, "One prior is (B, 1, C): keep its axis."),
        Case("two images", _two_images, "Each image meets its own priors: `@` and `transpose(1, 2)` leave axis 0 alone."),
        Case("as many images as voxels as questions as channels", _all_the_same,
             "Axes are mixed up somewhere, and only fit because all are 4."),
        Case("loud features", _loud, "exp() of large numbers is infinite; `.softmax(-1)` takes the largest away first."),
    ),
    misconceptions=(
        Misconception("You let the features ask first. The priors look at the image first, and the features then hear priors "
                      "that know it.", _features_first),
        Misconception("Your features hear the priors as they were before they saw the image. First the priors' turn, then the "
                      "features hear what has become of them.",
                      lambda features, priors: (_heard(features, priors), _heard(priors, features))),
        Misconception("You return the old priors. What has become of them, the posteriors, is what prototypes are made of.",
                      lambda features, priors: (_exchange(features, priors)[0], priors)),
        Misconception("Your features are right and then forgotten: return the new ones.",
                      lambda features, priors: (features, _exchange(features, priors)[1])),
        Misconception("You return the posteriors first; the order is (features, posteriors).",
                      lambda features, priors: _exchange(features, priors)[::-1]),
        Misconception("What is heard takes the place of the queries. It is *added* to them, or a voxel would forget what it saw.",
                      _by(residual=False)),
        Misconception("Your weights are not divided by sqrt(C), so with many channels one voxel takes all.", _by(power=0.0)),
        Misconception("You divide by C; it is its square root.", _by(power=1.0)),
        Misconception("Your softmax goes over the queries. Each query shares its attention out over the *context*: the last "
                      "axis.",
                      _by(softmax=lambda weights: weights.softmax(1))),
        Misconception("You have left the softmax out: the weights of a query have to be positive, with the sum 1.",
                      _by(softmax=lambda weights: weights)),
        Misconception("There is a sigmoid in place of the softmax: the weights of a query have the sum 1.",
                      _by(softmax=torch.sigmoid)),
        Misconception("Your softmax goes over everything at once; each query has weights with the sum 1 of its own.",
                      _by(softmax=lambda weights: weights.flatten(1).softmax(1).view(weights.shape))),
        Misconception("You ask all images the first one's questions. Each has a list of its own.", _first_sample),
        Misconception("You return the features alone. The posteriors are needed too: `return features, priors`.",
                      lambda features, priors: _exchange(features, priors)[0]),
    ),
    invariants=(
        Invariant("Your function should return two things, of the shapes that came in: `return features, priors`.", _is_pair),
        Invariant("Your answer depends on the order of the questions. A list is a set here: the same questions in another order "
                  "leave the features as they are.", _order_of_priors),
        Invariant("Your numbers are right, but cut off from what came in, so that neither network nor tokens would learn. "
                  "`.detach()`, `.data`, numpy and `torch.no_grad` lose the gradient.", _both_learn),
    ),
    hints=(
        "The same function twice, with the roles exchanged. Write it as a small function of queries and context first.",
        "Weights: `(queries @ context.transpose(1, 2) / queries.shape[-1] ** 0.5).softmax(-1)`, which is (B, queries, context).",
        "What is heard: `queries + weights @ context`.",
        "`priors = heard(priors, features)`, then `return heard(features, priors), priors`: the order of these two lines is the "
        "point.",
    ),
)


EXERCISES = (QUESTION, EXCHANGE)
