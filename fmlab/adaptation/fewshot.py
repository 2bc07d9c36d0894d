"""The few-shot protocol as an object: which structures, how many shots, which draws, what budget, which rule, tested on whom.

    protocol = Protocol(structures=("liver", "spleen"), centre="F", shots=(1, 5), seeds=(0, 1, 2))
    results = run(protocol, ("linear_probe", "lora"), folder)                      # or: ..., folder, (my_scans, my_test_scans)
    print(table(results))

A task is one adaptation: a method, k shots, a seed. Tasks are independent, so they can be run by several processes or under
torchrun; each finished one is a line in a JSONL file, and a run that was killed goes on with what is missing.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from fmlab import cohorts, hub, metrics
from fmlab.adaptation.adapting import Budget, adapt
from fmlab.adaptation.attach import attach
from fmlab.adaptation.results import Result, append, read
from fmlab.adaptation.sampling import support
from fmlab.adaptation.selection import LastStep, Rule, Trial
from fmlab.adaptation.shots import CUBES, Shots
from fmlab.cohorts import Cohort
from fmlab.errors import DataError
from fmlab.hardware import hardware
from fmlab.inference import segment
from fmlab.phantom.visits import any_visit

POOL_SEED, TEST_SEED = 60_000, 68_000


@dataclass(frozen=True)
class Protocol:
    """structures: what is to be segmented. base: which of the hub's "fseft" weights; it knows all of them, some or none.

    centre: the hospital whose scans are labelled and tested. pool: people of whom shots are drawn. tested: people in the test.
    shots, seeds: k, and draws; a draw of k begins that of k + 1. spacing: mm. side: voxels of a cube. cubes: from each shot.
    """

    structures: tuple[str, ...]
    centre: str = "F"
    shots: tuple[int, ...] = (1, 5, 10)
    seeds: tuple[int, ...] = (0, 1, 2)
    base: str = "nano"
    pool: int = 12
    tested: int = 6
    spacing: float = 8.0
    side: int = 32
    cubes: int = CUBES
    budget: Budget = field(default_factory=Budget)
    rule: Rule = field(default_factory=LastStep)


@dataclass(frozen=True)
class Task:
    """One adaptation of a protocol. options: the method's own."""

    method: str
    shots: int
    seed: int
    decoder: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


People = tuple[Cohort, Cohort]
"""Of whom shots are drawn, and who is tested."""
Method = str | tuple[str, Mapping[str, Any]]
"""A method's name, or its name with options; "+decoder" behind the name tunes the decoder too."""


def tasks(protocol: Protocol, methods: Sequence[Method]) -> list[Task]:
    """All tasks: every method with every number of shots and every seed."""
    found = []
    for method in methods:
        name, options = (method, {}) if isinstance(method, str) else method
        name, plus, _ = name.partition("+decoder")
        found += [Task(name, k, seed, bool(plus), dict(options)) for k in protocol.shots for seed in protocol.seeds]
    return found


def run(protocol: Protocol, methods: Sequence[Method], folder: str | Path, scans: People | None = None,
        processes: int = 1, tell: Callable[[str], None] = print) -> list[Result]:
    """Do every task that the folder has no result of, and give the results of all of them.

    scans: labelled CTs of your own: of whom shots are drawn, and who is tested; by default phantoms of the protocol's centre.
    processes: at once; under torchrun the tasks are shared out among its processes instead. Results of other settings that lie
    in the folder are left alone. Raises DataError where a patient is on both sides of ``scans``.
    """
    folder, every = Path(folder), tasks(protocol, methods)
    who = checked(scans) if scans else None
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    done = {_key(result.task) for result in read(folder)}
    missing = [task for task in every if _key(_said(protocol, task, who)) not in done][rank::world]
    if processes > 1 and len(missing) > 1:
        _ = who or people(protocol)  # made once, by this process, before others look for them
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            for result in pool.imap_unordered(partial(one, protocol, who=who), missing):
                append(result, folder / f"results-{rank}.jsonl")
                tell(_line(result))
    else:
        for task in missing:
            with alone():
                result = one(protocol, task, who)
            append(result, folder / f"results-{rank}.jsonl")
            tell(_line(result))
    wanted = {_key(_said(protocol, task, who)) for task in every}
    return [result for result in read(folder) if _key(result.task) in wanted]


