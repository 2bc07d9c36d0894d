"""C07: Iris encodes the support once, and then segments all classes of every query in one pass.

The same bodies, references and structures, none of which was ever a task, for the two small models of the course: UniverSeg goes
through the body slice by slice and class by class, with its support at every call; Iris is given tokens that were made before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from fmlab import hub, metrics
from fmlab.incontext import nano, predict_volume
from fmlab.incontext.examples import examples_of
from fmlab.incontext.iris_volume import segment_volume, task_of
from fmlab.lessons import claims
from fmlab.lessons.timing import seconds
from fmlab.volume import Volume

STRUCTURES = ("gluteus_maximus_left", "gluteus_maximus_right", "gluteus_medius_left", "gluteus_medius_right", "kidney_left",
              "kidney_right")
"""Of the held-out ones, those that every abdomen shows."""


@dataclass(frozen=True)
class Setting:
    """What a run costs. supports, queries: bodies of each hospital A and C. shots: S. repeats: timings, of which the
    fastest counts."""

    supports: int = 6
    queries: int = 2
    shots: int = 8
    repeats: int = 2
    structures: tuple[str, ...] = STRUCTURES


def run(seed: int, setting: Setting | None = None, command: str = "") -> claims.Run:
    """The experiment with one seed, as a run for the ledger. The seed draws the S people whom both models learn from.

    details: model -> seconds, flops and mean Dice for all structures of each query; seconds of encoding, which Iris pays once.
    """
    setting = setting or Setting()
    universeg, iris = hub.load("universeg", "nano"), hub.load("iris", "nano")
    people, others = (list(nano.bodies({"A": number, "C": number}, first))
                      for number, first in ((setting.supports, 6000), (setting.queries, 7000)))
    chosen = [people[i] for i in torch.randperm(len(people), generator=torch.Generator().manual_seed(seed))[: setting.shots]]
    names = list(setting.structures)
    support = {name: examples_of(chosen, name, size=nano.SIZE) for name in names}
    tokens, encoding = task_of(iris, chosen, names), seconds(lambda: task_of(iris, chosen, names), 1)
    found = {}
    for body in others:
        asked = {"UniverSeg": lambda: predict_volume(universeg, body, support, shots=setting.shots, progress=False),  # noqa: B023
                 "Iris": lambda: segment_volume(iris, body, tokens, names)}  # noqa: B023
        found[body.name] = {model: cost(ask, body, setting) for model, ask in asked.items()}
    details = {"queries": found, "encoding": encoding, "threads": torch.get_num_threads(), "setting": asdict(setting)}
    return claims.Run.now("C07", seed, {name: effect(row) for name, row in found.items()}, command=command, details=details)


def effect(row: dict[str, dict[str, float]]) -> float:
    """log10 of UniverSeg's seconds over Iris'."""
    return math.log10(row["UniverSeg"]["seconds"] / row["Iris"]["seconds"])


def cost(ask: Callable[[], Volume], body: Volume, setting: Setting) -> dict[str, float]:
    """Seconds of the fastest call, its floating-point operations, and the mean Dice of what it finds; a missed structure is 0."""
    took = seconds(ask, setting.repeats)
    with FlopCounterMode(display=False) as counter:
        found = ask()
    scores = metrics.evaluate(found, body, list(setting.structures))
    dices = [score.dice for score in scores if score.volume_ml > 0]
    return {"seconds": took, "flops": counter.get_total_flops(), "dice": sum(dices) / len(dices)}
