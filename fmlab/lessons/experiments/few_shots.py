"""What the claims about few-shot fine-tuning share: tasks of the course's base model, of a laptop's size (C13, C15 to C17).

    base model -> method, k labelled people, a seed -> Dice on people whom nobody trained on

Everything is a ``fewshot.Protocol``; results lie in one folder, so that a task that two claims need is done once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from fmlab.adaptation.adapting import Budget
from fmlab.adaptation.fewshot import Method, Protocol
from fmlab.adaptation.fewshot import run as run_tasks
from fmlab.adaptation.results import Result
from fmlab.lessons import claims
from fmlab.pretraining.nano import EXCHANGED, NOVEL

KNOWN = EXCHANGED
"""Structures that the base model was trained on; for those of ``NOVEL`` it was never asked. For its twin it is the reverse."""
FOLDER = "few_shots"  # of the results, which the claims share
PRECISION = "float32"  # bf16 gives NaN now and then on a CPU; see ``pretraining.nano``
Dices = dict[str, float]  # person -> mean Dice


@dataclass(frozen=True)
class Setting:
    """What a run costs. steps: of each adaptation. tested: people, of each centre. precision: as in TrainConfig."""

    steps: int = 100
    tested: int = 4
    cubes: int = 16
    precision: str = "float32"

    def protocol(self, structures: Sequence[str], centre: str, shots: Sequence[int], seed: int, base: str = "nano") -> Protocol:
        """The protocol of one seed."""
        budget = Budget(steps=self.steps, marks=1, precision=self.precision)
        return Protocol(tuple(structures), centre, tuple(shots), (seed,), base, tested=self.tested, cubes=self.cubes,
                        budget=budget)


def dices(protocol: Protocol, methods: Sequence[Method], folder: Path, progress: bool = True) -> dict[str, Dices]:
    """Method -> person -> Dice, the mean over the protocol's shots; a method with options is told apart by them."""
    results = run_tasks(protocol, methods, folder, tell=print if progress else lambda line: None)
    found = {}
    for method in methods:
        own = [result for result in results if _of(result, method)]
        people = own[0].dice
        found[label(method)] = {person: float(np.mean([result.dice[person] for result in own])) for person in people}
    return found


def label(method: Method) -> str:
    """"lora+decoder", or "lora rank=2" where there are options."""
    name, options = (method, {}) if isinstance(method, str) else method
    return " ".join([name, *(f"{key}={value}" for key, value in options.items())])


def _of(result: Result, method: Method) -> bool:
    name, options = (method, {}) if isinstance(method, str) else method
    name, plus, _ = name.partition("+decoder")
    task = result.task
    return (task["method"], task["decoder"], task["options"]) == (name, bool(plus), dict(options))


def as_run(claim: str, seed: int, work: Callable[[Setting, Path], tuple[Dices, dict]], setting: Setting | None,
           folder: Path | None, command: str) -> claims.Run:
    """A claim's run for the ledger; work: from setting and folder, the effects by case, and the details."""
    setting = setting or Setting()
    with tempfile.TemporaryDirectory() as temporary:
        effects, details = work(setting, Path(folder or temporary))
    return claims.Run.now(claim, seed, effects, command=command, details=details | {"setting": asdict(setting)})


def mean(found: Dices) -> float:
    """Mean over people."""
    return float(np.mean(list(found.values())))


TASKS: dict[str, tuple[tuple[str, ...], bool]] = {
    "known organs": (KNOWN, False),
    "new organs": (NOVEL, True),
    "gluteal muscles": (("gluteus_maximus_left", "gluteus_maximus_right"), True),
}
"""Task -> its structures, and whether the decoder is tuned too, as published for new ones."""

