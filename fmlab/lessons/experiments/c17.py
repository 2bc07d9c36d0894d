"""C17: ARENA adapts the rank and gains over LoRA on average. Three tasks, five labelled people, and the controls beside them.

LoRA has the published joint rank of 12, ARENA begins with 24 and may close gates. Controls: lambda = 0, and LoRA of ARENA's rank.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fmlab.adaptation.fewshot import Method
from fmlab.lessons import claims
from fmlab.lessons.experiments import few_shots
from fmlab.lessons.experiments.few_shots import FOLDER as FOLDER
from fmlab.lessons.experiments.few_shots import PRECISION as PRECISION
from fmlab.lessons.experiments.few_shots import TASKS, Dices, Setting

ARMS: dict[str, tuple[str, dict]] = {
    "arena": ("arena", {"rank": 8}), "lora": ("lora", {"rank": 4}), "lambda 0": ("arena", {"rank": 8, "step": "none"}),
    "lora of rank 24": ("lora", {"rank": 8})}
CENTRE, SHOTS = "F", (5,)


def run(seed: int, setting: Setting | None = None, folder: Path | None = None, progress: bool = True, command: str = "",
        ) -> claims.Run:
    """The experiment with one seed, as a run for the ledger."""
    def work(setting: Setting, where: Path) -> tuple[Dices, dict]:
        found: dict[str, dict[str, Dices]] = {arm: {} for arm in ARMS}
        for task, (structures, decoder) in TASKS.items():
            methods: list[Method] = [(f"{name}{'+decoder' * decoder}", options) for name, options in ARMS.values()]
            dices = few_shots.dices(setting.protocol(structures, CENTRE, SHOTS, seed), methods, where, progress)
            for arm, dice in zip(ARMS, dices.values()):
                found[arm][task] = dice
        means = {arm: {task: few_shots.mean(dice) for task, dice in tasks.items()} for arm, tasks in found.items()}
        return effects(found), {"mean": means}

    return few_shots.as_run("C17", seed, work, setting, folder, command)


def effects(found: dict[str, dict[str, Dices]]) -> Dices:
    """Person -> mean over tasks of Dice of ARENA less Dice of LoRA; positive supports the claim."""
    tasks = found["arena"]
    return {person: float(np.mean([tasks[task][person] - found["lora"][task][person] for task in tasks]))
            for person in next(iter(tasks.values()))}
