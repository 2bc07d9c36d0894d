"""How good sets of candidates are: Tyche's and Tyche-IS', beside simulated readers, and over the size of the support."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from data_scripts.incontext_evaluation import ENSEMBLES, SHOTS, Task, mean_of
from fmlab import metrics
from fmlab.incontext.candidates import ged, max_dice
from fmlab.incontext.evaluate import without
from fmlab.incontext.prediction import support_sets
from fmlab.incontext.readers import redrawn
from fmlab.incontext.tyche_is import inference_candidates
from fmlab.metrics.bootstrap import Estimate

Candidates = Callable[[Task, int, int], Tensor]
"""(task, number of the query, seed) -> candidates (K, H, W), 0 or 1."""


@dataclass(frozen=True)
class Spread:
    """Candidates beside readers. best: mean over readers of the best candidate's Dice. ged: see ``candidates.ged``."""

    best: Estimate
    ged: Estimate


def spread(make: Candidates, tasks: Sequence[Task], readers: int = 4, seed: int = 0) -> Spread:
    """How well candidates cover what ``readers`` simulated readers draw of each query."""
    rng, best, apart = np.random.default_rng(seed), [], []
    for task in tasks:
        dice, distance = [], []
        for i in range(len(task.queries)):
            drawn = redrawn(task.queries.masks[i : i + 1].expand(readers, -1, -1, -1).contiguous(), rng)[:, 0]
            found = make(task, i, seed + i)
            dice.append(float(max_dice(found, drawn).nanmean()))
            distance.append(ged(found, drawn))
        best.append(torch.tensor(dice))
        apart.append(torch.tensor(distance))
    return Spread(mean_of(best), mean_of(apart))


def by_network(model: nn.Module, candidates: int) -> Candidates:
    """Candidates of Tyche-TS for ``spread``."""
    def make(task: Task, query: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        support = task.support.draw(16, generator)
        with torch.no_grad():
            logits = model(task.queries.images[query][None], support.images[None], support.masks[None], candidates,
                           generator=generator)
        return (logits[0] > 0).float()
    return make


def by_changes(model: nn.Module, candidates: int) -> Candidates:
    """Candidates of Tyche-IS for ``spread``; with one candidate, the model's plain answer."""
    def make(task: Task, query: int, seed: int) -> Tensor:
        support = task.support.draw(16, torch.Generator().manual_seed(seed))
        answers = inference_candidates(model, task.queries.images[query], support.images, support.masks, candidates, seed)
        return (answers > 0.5).float()
    return make


@dataclass(frozen=True)
class Answers:
    """Dice on the one mask that is there. best: of the best candidate. one: of the mean of all candidates' probabilities."""

    best: Estimate
    one: Estimate


def grid(model: nn.Module, tasks: Sequence[Task], candidates: int = 4, shots: Sequence[int] = SHOTS,
         ensembles: Sequence[int] = ENSEMBLES) -> dict[tuple[int, int], Answers]:
    """(S, M) -> Dice of Tyche-TS, the mean over tasks of the means over queries, with intervals over tasks."""
    found = {}
    for s in shots:
        best, one = (torch.stack(each) for each in zip(*[dices(model, task, s, ensembles, candidates) for task in tasks]))
        for i, m in enumerate(ensembles):
            found[s, m] = Answers(mean_of(best[:, i].tolist()), mean_of(one[:, i].tolist()))
    return found


@torch.no_grad()
def dices(model: nn.Module, task: Task, shots: int, ensembles: Sequence[int], candidates: int, seed: int = 0
          ) -> tuple[Tensor, Tensor]:
    """For each M the mean Dice over queries (M,) of the best candidate, and of the mean candidate.

    Supports are drawn as in ``incontext.evaluate.dices``. All of a query's support sets meet the same noise, so that candidate k
    can be averaged over them; a smaller M has the first sets of a larger one.
    """
    best, one = [], []
    for i, (image, mask) in enumerate(zip(task.queries.images, task.queries.masks)):
        generator = torch.Generator().manual_seed(seed + i)
        others = without(task.support, task.queries.names[i] if task.queries.names else "")
        noise = torch.randn(1, candidates, *image.shape[1:], generator=generator)
        sets = support_sets(others, shots, max(ensembles), generator)
        p = torch.stack([model(image[None], s.images[None], s.masks[None], noise=noise)[0].sigmoid() for s in sets])
        averages = [p[:m].mean(0) for m in ensembles]
        best.append([float(max_dice((each > 0.5).float(), mask)) for each in averages])
        one.append([metrics.dice(each.mean(0) > 0.5, mask[0] > 0) for each in averages])
    return torch.tensor(best, dtype=torch.float64).mean(0), torch.tensor(one, dtype=torch.float64).mean(0)
