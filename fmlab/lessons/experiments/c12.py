"""C12: the more labels a task has, the less pre-training adds.

New structures from 1, 10, 50 and 100 labelled people, which are 1 to 100 % of them, with theta_f from supervised pre-training and
from scratch (``transfer_curves``). After Gao et al. 2024 (Hermes), arXiv:2306.02416, whose table goes from 1 % to 100 %.
"""

from __future__ import annotations

from pathlib import Path

from fmlab.lessons import claims
from fmlab.lessons.experiments import transfer_curves as curves
from fmlab.lessons.experiments.transfer_curves import FOLDER as FOLDER
from fmlab.lessons.experiments.transfer_curves import Curves, Setting

ARMS = ("scratch", "supervised")
COUNTS = (1, 10, 50, 100)


def run(seed: int, setting: Setting | None = None, folder: Path | None = None, progress: bool = True, command: str = "",
        workers: int | None = None, counts: tuple[int, ...] = COUNTS) -> claims.Run:
    """The experiment with one seed, as a run for the ledger."""
    return curves.run("C12", ARMS, counts, effects, seed, setting, folder, progress, command, workers)


def effects(found: Curves) -> dict[str, float]:
    """Person -> (pre-trained - scratch) with the fewest labels less the same with all; positive supports the claim."""
    fewest, most = min(found["scratch"]), max(found["scratch"])

    def gain(count: int, person: str) -> float:
        return found["supervised"][count][person] - found["scratch"][count][person]

    return {person: gain(fewest, person) - gain(most, person) for person in found["scratch"][most]}
