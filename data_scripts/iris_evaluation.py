"""How good Iris is in 3-D: Dice on unseen bodies and on a real CT, over the number of references, and after tuning on one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data_scripts.incontext_evaluation import QUERY_SEED, REAL, SHOTS, SUPPORT_SEED
from fmlab import cohorts, metrics
from fmlab.errors import DataError
from fmlab.incontext import nano
from fmlab.incontext.iris import Iris
from fmlab.incontext.iris_tuning import tune_on
from fmlab.incontext.iris_volume import segment_volume, task_of
from fmlab.volume import Volume

Tasks = Mapping[str, Tensor]
"""Structure -> T (1, 1, m + 1, C)."""


@dataclass(frozen=True)
class References:
    """Whom tasks come from. tokens: structure -> T of each reference. first: structure -> its first reference."""

    tokens: Mapping[str, Sequence[Tensor]]
    first: Mapping[str, Volume]

    def tasks(self, number: int) -> Tasks:
        """The mean tokens of the first ``number`` of each structure's references, or of all where it has fewer."""
        return {name: torch.cat(tokens[:number]).mean(0, keepdim=True) for name, tokens in self.tokens.items()}


def references(model: Iris, people: Iterable[Volume], structures: Sequence[str] = nano.HELD_OUT, most: int = SHOTS[-1]
               ) -> References:
    """Each structure read in the first ``most`` of these people who show it."""
    tokens: dict[str, list[Tensor]] = {}
    first: dict[str, Volume] = {}
    for person in people:
        shown = [name for name in structures if len(tokens.get(name, ())) < most and bool(person.mask(name).any())]
        for name, token in zip(shown, task_of(model, [person], shown).split(1, dim=1) if shown else ()):
            first.setdefault(name, person)
            tokens.setdefault(name, []).append(token)
    return References(tokens, first)


def tuned(model: Iris, given: References) -> Tasks:
    """T of the first reference of each structure, tuned there."""
    return {name: tune_on(model, tokens[0], given.first[name], [name]) for name, tokens in given.tokens.items()}


def volume_dice(model: Iris, tasks: Tasks, scans: Iterable[Volume]) -> dict[str, float]:
    """Structure -> mean Dice in 3-D over the scans that show it; all are asked in one pass, and a missed structure is 0."""
    found: dict[str, list[float]] = {}
    for scan in scans:
        answer = segment_volume(model, scan, torch.cat([*tasks.values()], dim=1), list(tasks))
        for name in tasks:
            if bool((truth := scan.mask(name)).any()):
                found.setdefault(name, []).append(metrics.dice(answer.mask(name), truth))
    return {name: float(np.mean(values)) for name, values in found.items()}


def supports(hospitals: str) -> list[Volume]:
    """Unseen bodies to be references: six of each of several hospitals, or eighteen of one."""
    return list(nano.bodies(dict.fromkeys(hospitals, 6 if len(hospitals) > 1 else 18), SUPPORT_SEED))


def queries(hospitals: str, number: int = 2) -> list[Volume]:
    """Other unseen bodies to be asked, ``number`` of each hospital."""
    return list(nano.bodies(dict.fromkeys(hospitals, number), QUERY_SEED))


def real_scans() -> list[Volume]:
    """The real CT, where it is in the cache."""
    try:
        return [cohorts.load(REAL, confirm=False)]
    except DataError:
        return []
