"""C15: on new organs black-box adapters fail, the decoder has to be tuned, and additive PEFT on top beats selective PEFT.

Structures that no hospital of the pre-training drew, from five labelled people of a hospital that it did not see.
"""

from __future__ import annotations

from pathlib import Path

from fmlab.lessons import claims
from fmlab.lessons.experiments import few_shots
from fmlab.lessons.experiments.few_shots import FOLDER as FOLDER
from fmlab.lessons.experiments.few_shots import PRECISION as PRECISION
from fmlab.lessons.experiments.few_shots import Dices, Setting
from fmlab.pretraining.nano import NOVEL

BLACK_BOX = ("linear_probe", "spatial_adapter")
ADDITIVE = ("lora+decoder", "adaptformer+decoder")
SELECTIVE = ("bitfit+decoder", "affine+decoder")
METHODS = (*BLACK_BOX, "decoder", *ADDITIVE, *SELECTIVE)
CENTRE, SHOTS = "F", (5,)


def run(seed: int, setting: Setting | None = None, folder: Path | None = None, progress: bool = True, command: str = "",
        ) -> claims.Run:
    """The experiment with one seed, as a run for the ledger."""
    def work(setting: Setting, where: Path) -> tuple[Dices, dict]:
        found = few_shots.dices(setting.protocol(NOVEL, CENTRE, SHOTS, seed), METHODS, where, progress)
        return effects(found), {"mean": {method: few_shots.mean(dice) for method, dice in found.items()}}

    return few_shots.as_run("C15", seed, work, setting, folder, command)


def effects(found: dict[str, Dices]) -> Dices:
    """Person -> the smaller of two differences in Dice: decoder less the better black box, and the mean of decoder + additive
    less that of decoder + selective. Positive only where both halves of the claim hold.

    The better black box is chosen over all people, once a seed.
    """
    black_box = max(BLACK_BOX, key=lambda method: few_shots.mean(found[method]))

    def both(methods: tuple[str, ...], person: str) -> float:
        return sum(found[method][person] for method in methods) / len(methods)

    return {person: min(dice - found[black_box][person], both(ADDITIVE, person) - both(SELECTIVE, person))
            for person, dice in found["decoder"].items()}