@contextmanager
def alone() -> Iterator[None]:
    """Within it, a process of torchrun trains by itself: its task is nobody else's. LOCAL_RANK stays, as it says which GPU."""
    mine = {name: os.environ.pop(name) for name in ("RANK", "WORLD_SIZE") if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(mine)


def one(protocol: Protocol, task: Task, who: People | None = None) -> Result:
    """Do one task: attach, train on the support, choose by the rule, and test."""
    pool, test = who or people(protocol)
    aside = int(protocol.rule.needs_case)
    drawn = support(pool.patients, task.shots + aside, task.seed)
    shots = Cohort(f"{task.shots} of {pool.name}", tuple(pool.cases[i] for i in drawn[:task.shots]))
    held_out = Cohort("set aside", tuple(pool.cases[i] for i in drawn[task.shots:])) if aside else None
    trial, trained = try_out(protocol, task, shots, held_out, test)
    step = protocol.rule.choose(trial)
    dice = scored(trained.back_to(step), protocol, test)
    return Result(_said(protocol, task, who), dice, trained.adapter.count, trained.seconds, step, hardware())


def try_out(protocol: Protocol, task: Task, shots: Cohort, held_out: Cohort | None, test: Cohort) -> tuple[Trial, Any]:
    """An adaptation on these shots, as a rule sees it, and as it is."""
    options = {"steps": protocol.budget.steps} if task.method == "adalora" else {}  # over which its budget of ranks falls
    adapter = attach(base(protocol.base), task.method, protocol.structures, task.decoder, task.seed, **options | task.options)
    cubes = Shots(shots, protocol.structures, protocol.cubes, protocol.side, task.seed)
    trained = adapt(adapter, cubes, protocol.budget, task.seed)

    @cache
    def score(step: int, cohort: Cohort) -> float:
        return float(np.mean(list(scored(trained.back_to(step), protocol, cohort).values())))

    def again(others: Cohort) -> Trial:
        return try_out(protocol, task, others, None, test)[0]

    return Trial(trained.losses, tuple(trained.kept), shots, held_out, test, score, again), trained


def base(label: str = "nano") -> nn.Module:
    """The pre-trained model that is adapted, fresh."""
    return hub.load("fseft", label)


def people(protocol: Protocol) -> People:
    """Those who may be drawn as shots, and those who are tested; nobody is both."""
    return (cohorts.phantoms(protocol.pool, protocol.centre, protocol.spacing, POOL_SEED, None, False, any_visit),
            cohorts.phantoms(protocol.tested, protocol.centre, protocol.spacing, TEST_SEED, None, False, any_visit))


def scored(model: nn.Module, protocol: Protocol, cohort: Cohort) -> dict[str, float]:
    """Person -> mean Dice over the protocol's structures that the scan shows."""
    found = {}
    for body in cohort:
        cut = segment(model, body, spacing=protocol.spacing, side=protocol.side, overlap=0.25, crumb_ml=0)
        dice = [score.dice for score in metrics.evaluate(cut, body, protocol.structures) if score.volume_ml > 0]
        if dice:
            found[body.name] = float(np.mean(dice))
    return found


def zero_shot(protocol: Protocol, who: People | None = None) -> dict[str, float]:
    """Person -> mean Dice of the base model itself, where it knows all the structures."""
    return scored(base(protocol.base), protocol, (who or people(protocol))[1])


def checked(who: People) -> People:
    """The cohorts; DataError where a patient is in both."""
    if both := sorted(set(who[0].patients) & set(who[1].patients)):
        raise DataError(f"{both[0]!r} is among those of whom shots are drawn and among those who are tested; keep {len(both)} of "
                        "them to one side.")
    return who


def _said(protocol: Protocol, task: Task, who: People | None = None) -> dict:
    """Everything that a result depends on, as JSON has it."""
    settings = asdict(protocol) | {"rule": protocol.rule.name, "structures": list(protocol.structures)}
    if who:
        settings |= {"centre": "", "pool": list(who[0].names), "tested": list(who[1].names)}
    return {name: value for name, value in settings.items() if name not in ("shots", "seeds")} | asdict(task)


def _key(said: Mapping) -> str:
    return json.dumps(said, sort_keys=True)


def _line(result: Result) -> str:
    task = result.task
    return (f"{task['method']}{' + decoder' if task['decoder'] else ''}, {task['shots']} shots, seed {task['seed']}: "
            f"mean Dice {np.mean(list(result.dice.values())):.3f} over {len(result.dice)} people, {result.seconds:.0f} s")

