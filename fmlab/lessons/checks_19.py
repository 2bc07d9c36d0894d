"""Exercises of lesson 19: the selection gap, the leave-one-out rule, the regret of a decision map; with frequent wrong ideas."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fmlab.adaptation.regret import best_left_out, map_regret, selection_gap
from fmlab.lessons.exercise import Case, Exercise, Invariant, Misconception

# ---- 19-gap: dice (marks, people), chosen -> one number


def _gap_input(rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """People who differ in difficulty, and each in when they are best; the mark chosen is neither the best nor the worst one."""
    marks, people = int(rng.integers(5, 8)), int(rng.integers(3, 6))
    dice = rng.uniform(0.5, 0.9, (1, people)) + rng.normal(0, 0.08, (marks, people))
    return dice.clip(0.05, 0.99), int(np.argsort(dice.mean(1))[marks // 2])


def _last_is_worst(rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """The training went on for too long."""
    dice, _ = _gap_input(rng)
    dice[-1] -= 0.3
    return dice.clip(0.02, 0.99), len(dice) - 1


def _best_chosen(rng: np.random.Generator) -> tuple[np.ndarray, int]:
    dice, _ = _gap_input(rng)
    return dice, int(dice.mean(1).argmax())


GAP = Exercise(
    "19-gap",
    "Say how much mean test Dice a rule loses by its choice of weights.",
    lambda dice, chosen: selection_gap(dice, chosen),
    (Case("some marks and people", _gap_input, "Average over people first, then compare marks."),
     Case("a training that went on for too long", _last_is_worst, "The oracle may take any mark, not only the last."),
     Case("a rule that chose the best mark", _best_chosen, "Then nothing is lost.", 2)),
    (Misconception("Your oracle takes another mark for each person. A rule chooses one set of weights for all of them, and so "
                   "does the oracle: mean over people first, then the best mark.",
                   lambda dice, chosen: float(dice.max(0).mean() - dice[chosen].mean())),
     Misconception("The sign is turned round: the gap is what is lost, best less chosen, never below 0.",
                   lambda dice, chosen: float(dice[chosen].mean() - dice.mean(1).max())),
     Misconception("You compare with the last mark. The oracle takes the best one, wherever it is.",
                   lambda dice, chosen: float(dice[-1].mean() - dice[chosen].mean())),
     Misconception("You compare with the best single person's Dice at any mark. It is the mean over people that is compared.",
                   lambda dice, chosen: float(dice.max() - dice[chosen].mean())),
     Misconception("You compare with the mean over all marks. The oracle looks at the test and takes the best of them.",
                   lambda dice, chosen: float(dice.mean() - dice[chosen].mean())),
     Misconception("You average over marks and choose a person: `dice` is (marks, people), so people are axis 1.",
                   lambda dice, chosen: float(dice.mean(0).max() - dice.mean(0)[chosen % dice.shape[1]])),
     Misconception("You give the Dice that the oracle reaches. The gap is that less the Dice of the chosen mark.",
                   lambda dice, chosen: float(dice.mean(1).max()))),
    ("`dice.mean(1)` is what is reported for each mark: the mean over the test people.",
     "The oracle's Dice is the largest of these means; the rule's is the one at `chosen`.",
     "`means = dice.mean(1)`, and the answer is `means.max() - means[chosen]`."),
    "fmlab.adaptation.regret.selection_gap",
    (Invariant("The gap of the mark with the best mean must be 0.",
               lambda f, rng: abs(float(f(*_best_chosen(rng)))) < 1e-9),
     Invariant("More Dice for everybody, at every mark, leaves the gap as it is; yours changes.",
               lambda f, rng: (lambda d, c: abs(f(d + 0.01, c) - f(d, c)) < 1e-9)(*_gap_input(rng)))),
)

# ---- 19-loo: dice (cases, marks) -> the mark


def _loo_input(rng: np.random.Generator) -> tuple[np.ndarray]:
    """Each case has its own best mark and its own scale; their mean has another."""
    cases, marks = int(rng.integers(3, 6)), int(rng.integers(5, 9))
    dice = rng.uniform(0.3, 0.8, (cases, 1)) + rng.normal(0, 0.1, (cases, marks))
    return (dice.clip(0.01, 0.99),)


def _one_case_shouts(rng: np.random.Generator) -> tuple[np.ndarray]:
    """The best of all numbers lies at a mark that is bad for the others."""
    dice = 0.5 + 0.05 * rng.random((3, 6))
    dice[:, 4] += 0.1
    dice[0, 1], dice[1:, 1] = 0.95, 0.05
    return (dice,)


def _a_tie(rng: np.random.Generator) -> tuple[np.ndarray]:
    """Two marks are equally good; the first one trained for less long."""
    dice = rng.choice([0.25, 0.375], (2, 6))
    dice[:, 1] = dice[:, 4] = 0.75
    return (dice,)


def _votes(dice: np.ndarray) -> int:
    return int(np.bincount(dice.argmax(1), minlength=dice.shape[1]).argmax())


LOO = Exercise(
    "19-loo",
    "Choose the step by leaving one case out at a time.",
    lambda dice: best_left_out(dice),
    (Case("some cases and marks", _loo_input, "Average over cases, then take the best mark.", 6),
     Case("a case with one very good mark", _one_case_shouts, "That mark is bad for the two other cases."),
     Case("two marks that are equally good", _a_tie, "Of equal marks take the first: it is there sooner.")),
    (Misconception("You take the mark of the single best number. One lucky case decides then; the mean over cases counts.",
                   lambda dice: int(np.unravel_index(dice.argmax(), dice.shape)[1])),
     Misconception("You average the cases' own best marks. A step between two good ones may be good for nobody: average "
                   "the Dice, not the steps.", lambda dice: int(round(dice.argmax(1).mean()))),
     Misconception("You let the cases vote with their best mark. A vote does not know by how much a mark is better.", _votes),
     Misconception("You take the mark with the worst mean. Dice is better when it is larger; `argmin` belongs to losses.",
                   lambda dice: int(dice.mean(0).argmin())),
     Misconception("You average over the marks and give a case. `dice` is (cases, marks): cases are axis 0.",
                   lambda dice: int(dice.mean(1).argmax())),
     Misconception("You give the best mean Dice itself. The answer is the number of the mark, for `kept[mark]`.",
                   lambda dice: float(dice.mean(0).max())),
     Misconception("Of equally good marks you take the last. The first is there with less training.",
                   lambda dice: int(dice.shape[1] - 1 - dice.mean(0)[::-1].argmax())),
     Misconception("You look at the last case only: that is the held-out case, and leave-one-out asks all of them.",
                   lambda dice: int(dice[-1].argmax()))),
    ("Row i was scored by a training that did not see case i. So each row is an honest guess of how the steps compare.",
     "One step has to be chosen for the final training on all cases: the one with the best mean over rows.",
     "`dice.mean(0)` has one number a mark; `argmax` gives the first of the largest: `int(dice.mean(0).argmax())`."),
    "fmlab.adaptation.regret.best_left_out",
    (Invariant("The order of the cases must not matter.",
               lambda f, rng: all(f(d) == f(d[::-1].copy()) for d in (_loo_input(rng)[0] for _ in range(5)))),),
)

# ---- 19-regret: dice (tasks, methods), known (tasks,) -> mean regret of the map


def _tasks(rng: np.random.Generator, tasks: int = 8, methods: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Known tasks like other methods than new ones do, and each task has a method that suits it alone."""
    known = np.arange(tasks) < tasks // 2
    liking = np.where(known[:, None], np.linspace(0.1, 0, methods), np.linspace(-0.5, 0.1, methods))
    dice = rng.uniform(0.5, 0.7, (tasks, 1)) + liking + rng.normal(0, 0.02, (tasks, methods))
    dice[np.arange(tasks), rng.integers(0, methods, tasks)] += rng.uniform(0.1, 0.3, tasks)
    order = rng.permutation(tasks)
    return dice[order].clip(0.01, 0.99), known[order]


