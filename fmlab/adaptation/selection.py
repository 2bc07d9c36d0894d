"""Which weights of an adaptation to keep, when there is no validation set: each rule an object, so that rules can be compared.

A rule is given a ``Trial`` and says after which step the weights are to be taken. What a rule may look at is what it costs: the
training loss is free, a held-out case is a shot that does not train, leave-one-out costs k more trainings, and the test set is
nobody's: the oracle is there to measure what the others lose (the selection gap).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fmlab.adaptation.stopping import stop_epoch
from fmlab.cohorts import Cohort
from fmlab.errors import TrainingError


@dataclass(frozen=True)
class Trial:
    """A finished adaptation, as a rule sees it.

    losses: of every step. marks: steps whose weights were kept. support, held_out, test: who trained, who was set aside (None for
    nobody), and who is tested. score: mean Dice of the weights after a marked step on a cohort. again: the same adaptation on
    another support.
    """

    losses: Sequence[float]
    marks: Sequence[int]
    support: Cohort
    held_out: Cohort | None
    test: Cohort
    score: Callable[[int, Cohort], float]
    again: Callable[[Cohort], Trial]

    def best(self, cohort: Cohort) -> int:
        """The mark with the highest score on a cohort; of equals the first."""
        return max(self.marks, key=lambda step: self.score(step, cohort))


class Rule(Protocol):
    """name: in tables. needs_case: whether one shot is set aside for it."""

    name: str
    needs_case: bool

    def choose(self, trial: Trial) -> int:
        """One of ``trial.marks``."""


@dataclass(frozen=True)
class LastStep:
    """The weights after the last step; it looks at nothing."""

    name: str = "last step"
    needs_case: bool = False

    def choose(self, trial: Trial) -> int:
        return trial.marks[-1]


@dataclass(frozen=True)
class Plateau:
    """Where the smoothed training loss stops falling (``stopping.stop_epoch``): FSEFT's rule, or ARENA's with ``relative``.

    An epoch is as many steps as there are support scans. The first mark at or after the stop is taken.
    """

    relative: bool = False
    needs_case: bool = False

    @property
    def name(self) -> str:
        return f"plateau of the loss ({'relative' if self.relative else 'absolute'})"

    def choose(self, trial: Trial) -> int:
        steps = len(trial.support)
        epochs = [float(np.mean(trial.losses[i:i + steps])) for i in range(0, len(trial.losses), steps)]
        stop = stop_epoch(epochs, self.relative) * steps
        return next((mark for mark in trial.marks if mark >= stop), trial.marks[-1])


@dataclass(frozen=True)
class HeldOutCase:
    """The best on a case that was set aside, which costs one shot."""

    name: str = "held-out case"
    needs_case: bool = True

    def choose(self, trial: Trial) -> int:
        if trial.held_out is None:
            raise TrainingError("No case was set aside, so this rule has nothing to look at; give a protocol with one shot more.")
        return trial.best(trial.held_out)


@dataclass(frozen=True)
class LeaveOneOut:
    """The step that is best on average when each support case in turn is left out; then all of them train. It needs two cases."""

    name: str = "leave one out"
    needs_case: bool = False

    def choose(self, trial: Trial) -> int:
        cases = trial.support.cases
        if len(cases) < 2:
            raise TrainingError("Leaving one out of one case leaves nobody to train on; take two shots or more, or another rule.")
        totals = dict.fromkeys(trial.marks, 0.0)
        for index, case in enumerate(cases):
            rest = trial.again(Cohort(f"{trial.support.name} less {case.name}", cases[:index] + cases[index + 1:]))
            alone = Cohort(case.name, (case,))
            for mark in trial.marks:
                totals[mark] += rest.score(mark, alone)
        return max(trial.marks, key=totals.__getitem__)


@dataclass(frozen=True)
class Oracle:
    """The best on the test set. Nobody may do this: it is the upper bound that the other rules are measured against."""

    name: str = "oracle (looks at the test set)"
    needs_case: bool = False

    def choose(self, trial: Trial) -> int:
        return trial.best(trial.test)


RULES: tuple[Rule, ...] = (LastStep(), Plateau(), Plateau(relative=True), HeldOutCase(), LeaveOneOut(), Oracle())
