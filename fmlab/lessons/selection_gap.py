"""Lesson 19: what each selection rule would have chosen, and what that lost; live, and from stored adaptations.

An adaptation is kept as an ``Outcome``: everything that the package's rules (``adaptation.selection``) look at, as numbers. So
any rule can be tried again without training. The held-out case costs a shot: with k labelled scans in all, its weights are those
of a training on k - 1, and are judged against the best of the training on all k.

    python -m fmlab.lessons.selection_gap 0 1 2        adds seeds to the record
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fmlab.adaptation.adapting import Budget
from fmlab.adaptation.fewshot import People, Protocol, Task, scored, try_out
from fmlab.adaptation.regret import selection_gap
from fmlab.adaptation.results import append
from fmlab.adaptation.sampling import support
from fmlab.adaptation.selection import HeldOutCase, LastStep, LeaveOneOut, Oracle, Plateau, Rule, Trial
from fmlab.cohorts import Case, Cohort
from fmlab.errors import LessonError
from fmlab.hardware import hardware
from fmlab.lessons import five_scans as five
from fmlab.lessons.stored import stored

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STORED = Path(__file__).with_name("recordings") / "19_selection.jsonl"
RULES: tuple[Rule, ...] = (LastStep(), Plateau(), Plateau(relative=True), HeldOutCase(), LeaveOneOut(), Oracle())
METHODS = ("linear_probe", "full")
SHOTS, STEPS, MARKS, CUBES, POOL, TESTED = 2, 72, 6, 12, 6, 3


@dataclass(frozen=True)
class Outcome:
    """One adaptation with everything that a rule might look at.

    losses: a step each. marks: steps whose weights were kept. test: person -> Dice at each mark. left_out: of each support case,
    Dice at each mark of the training without it. short: as test, of the training without the last case. short_losses: its own.
    """

    method: str
    seed: int
    losses: list[float]
    marks: list[int]
    test: dict[str, list[float]]
    left_out: list[list[float]]
    short: dict[str, list[float]]
    hardware: str

    @property
    def dice(self) -> np.ndarray:
        """(marks, people) on the test."""
        return np.array(list(self.test.values())).T

    def chosen(self, rule: Rule) -> int:
        """Which mark the package's rule takes, by number."""
        return self.marks.index(rule.choose(self._trial()))

    def lost(self, rule: Rule) -> float:
        """The selection gap: mean Dice below the best mark of the training on all cases."""
        if not rule.needs_case:
            return selection_gap(self.dice, self.chosen(rule))
        return float(self.dice.mean(1).max() - np.mean([values[self.chosen(rule)] for values in self.short.values()]))

    def _trial(self) -> Trial:
        """What the rules are given, with stored numbers behind it."""
        names = [f"case {n}" for n in range(len(self.left_out))]
        cases = tuple(Case(name, name, _nobody) for name in names)
        means, left_out = self.dice.mean(1), dict(zip(names, self.left_out))

        def score(step: int, cohort: Cohort) -> float:
            at = self.marks.index(step)
            return float(means[at] if cohort.name == "test" else left_out[cohort.names[0]][at])

        whole = Cohort("support", cases)
        trial = Trial(self.losses, tuple(self.marks), whole, Cohort("aside", cases[-1:]), Cohort("test", cases[:1]), score,
                      lambda others: trial)
        return trial


def _nobody() -> None:
    raise LessonError("Of a stored adaptation the scans are not kept; run one of your own.")


def adaptation(method: str, seed: int, people: People, protocol: Protocol) -> Outcome:
    """Adapt with each support case left out in turn, and with all of them; score every mark."""
    pool, test = people
    task = Task(method, protocol.shots[0], seed)
    drawn = support(pool.patients, task.shots, seed)
    shots = Cohort("shots", tuple(pool.cases[i] for i in drawn))
    trial, trained = try_out(protocol, task, shots, None, test)
    left_out, short = [], {}
    for index in range(len(shots)):
        rest, without = try_out(protocol, task, replace(shots, cases=shots.cases[:index] + shots.cases[index + 1:]), None, test)
        left_out.append([rest.score(step, shots[index:index + 1]) for step in rest.marks])
    short = _by_person(without, protocol, test)
    return Outcome(method, seed, [round(float(loss), 5) for loss in trial.losses], list(trial.marks),
                   _by_person(trained, protocol, test), [[round(dice, 4) for dice in row] for row in left_out], short, hardware())


