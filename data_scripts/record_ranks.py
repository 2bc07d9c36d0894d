"""Make the runs that lesson 18 shows: ``python -m data_scripts.record_ranks --seeds 0 1``.

Every arm of ``fmlab.lessons.ranks`` on every organ and seed (those of ONCE with seed 0 only), half a minute each on one core.
Runs that are there already are not made again; after a change of the base model's weights delete the file first.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fmlab.lessons import ranks


def main(arguments: list[str] | None = None) -> None:
    """Make what is missing."""
    parser = argparse.ArgumentParser(prog="python -m data_scripts.record_ranks", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="default: %(default)s")
    parser.add_argument("--file", type=Path, default=ranks.STORED, help="where to (default: what ships)")
    given = parser.parse_args(arguments)
    for seed in given.seeds:
        for organ in ranks.ORGANS:
            there = {arm.name for arm in ranks.recorded(given.file) if (arm.organ, arm.draw) == (organ, seed)} \
                if given.file.exists() else set()
            missing = [name for name in ranks.ARMS if name not in there and (seed == 0 or name not in ranks.ONCE)]
            if ranks.RANDOM not in there:  # it is made of these two
                missing = [name for name in ranks.ARMS if name in (*missing, ranks.ARENA, "lambda = 0")]
            for arm in ranks.run(ranks.protocol(organ), seed, missing):
                if arm.name not in there:
                    ranks.record(arm, given.file)
                    print(seed, organ, arm.name, f"{sum(arm.result.dice.values()) / len(arm.result.dice):.3f}", flush=True)


if __name__ == "__main__":
    main()
