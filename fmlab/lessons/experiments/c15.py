"""C15: on new organs black-box adapters fail, the decoder has to be tuned, and additive PEFT on top beats selective PEFT.

Structures that the base model was never asked for, from five labelled people of a hospital that it did not see. Twice, crosswise:
what is new to one base model is known to its twin (``nano.SWAPPED``), so organ and novelty are not mixed up.

    base "nano"      new: NOVEL   known: KNOWN
    base "swapped"   new: KNOWN   known: NOVEL
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fmlab.lessons import claims
from fmlab.lessons.experiments import few_shots
from fmlab.lessons.experiments.few_shots import FOLDER as FOLDER
from fmlab.lessons.experiments.few_shots import KNOWN, Dices, Setting
from fmlab.lessons.experiments.few_shots import PRECISION as PRECISION
from fmlab.pretraining.nano import NOVEL

BLACK_BOX = ("linear_probe", "spatial_adapter")
ADDITIVE = ("lora+decoder", "adaptformer+decoder")
SELECTIVE = ("bitfit+decoder", "affine+decoder")
CONTROLS = (*BLACK_BOX, "decoder")
METHODS = (*BLACK_BOX, "decoder", *ADDITIVE, *SELECTIVE)
CENTRE, SHOTS = "F", (5,)
NEW = {"nano": NOVEL, "swapped": KNOWN}
"""Base model -> structures that are new to it; those of the other are known to it."""


def run(seed: int, setting: Setting | None = None, folder: Path | None = None, progress: bool = True, command: str = "",
        ) -> claims.Run:
    """The experiment with one seed, as a run for the ledger.

    details: mean Dice of each method over both base models, of new structures; of CONTROLS also of known ones; and by base.
    """
    def work(setting: Setting, where: Path) -> tuple[Dices, dict]:
        new, known = [], []
        for base, other in zip(NEW, reversed(NEW)):
            for structures, methods, found in ((NEW[base], METHODS, new), (NEW[other], CONTROLS, known)):
                found.append(few_shots.dices(setting.protocol(structures, CENTRE, SHOTS, seed, base), methods, where, progress))
        means = [{method: few_shots.mean(dice) for method, dice in both(found).items()} for found in (new, known)]
        by_base = {base: {what: {method: few_shots.mean(dice) for method, dice in found.items()}
                          for what, found in (("new", new[i]), ("known", known[i]))} for i, base in enumerate(NEW)}
        return effects(both(new)), {"mean": means[0], "known": means[1], "by base": by_base}

    return few_shots.as_run("C15", seed, work, setting, folder, command)


def both(found: list[dict[str, Dices]]) -> dict[str, Dices]:
    """Method -> person -> mean Dice over the base models."""
    return {method: {person: float(np.mean([one[method][person] for one in found])) for person in dice}
            for method, dice in found[0].items()}


def effects(found: dict[str, Dices]) -> Dices:
    """Person -> the smaller of two differences in Dice: decoder less the better black box, and the mean of decoder + additive
    less that of decoder + selective. Positive only where both halves of the claim hold.

    The better black box is chosen over all people, once a seed.
    """
    black_box = max(BLACK_BOX, key=lambda method: few_shots.mean(found[method]))

    def of(methods: tuple[str, ...], person: str) -> float:
        return sum(found[method][person] for method in methods) / len(methods)

    return {person: min(dice - found[black_box][person], of(ADDITIVE, person) - of(SELECTIVE, person))
            for person, dice in found["decoder"].items()}