def _own_best(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """On each task another method is best, by far: who looks at the task itself regrets nothing."""
    dice = 0.5 + 0.02 * rng.random((6, 3))
    dice[np.arange(6), [0, 1, 2, 0, 1, 2]] += 0.3
    return dice, np.array([True] * 3 + [False] * 3)


def _only_one(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A single task is new: without it there is no other to learn from, so all others speak."""
    dice, _ = _tasks(rng, 5, 3)
    return dice, np.array([True, True, False, True, True])


def _map(dice: np.ndarray, known: np.ndarray, leave: bool = True, kind: bool = True, pick: Callable | None = None,
         best: Callable | None = None, fallback: bool = True) -> float:
    """A wrong map, by what it leaves out."""
    lost = []
    for task in range(len(dice)):
        others = np.arange(len(dice)) != task if leave else np.ones(len(dice), bool)
        same = others & (known == known[task]) if kind else others
        rows = dice[same if same.any() or not fallback else others]
        method = int((pick or (lambda r: r.mean(0)))(rows).argmax())
        lost.append((dice[task].max() if best is None else best(dice, task)) - dice[task, method])
    return float(np.mean(lost))


REGRET = Exercise(
    "19-regret",
    "Say what a decision map (known or new?) loses against the best method of each task, each task left out in turn.",
    lambda dice, known: map_regret(dice, known),
    (Case("tasks of both kinds", _tasks, "Choose by the mean over the other tasks of the same kind.", 5),
     Case("tasks that each like another method", _own_best, "The task itself must not help to choose for it."),
     Case("a kind with a single task", _only_one, "Without other tasks of its kind, all other tasks are asked.")),
    (Misconception("The task helps to choose its own method. That is how it looks afterwards; before a task is tried "
                   "nothing is known of it, so leave its row out.", lambda dice, known: _map(dice, known, leave=False)),
     Misconception("You do not ask whether a task is known or new: that is the rule \"always the same\", and no map.",
                   lambda dice, known: _map(dice, known, kind=False)),
     Misconception("You ask neither whether the task is known or new, nor leave it out: that is the one method that was best on "
                   "average afterwards.", lambda dice, known: _map(dice, known, leave=False, kind=False)),
     Misconception("You choose the method that won most often. Regret is made of by how much it won or lost: take means.",
                   lambda dice, known: _map(dice, known, pick=lambda r: np.bincount(r.argmax(1), minlength=r.shape[1]))),
     Misconception("You choose by the single best number of the other tasks. One lucky task decides then; take the mean.",
                   lambda dice, known: _map(dice, known, pick=lambda r: r.max(0))),
     Misconception("You compare with the mean of the task's methods. Regret is what the *best* of them would have given more.",
                   lambda dice, known: _map(dice, known, best=lambda d, t: d[t].mean())),
     Misconception("You compare with the best Dice of any task. An easy task has a high one; compare within the task.",
                   lambda dice, known: _map(dice, known, best=lambda d, t: d.max())),
     Misconception("The sign is turned round: regret is what is lost, best less chosen, never below 0.",
                   lambda dice, known: -_map(dice, known)),
     Misconception("For a task that is the only one of its kind your map asks nobody. Then all other tasks are better than none.",
                   lambda dice, known: _map(dice, known, fallback=False)),
     Misconception("You add the regrets up; the mean over tasks is asked.",
                   lambda dice, known: len(dice) * _map(dice, known))),
    ("For task t: which rows may you look at? Those of the same kind (`known == known[t]`), and not t itself.",
     "Average the allowed rows over tasks, `dice[rows].mean(0)`, and take the best method. Were there none, allow all but t.",
     "The regret of t is `dice[t].max() - dice[t, method]`; the answer is the mean over all t.",
     "`others = np.arange(len(dice)) != t`; `same = others & (known == known[t])`; `rows = same if same.any() else others`."),
    "fmlab.adaptation.regret.map_regret",
    (Invariant("Regret is never below 0, as nobody is better than the best method.",
               lambda f, rng: all(f(*_tasks(rng)) > -1e-9 for _ in range(3))),
     Invariant("A task that is harder for every method alike has the same regret; yours changes.",
               lambda f, rng: (lambda d, k: abs(f(d - 0.01 * np.arange(len(d))[:, None], k) - f(d, k)) < 0.02)(*_own_best(rng)))),
)

EXERCISES = (GAP, LOO, REGRET)
