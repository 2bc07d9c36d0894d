"""C13: full fine-tuning is not always best. Known organs of two hospitals that pre-training did not see, 1 and 5 labelled people.

A spatial adapter, which never touches theta_f, against full fine-tuning, with the probe and three PEFT methods beside them.
"""

from __future__ import annotations

from pathlib import Path

from fmlab.lessons import claims
from fmlab.lessons.experiments import few_shots
from fmlab.lessons.experiments.few_shots import FOLDER as FOLDER
from fmlab.lessons.experiments.few_shots import KNOWN, Dices, Setting
from fmlab.lessons.experiments.few_shots import PRECISION as PRECISION

METHODS = ("linear_probe", "spatial_adapter", "affine", "lora", "full")
CENTRES, SHOTS = ("E", "F"), (1, 5)


def run(seed: int, setting: Setting | None = None, folder: Path | None = None, progress: bool = True, command: str = "",
        ) -> claims.Run:
    """The experiment with one seed, as a run for the ledger."""
    def work(setting: Setting, where: Path) -> tuple[Dices, dict]:
        found: dict[str, Dices] = {method: {} for method in METHODS}
        for centre in CENTRES:
            protocol = setting.protocol(KNOWN, centre, SHOTS, seed)
            for method, dice in few_shots.dices(protocol, METHODS, where, progress).items():
                found[method] |= dice
        return effects(found), {"mean": {method: few_shots.mean(dice) for method, dice in found.items()}}

    return few_shots.as_run("C13", seed, work, setting, folder, command)


def effects(found: dict[str, Dices]) -> Dices:
    """Person -> Dice of the spatial adapter less Dice of full fine-tuning; positive supports the claim."""
    return {person: dice - found["full"][person] for person, dice in found["spatial_adapter"].items()}
