"""The stored runs of lesson 03, made by data_scripts/record_flat_or_deep.py, and four of their networks.

Those that ship were trained in bf16 on a CPU that has it; a run made now is in float32.

    found = recorded()                     a Point for each arm, budget and seed
    net = recorded_net("3-D")              the network of seed 0, as it was tested
    one("2-D", "compute", seed=7)          a run of your own, some minutes on one core
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from safetensors.torch import load_file, save_file

from fmlab.adaptation.results import append
from fmlab.errors import LessonError
from fmlab.hardware import hardware
from fmlab.lessons.flat_or_deep import (
    BATCH,
    CUBES,
    SIDE,
    STEPS,
    TOGETHER,
    Net,
    Pool,
    cost_of_a_step,
    network,
    people,
    scored,
    steps_of,
    trained,
)
from fmlab.lessons.stored import stored

RECORDINGS = Path(__file__).parent / "recordings"
STORED, NETS = RECORDINGS / "03_flat_or_deep.jsonl", RECORDINGS / "03_flat_or_deep.safetensors"
PAIRS = tuple((arm, "voxels") for arm in ("3-D", "2-D", "2.5-D", "2-D, three axes", "3-D, inflated at centre",
                                          "3-D, inflated by mean", TOGETHER)) + (("2-D", "compute"), ("3-D", "longer"),
                                                                                 ("2-D", "longer"))
KEPT = ("2-D", "2-D, three axes", "2.5-D", "3-D")
UNSEEN = 5000  # first seed of the people who are tested
By = dict[str, dict[str, float]]  # person -> structure -> number


@dataclass(frozen=True)
class Point:
    """One run. budget: what it has as much of as the 3-D arm. voxels: labelled ones seen, each as often as it was. multiply_adds:
    of all forward passes of the training, in units of 10^9. thin, thick, resampled, jagged: as ``flat_or_deep.Score``."""

    arm: str
    budget: str
    seed: int
    steps: int
    voxels: int
    multiply_adds: float
    thin: By
    thick: By
    resampled: By
    jagged: By
    hardware: str

    def mean(self, what: str, structures: tuple[str, ...]) -> float:
        """Mean over people, then over structures; jaggedness over those that were found."""
        rows = getattr(self, what).values()
        by_structure = [[row[name] for row in rows if np.isfinite(row.get(name, np.nan))] for name in structures]
        return float(np.mean([np.mean(each) for each in by_structure if each]))


def one(arm: str, budget: str = "voxels", seed: int = 0, steps: int = STEPS, cubes: int = CUBES, tested: int = 1) -> Point:
    """An arm trained and tested. steps, cubes: of the 3-D arm. tested: people of each hospital."""
    return run(arm, budget, seed, Pool.of(people(), cubes, seed), steps, tested)[0]


def run(arm: str, budget: str, seed: int, pool: Pool, steps: int = STEPS, tested: int = 1) -> tuple[Point, Net]:
    """An arm on a pool, and its network."""
    own = steps_of(arm, budget, steps)
    net = trained(arm, pool, own, seed)
    scores = {body.name: scored(net, body) for body in people(tested, UNSEEN)}
    numbers = {what: {person: {name: round(value, 4) for name, value in getattr(score, what).items() if np.isfinite(value)}
                      for person, score in scores.items()} for what in ("thin", "thick", "resampled", "jagged")}
    each = [cost_of_a_step("2-D"), cost_of_a_step("3-D")] if "inflated" in arm else [cost_of_a_step(arm)]
    return Point(arm, budget, seed, own, own * BATCH * SIDE**3, round(own * float(np.mean(each)) / 1e9, 1), **numbers,
                 hardware=hardware()), net


def record(point: Point, path: Path = STORED) -> None:
    """Add a run to those that ship."""
    append(point, path)


@cache
def recorded(path: Path = STORED) -> tuple[Point, ...]:
    """The runs that were kept, in the order of PAIRS and by seed. LessonError where there are none, or a line is no run."""
    order = {pair: place for place, pair in enumerate(PAIRS)}
    return tuple(stored(path, Point, "data_scripts/record_flat_or_deep.py",
                        lambda point: (order.get((point.arm, point.budget), len(order)), point.seed)))


def keep_net(net: Net, path: Path = NETS) -> None:
    """Add a network's weights, in half precision, to those that ship."""
    there = load_file(path) if path.exists() else {}
    own = {f"{net.arm}/{name}": value.half() if value.is_floating_point() else value
           for name, value in net.model.state_dict().items()}
    save_file({name: value.contiguous() for name, value in sorted({**there, **own}.items())}, path)


def recorded_net(arm: str, path: Path = NETS) -> Net:
    """A network of KEPT. LessonError for another one, or where the file is not there."""
    model, start = network(arm), f"{arm}/"
    found = load_file(path) if path.exists() else {}
    weights = {name.removeprefix(start): value for name, value in found.items() if name.startswith(start)}
    if weights.keys() != model.state_dict().keys():
        raise LessonError(f"{path} has no network of {arm!r}; it is there for {', '.join(KEPT)}, and made by "
                          "data_scripts/record_flat_or_deep.py.")
    model.load_state_dict({name: value.float() if value.is_floating_point() else value for name, value in weights.items()})
    return Net(arm, model.eval())
