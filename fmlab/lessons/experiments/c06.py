"""C06: UniverSeg solves a new task without training; more support and ensembling help; a net trained for the task still wins.

Tasks are structures that the nano UniverSeg never met as a task, on bodies that nobody trained on. Three differences are
measured on the same queries, and the claim is only as good as the smallest of them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from fmlab import hub
from fmlab.incontext import nano
from fmlab.incontext.evaluate import dices, lying
from fmlab.incontext.examples import Examples, examples_of
from fmlab.incontext.task_net import task_net, task_net_dices
from fmlab.lessons import claims

STRUCTURES = ("gluteus_maximus_left", "gluteus_medius_right", "gluteus_minimus_left", "heart_myocardium", "heart_atrium_left",
              "heart_ventricle_right", "kidney_right")
"""Of the held-out ones, one of each pair of sides; tumours are left out, for a person without one is no query."""


@dataclass(frozen=True)
class Setting:
    """What a run costs. supports, queries: bodies of each hospital A to D. shots: S, large. ensemble: M. steps: of a task net."""

    supports: int = 6
    queries: int = 2
    shots: int = 16
    ensemble: int = 4
    steps: int = 400
    axis: str = "axial"
    structures: tuple[str, ...] = STRUCTURES


Row = dict[str, Tensor]  # how it was asked -> Dice (N,) of each query


def rows(model: nn.Module, setting: Setting, seed: int, progress: bool = False) -> dict[str, tuple[tuple[str, ...], Row]]:
    """Structure -> (who the queries are, Dice of each by way of asking)."""
    pools = [list(nano.bodies(dict.fromkeys("ABCD", number), first))
             for number, first in ((setting.supports, 6000), (setting.queries, 7000))]
    tasks: dict[str, tuple[Examples, Examples]] = {
        name: tuple(examples_of(pool, name, setting.axis, nano.SIZE) for pool in pools) for name in setting.structures}
    found = {}
    for number, (name, (support, queries)) in enumerate(tasks.items()):
        other = list(tasks.values())[(number + len(tasks) // 2) % len(tasks)][0]  # half way round: not the other side's twin
        generator = torch.Generator().manual_seed(seed)
        pairs = support.draw(setting.shots, generator)
        found[name] = queries.names, {
            "a lying support": dices(model, lying(support, other), queries, 1, 1, seed),
            "S=1": dices(model, support, queries, 1, 1, seed),
            "many, ensembled": dices(model, support, queries, setting.shots, setting.ensemble, seed),
            "task net": task_net_dices(task_net(pairs, setting.steps, seed, progress), queries)}
    return found


def run(seed: int, setting: Setting | None = None, command: str = "", progress: bool = False) -> claims.Run:
    """The experiment with one seed, as a run for the ledger. The seed draws the supports and starts the task nets."""
    setting = setting or Setting()
    found = rows(hub.load("universeg", "nano"), setting, seed, progress)
    means = {way: float(torch.cat([row[way] for _, row in found.values()]).nanmean()) for way in next(iter(found.values()))[1]}
    details = {"mean": means, "differences": dict(zip(DIFFERENCES, differences(found)[1])), "setting": asdict(setting)}
    return claims.Run.now("C06", seed, differences(found)[0], command=command, details=details)


DIFFERENCES = ("one support less a lying one", "many ensembled less one support", "task net less UniverSeg")


def differences(found: dict[str, tuple[tuple[str, ...], Row]]) -> tuple[dict[str, float], list[float]]:
    """Person -> the smallest of the three mean differences over her structures; and the three means over persons."""
    people: dict[str, list[list[float]]] = {}
    for names, row in found.values():
        lie, one, many, net = (row[way] for way in ("a lying support", "S=1", "many, ensembled", "task net"))
        for i, name in enumerate(names):
            three = [float(one[i] - lie[i]), float(many[i] - one[i]), float(net[i] - many[i])]
            people.setdefault(name, []).append(three)
    means = {name: torch.tensor(each).nanmean(0) for name, each in people.items()}
    return {name: float(three.min()) for name, three in means.items()}, torch.stack(list(means.values())).mean(0).tolist()
