"""Run a claim's experiment and add its runs to the ledger that ships: ``python -m data_scripts.run_claims C05 --seeds 0 1 2``.

An experiment is a module with ``run(seed, command=...)``. Trainings are kept in FMLAB_DATA/trainings; stopped, the same command
goes on where it was. Learners record into a ledger of their own: ``fmlab claims --rerun C05``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fmlab.errors import FmlabError
from fmlab.lessons import claims
from fmlab.lessons.claims.rerun import EXPERIMENTS, measured


def main(arguments: list[str] | None = None) -> int:
    """Run a claim's experiment for some seeds; 0, or 1 after a sentence on what went wrong."""
    parser = argparse.ArgumentParser(prog="python -m data_scripts.run_claims", description=__doc__.splitlines()[0])
    parser.add_argument("claim", choices=sorted(EXPERIMENTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: %(default)s")
    parser.add_argument("--ledger", type=Path, default=claims.SHIPPED, help="the folder to record into (default: what ships)")
    given = parser.parse_args(arguments)
    try:
        for seed in given.seeds:
            command = f"python -m data_scripts.run_claims {given.claim} --seeds {seed}"
            claims.record(measured(given.claim, seed, command), given.ledger)
        print(claims.details(given.claim))
    except FmlabError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
