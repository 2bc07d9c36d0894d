"""Run a claim's experiment and add its runs to the ledger that ships: ``python -m data_scripts.run_claims C05 --seeds 0 1 2``.

An experiment is a module with ``run(seed, command=...)``. Trainings are kept in FMLAB_DATA/trainings; stopped, the same command
goes on where it was. Learners record into a ledger of their own, with ``fmlab.lessons.claims.record``.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from inspect import signature
from pathlib import Path
from types import ModuleType

from data_scripts.train_course_weights import fast_precision
from fmlab.errors import FmlabError
from fmlab.lessons import claims
from fmlab.settings import data_folder

EXPERIMENTS = {claim: f"fmlab.lessons.experiments.{claim.lower()}" for claim in
               ("C02", "C03", "C04", "C05", "C06", "C07", "C08", "C09", "C10", "C11", "C12", "C13", "C14", "C15", "C16", "C17",
                "C19", "C20")}


def main(arguments: list[str] | None = None) -> int:
    """Run a claim's experiment for some seeds; 0, or 1 after a sentence on what went wrong."""
    parser = argparse.ArgumentParser(prog="python -m data_scripts.run_claims", description=__doc__.splitlines()[0])
    parser.add_argument("claim", choices=sorted(EXPERIMENTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: %(default)s")
    parser.add_argument("--ledger", type=Path, default=claims.SHIPPED, help="the folder to record into (default: what ships)")
    given = parser.parse_args(arguments)
    experiment = import_module(EXPERIMENTS[given.claim])
    try:
        for seed in given.seeds:
            command = f"python -m data_scripts.run_claims {given.claim} --seeds {seed}"
            claims.record(experiment.run(seed, command=command, **training(given.claim, experiment)), given.ledger)
        print(claims.details(given.claim))
    except FmlabError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def training(claim: str, experiment: ModuleType) -> dict[str, object]:
    """What ``run`` of an experiment that keeps its trainings is given too: a fast precision, and a folder to go on from."""
    if "folder" not in signature(experiment.run).parameters:
        return {}
    folder = getattr(experiment, "FOLDER", claim.lower())  # C11 and C12 share some trainings
    precision = getattr(experiment, "PRECISION", None) or fast_precision()
    return {"setting": experiment.Setting(precision=precision), "folder": data_folder() / "trainings" / folder}


if __name__ == "__main__":
    sys.exit(main())