def _by_person(trained, protocol: Protocol, test: Cohort) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for step in trained.kept:
        for person, dice in scored(trained.back_to(step), protocol, test).items():
            found.setdefault(person, []).append(round(dice, 4))
    return found


def protocol(steps: int = STEPS, marks: int = MARKS, shots: int = SHOTS, cubes: int = CUBES) -> Protocol:
    """Five known organs of hospital F; weights are kept ``marks`` times."""
    return Protocol(five.KNOWN, shots=(shots,), cubes=cubes, budget=Budget(steps=steps, marks=marks))


def recorded(path: Path = STORED) -> list[Outcome]:
    """The stored adaptations. LessonError where there are none, or a line is none."""
    return stored(path, Outcome, "python -m fmlab.lessons.selection_gap")


def table(outcomes: Sequence[Outcome]) -> str:
    """Rule by method: mean gap over seeds and, in brackets, the largest; and what each rule costs."""
    methods = list(dict.fromkeys(one.method for one in outcomes))
    cost = {"held-out case": "a shot", "leave one out": "k trainings", "oracle (looks at the test set)": "your honesty"}
    lines = [f"{'rule':34s}" + "".join(f"{method:>20s}" for method in methods) + "   costs"]
    for rule in RULES:
        cells = []
        for method in methods:
            gaps = [one.lost(rule) for one in outcomes if one.method == method]
            cells.append(f"{np.mean(gaps):.3f} (up to {max(gaps):.3f})")
        lines.append(f"{rule.name:34s}" + "".join(f"{cell:>20s}" for cell in cells) + f"   {cost.get(rule.name, 'nothing')}")
    return "\n".join(lines)


def curves(outcomes: Sequence[Outcome]) -> tuple[Figure, str]:
    """Mean Dice on the test at each mark, a line a seed, a panel a method, with the mark of each rule; and it in words."""
    from matplotlib.figure import Figure  # takes a while to import; and no pyplot, so that nothing is shown twice

    methods = list(dict.fromkeys(one.method for one in outcomes))
    fig = Figure(figsize=(4.4 * len(methods), 3.2), layout="constrained")
    panels, told = np.atleast_1d(fig.subplots(1, len(methods), sharey=True)), []
    shown = {"last step": ("s", "#595959"), "leave one out": ("^", "#0072B2"), "oracle (looks at the test set)": ("*", "#D55E00")}
    for ax, method in zip(panels, methods):
        for one in (each for each in outcomes if each.method == method):
            means = one.dice.mean(1)
            ax.plot(one.marks, means, color="#999999", linewidth=1.2, zorder=1)
            for rule in (rule for rule in RULES if rule.name in shown):
                marker, colour = shown[rule.name]
                at = one.chosen(rule)
                hollow = {"markerfacecolor": "none", "markersize": 13, "markeredgewidth": 1.5} if marker == "^" else {}
                ax.plot(one.marks[at], means[at], marker, color=colour, label=rule.name.partition(" (")[0],
                        **{"markersize": 8, "zorder": 2} | hollow)  # several rules may take one mark
            told.append(f"{method}, seed {one.seed}: best {means.max():.3f} at step {one.marks[int(means.argmax())]}, "
                        f"last {means[-1]:.3f}")
        ax.set(title=method.replace("_", " "), xlabel="step")
        ax.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("mean Dice on the test")
    handles, labels = panels[0].get_legend_handles_labels()
    named = dict(zip(labels, handles))
    fig.legend(named.values(), named.keys(), loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return fig, "Test Dice along the training. " + "; ".join(told) + "."


def main(seeds: Sequence[int]) -> None:
    """Add seeds to the record."""
    people = five.scans(POOL, TESTED)
    for seed in seeds:
        for method in METHODS:
            append(adaptation(method, seed, people, protocol()), STORED)


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]])
