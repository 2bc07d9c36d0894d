"""Make the runs that lesson 17 shows: ``python -m data_scripts.record_both``.

One for each weight of ``fmlab.lessons.both``, a minute each on one core. Runs that are there already are not made again; after a
change of the base model's weights delete the file first.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fmlab.lessons import both


def main(arguments: list[str] | None = None) -> None:
    """Make what is missing."""
    parser = argparse.ArgumentParser(prog="python -m data_scripts.record_both", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=both.STEPS, help="default: %(default)s")
    parser.add_argument("--file", type=Path, default=both.STORED, help="where to (default: what ships)")
    given = parser.parse_args(arguments)
    there = {(point.weight, point.seed) for point in both.recorded(given.file)} if given.file.exists() else set()
    for seed in given.seeds:
        for weight in both.WEIGHTS:
            if (weight, seed) not in there:
                both.record(point := both.one(weight, seed, given.steps), given.file)
                print(f"seed {seed}, weight {weight:g}: old {point.means[1]:.3f}, new {point.means[2]:.3f}", flush=True)


if __name__ == "__main__":
    main()
