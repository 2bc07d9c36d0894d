"""Typical wrong answers to the exercises of lesson 19, each with words of the message that it must get."""

from __future__ import annotations

import numpy as np


def gap_each_person_her_mark(dice, chosen):
    return dice.max(0).mean() - dice[chosen].mean()


def gap_turned(dice, chosen):
    means = dice.mean(1)
    return means[chosen] - means.max()


def gap_to_last(dice, chosen):
    means = dice.mean(1)
    return means[-1] - means[chosen]


def gap_to_best_number(dice, chosen):
    return dice.max() - dice.mean(1)[chosen]


def gap_to_average(dice, chosen):
    return dice.mean(1).mean() - dice.mean(1)[chosen]


def gap_without_chosen(dice, chosen):
    return dice.mean(1).max()


def gap_wrong_axis(dice, chosen):
    means = dice.mean(axis=0)
    return means.max() - means[chosen % len(means)]


def gap_squared(dice, chosen):
    means = dice.mean(1)
    return (means.max() - means[chosen]) ** 2


def loo_best_number(dice):
    return int(dice.argmax()) % dice.shape[1]


def loo_mean_step(dice):
    return int(round(np.mean([row.argmax() for row in dice])))


def loo_vote(dice):
    votes = [int(row.argmax()) for row in dice]
    return min(set(votes), key=lambda mark: (-votes.count(mark), mark))


def loo_worst(dice):
    return int(np.argmin(dice.mean(axis=0)))


def loo_wrong_axis(dice):
    return int(np.argmax(dice.mean(axis=1)))


def loo_dice(dice):
    return dice.mean(0).max()


def loo_last_of_equals(dice):
    means = dice.mean(0)
    return int(np.flatnonzero(means == means.max())[-1])


def loo_last_case(dice):
    return int(dice[-1].argmax())


def loo_first_case(dice):
    return int(dice[0].argmax())


def loop(dice, known, rows_of, pick=lambda rows: rows.mean(0).argmax(), best=lambda dice, t: dice[t].max()):
    lost = []
    for t in range(len(dice)):
        method = int(pick(dice[rows_of(t)]))
        lost.append(best(dice, t) - dice[t, method])
    return float(np.mean(lost))


def allowed(dice, known):
    def rows(t):
        others = np.arange(len(dice)) != t
        same = others & (known == known[t])
        return same if same.any() else others
    return rows


def regret_with_itself(dice, known):
    return loop(dice, known, lambda t: known == known[t])


def regret_without_kind(dice, known):
    return loop(dice, known, lambda t: np.arange(len(dice)) != t)


def regret_neither(dice, known):
    return loop(dice, known, lambda t: np.ones(len(dice), bool))


def regret_wins(dice, known):
    return loop(dice, known, allowed(dice, known), lambda rows: np.bincount(rows.argmax(1), minlength=rows.shape[1]).argmax())


def regret_lucky(dice, known):
    return loop(dice, known, allowed(dice, known), lambda rows: rows.max(0).argmax())


def regret_to_mean(dice, known):
    return loop(dice, known, allowed(dice, known), best=lambda dice, t: dice[t].mean())


def regret_to_any(dice, known):
    return loop(dice, known, allowed(dice, known), best=lambda dice, t: dice.max())


def regret_turned(dice, known):
    return -loop(dice, known, allowed(dice, known))


def regret_alone(dice, known):
    return loop(dice, known, lambda t: (np.arange(len(dice)) != t) & (known == known[t]))


def regret_sum(dice, known):
    return len(dice) * loop(dice, known, allowed(dice, known))


def regret_of_other_kind(dice, known):
    return loop(dice, known, lambda t: known != known[t])


WRONG = {
    "19-gap": [
        (gap_each_person_her_mark, "another mark for each person"), (gap_turned, "sign is turned"),
        (gap_to_last, "the last mark"), (gap_to_best_number, "single person's Dice"), (gap_to_average, "mean over all marks"),
        (gap_wrong_axis, "people are axis 1"), (gap_without_chosen, "that less the Dice of the chosen"),
        (gap_squared, "is right, and your function gives"),
    ],
    "19-loo": [
        (loo_best_number, "single best number"), (loo_mean_step, "average the Dice, not the steps"), (loo_vote, "vote"),
        (loo_worst, "worst mean"), (loo_wrong_axis, "cases are axis 0"), (loo_dice, "number of the mark"),
        (loo_last_of_equals, "The first is there"), (loo_last_case, "held-out case"), (loo_first_case, "order of the cases"),
    ],
    "19-regret": [
        (regret_with_itself, "leave its row out"), (regret_without_kind, "no map"),
        (regret_neither, "best on average afterwards"),
        (regret_wins, "won most often"), (regret_lucky, "One lucky task"), (regret_to_mean, "*best* of them"),
        (regret_to_any, "compare within the task"), (regret_turned, "sign is turned"), (regret_alone, "asks nobody"),
        (regret_sum, "mean over tasks"), (regret_of_other_kind, "is right, and your function gives"),
    ],
}
