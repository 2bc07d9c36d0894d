"""C11: supervised pre-training on few scans transfers better than self-supervised pre-training on many.

SuPreM's argument (Li et al. 2024, arXiv:2501.11253): 21 annotated CTs against thousands without labels. Here 12 partially
annotated bodies against 160 without labels, the same network and as many steps, and then new structures from 1 and 10 labelled
people (``transfer_curves``).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fmlab.lessons import claims
from fmlab.lessons.experiments import transfer_curves as curves
from fmlab.lessons.experiments.transfer_curves import FOLDER as FOLDER
from fmlab.lessons.experiments.transfer_curves import SELF_SUPERVISED, Curves, Setting

ARMS = ("scratch", "supervised on few", *SELF_SUPERVISED)
COUNTS = (1, 10)


def run(seed: int, setting: Setting | None = None, folder: Path | None = None, progress: bool = True, command: str = "",
        workers: int | None = None, counts: tuple[int, ...] = COUNTS) -> claims.Run:
    """The experiment with one seed, as a run for the ledger."""
    return curves.run("C11", ARMS, counts, effects, seed, setting, folder, progress, command, workers)


def effects(found: Curves) -> dict[str, float]:
    """Person -> Dice from supervised pre-training on few scans less Dice from the best self-supervised one; mean over counts.

    The best is chosen over all persons and counts, once a seed: hard on the claim, without adding up luck.
    """
    def of(arm: str, person: str) -> float:
        return float(np.mean([dice[person] for dice in found[arm].values()]))

    persons = list(next(iter(found["scratch"].values())))
    best = max(SELF_SUPERVISED, key=lambda arm: np.mean([of(arm, person) for person in persons]))
    return {person: of("supervised on few", person) - of(best, person) for person in persons}
