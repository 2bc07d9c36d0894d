"""Make the runs that lesson 03 shows: ``python -m data_scripts.record_flat_or_deep``.

One for each arm and budget of ``fmlab.lessons.flat_or_deep_runs``, a minute or two each on one core, and four of the first
seed's networks. What is there already is not made again; after a change of the arms delete both files first.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fmlab.lessons import flat_or_deep, flat_or_deep_runs


def main(arguments: list[str] | None = None) -> None:
    """Make what is missing."""
    parser = argparse.ArgumentParser(prog="python -m data_scripts.record_flat_or_deep", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=flat_or_deep.STEPS, help="of the 3-D arm; default: %(default)s")
    parser.add_argument("--cubes", type=int, default=flat_or_deep.CUBES, help="default: %(default)s")
    parser.add_argument("--folder", type=Path, default=flat_or_deep_runs.RECORDINGS, help="where to (default: what ships)")
    given = parser.parse_args(arguments)
    path, nets = (given.folder / file.name for file in (flat_or_deep_runs.STORED, flat_or_deep_runs.NETS))
    there = {(point.arm, point.budget, point.seed) for point in flat_or_deep_runs.recorded(path)} if path.exists() else set()
    for seed in given.seeds:
        missing = [pair for pair in flat_or_deep_runs.PAIRS if (*pair, seed) not in there]
        pool = flat_or_deep.Pool.of(flat_or_deep.people(), given.cubes, seed) if missing else None
        for arm, budget in missing:
            point, net = flat_or_deep_runs.run(arm, budget, seed, pool, given.steps)
            if seed == given.seeds[0] and budget == "voxels" and arm in flat_or_deep_runs.KEPT:
                flat_or_deep_runs.keep_net(net, nets)
            flat_or_deep_runs.record(point, path)
            means = (f"{what} {point.mean(what, flat_or_deep.STRUCTURES):.3f}" for what in ("thin", "thick", "resampled"))
            print(f"seed {seed}, {arm}, {budget}: Dice", ", ".join(means), flush=True)


if __name__ == "__main__":
    main()
