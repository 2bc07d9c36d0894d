"""What a choice costs: the selection gap of a rule, and the regret of a method that was chosen before the task was tried.

Both compare with somebody who knew the answer (the oracle), whom nobody can be. So they are never below 0, and 0 is the best.
"""

from __future__ import annotations

import numpy as np

from fmlab.errors import TrainingError


def selection_gap(dice: np.ndarray, chosen: int) -> float:
    """Mean Dice lost by taking the weights of mark ``chosen`` and not those that are best on the test people.

    dice: (marks, people) on the test. The oracle takes one mark for all people, as a rule does. TrainingError for a mark that
    there is not.
    """
    means = np.asarray(dice, dtype=np.float64).mean(1)
    if not 0 <= chosen < len(means):
        raise TrainingError(f"There is no mark {chosen}; the weights were kept {len(means)} times.")
    return float(means.max() - means[chosen])


def best_left_out(dice: np.ndarray) -> int:
    """The leave-one-out rule: the mark with the best mean over cases, each scored by the training that did not see it.

    dice: (cases, marks). Of equal marks the first. TrainingError for fewer than two cases.
    """
    dice = np.asarray(dice, dtype=np.float64)
    if len(dice) < 2:
        raise TrainingError("Leaving one out of one case leaves nobody to train on; give two cases or more.")
    return int(dice.mean(0).argmax())


def left_out_choices(dice: np.ndarray, known: np.ndarray) -> np.ndarray:
    """A decision map, each task left out in turn: (tasks,) int, the method that is best on average over the *other* tasks of its
    kind, or over all others where it is the only one of its kind.

    dice: (tasks, methods), NaN where a method was not tried. What is averaged is how far a method lies below the best of a task,
    so that nobody gains by easy tasks. known: (tasks,) bool, the kind. A method that was tried on none of the other tasks is not
    chosen, nor is one that was not tried on the task itself. TrainingError where none is left.
    """
    dice, known = np.asarray(dice, dtype=np.float64), np.asarray(known, dtype=bool)
    below = dice - np.nanmax(dice, axis=1, keepdims=True)
    chosen = np.empty(len(dice), dtype=np.int64)
    for task in range(len(dice)):
        others = np.arange(len(dice)) != task
        same = others & (known == known[task])
        means = _means(below[same if same.any() else others])
        means[~np.isfinite(dice[task])] = np.nan
        if not np.isfinite(means).any():
            raise TrainingError(f"No method of task {task} was tried on another one, so nothing can be chosen; leave it out.")
        chosen[task] = int(np.nanargmax(means))
    return chosen


def regrets(dice: np.ndarray, chosen: np.ndarray | int) -> np.ndarray:
    """(tasks,): Dice of the best method of each task less that of the one chosen; NaN where that was not tried.

    dice: (tasks, methods), NaN where a method was not tried. chosen: a method for each task, or one for all.
    """
    dice = np.asarray(dice, dtype=np.float64)
    rows = np.arange(len(dice))
    return np.nanmax(dice, axis=1) - dice[rows, np.broadcast_to(chosen, len(dice))]


def map_regret(dice: np.ndarray, known: np.ndarray) -> float:
    """Mean regret of the decision map, leave-one-task-out: what it costs not to know the task."""
    return float(regrets(dice, left_out_choices(dice, known)).mean())


def _means(dice: np.ndarray) -> np.ndarray:
    """(methods,): mean over tasks of what was tried; NaN where nothing was."""
    tried = np.isfinite(dice)
    return np.where(tried, dice, 0).sum(0) / np.where(tried.any(0), tried.sum(0), np.nan)
