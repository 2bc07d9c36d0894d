"""C16: the best rank of LoRA differs from task to task. Is a rank chosen for each task better than one rank for all?

Ranks are chosen on some of the tested people and scored on the others, both ways round; a rank that is chosen on those whom it is
scored on would always look better for each task.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fmlab.lessons import claims
from fmlab.lessons.experiments import few_shots
from fmlab.lessons.experiments.few_shots import FOLDER as FOLDER
from fmlab.lessons.experiments.few_shots import PRECISION as PRECISION
from fmlab.lessons.experiments.few_shots import TASKS, Dices, Setting

RANKS = (1, 2, 4, 8)
CENTRE, SHOTS = "F", (5,)
Sweep = dict[str, dict[int, Dices]]  # task -> rank -> person -> Dice


def run(seed: int, setting: Setting | None = None, folder: Path | None = None, progress: bool = True, command: str = "",
        ) -> claims.Run:
    """The experiment with one seed, as a run for the ledger."""
    def work(setting: Setting, where: Path) -> tuple[Dices, dict]:
        found: Sweep = {}
        for task, (structures, decoder) in TASKS.items():
            name = "lora+decoder" if decoder else "lora"
            sweep = few_shots.dices(setting.protocol(structures, CENTRE, SHOTS, seed), [(name, {"rank": r}) for r in RANKS],
                                    where, progress)
            found[task] = dict(zip(RANKS, sweep.values()))
        means = {task: {str(rank): few_shots.mean(dice) for rank, dice in ranks.items()} for task, ranks in found.items()}
        return effects(found), {"mean": means}

    return few_shots.as_run("C16", seed, work, setting, folder, command)


def effects(found: Sweep) -> Dices:
    """Person -> mean over tasks of Dice with the task's own rank less Dice with the one for all, chosen on the other half."""
    people = sorted(next(iter(next(iter(found.values())).values())))
    halves = (people[::2], people[1::2])
    result = {}
    for scored, chosen_on in (halves, halves[::-1]):
        own = {task: max(RANKS, key=lambda rank, task=task: _mean(found[task][rank], chosen_on)) for task in found}
        one = max(RANKS, key=lambda rank: np.mean([_mean(found[task][rank], chosen_on) for task in found]))
        for person in scored:
            result[person] = float(np.mean([found[task][own[task]][person] - found[task][one][person] for task in found]))
    return result


def _mean(dice: Dices, people: list[str]) -> float:
    return float(np.mean([dice[person] for person in people]))
