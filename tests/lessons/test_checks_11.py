"""Lesson 11: right answers pass, whatever their style, and the exercises are what the package does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import entr

from fmlab import metrics
from fmlab.interactive.coverage import slice_scores
from fmlab.interactive.crowd import merged
from fmlab.interactive.next_slice import by_entropy
from fmlab.interactive.sliced import SliceAnswers
from fmlab.lessons.check import judge
from fmlab.lessons.exercise import exercise


def volume_in_a_loop(dice, found, true):
    above = below = shown = answered = 0
    for d, p, r in zip(dice, found, true):
        if p + r > 0:
            above, below = above + d * (p + r), below + p + r
        if r > 0:
            shown, answered = shown + 1, answered + (p > 0)
    return answered / shown, above / below


def volume_by_common(dice, found, true):
    common = np.nan_to_num(dice) * (found + true) / 2
    return np.mean(found[true > 0] > 0), 2 * common.sum() / (found.sum() + true.sum())


def volume_in_torch(dice, found, true):
    d, p, r = (torch.from_numpy(x) for x in (dice, found, true))
    return torch.stack([(p[r > 0] > 0).double().mean(), (d * (p + r)).nansum() / (p + r).sum()])


def merge_nanmedian(boxes):
    return np.nanmedian(boxes, axis=0)


def merge_in_a_loop(boxes):
    sides = []
    for column in boxes.T:
        values = sorted(v for v in column if not np.isnan(v))
        n = len(values)
        sides.append((values[n // 2] + values[(n - 1) // 2]) / 2 if n else float("nan"))
    return sides


def next_with_scipy(p, done):
    h = (entr(p) + entr(1 - p)).sum(axis=(1, 2))
    left = np.flatnonzero(~done)
    return left[h[left].argmax()]


def next_clipped_in_bits(p, done):
    p = np.clip(p, 1e-9, 1 - 1e-9)
    h = -(p * np.log2(p) + (1 - p) * np.log2(1 - p)).mean((1, 2))
    h[done] = -1
    return int(np.argmax(h))


RIGHT = [("11-volume", volume_in_a_loop), ("11-volume", volume_by_common), ("11-volume", volume_in_torch),
         ("11-merge", merge_nanmedian), ("11-merge", merge_in_a_loop), ("11-next", next_with_scipy),
         ("11-next", next_clipped_in_bits)]


@pytest.mark.parametrize(("name", "function"), RIGHT, ids=[function.__name__ for _, function in RIGHT])
def test_right_answers_pass(name, function):
    outcome = judge(exercise(name), function)
    assert outcome.passed, outcome.message


def test_the_volumes_dice_is_what_the_metrics_say():
    rng = np.random.default_rng(2)
    found, truth = rng.random((6, 7, 9)) < 0.4, rng.random((6, 7, 9)) < 0.5
    found[:, :, 2:5] = truth[:, :, 7:] = False
    scores = slice_scores(found, truth)
    coverage, dice = exercise("11-volume").reference(scores.dice, scores.found, scores.true)
    assert dice == pytest.approx(metrics.dice(found, truth))
    assert coverage == pytest.approx(4 / 7)


def test_merging_is_done_slice_by_slice():
    people = [{3: torch.tensor([0.0, 0, 9, 9]), 4: torch.tensor([1.0, 1, 8, 8])}, {4: torch.tensor([3.0, 3, 10, 10])}, {}]
    boxes = merged(people)
    assert boxes[3].tolist() == [0, 0, 9, 9]
    nobody = np.full(4, np.nan)
    wanted = exercise("11-merge").reference(np.stack([people[0][4].numpy(), people[1][4].numpy(), nobody]))
    assert boxes[4].tolist() == wanted.tolist() == [2, 2, 9, 9]


def test_the_policy_asks_where_the_exercise_asks():
    logits = torch.randn(5, 4, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([5, 1, 9, 0.1, 3]).view(5, 1, 1)
    done = np.array([False, False, False, True, False])
    chosen = by_entropy(SliceAnswers(tuple(range(5)), logits, torch.ones(5)), done, np.random.default_rng(0))
    assert chosen == exercise("11-next").reference(logits.double().sigmoid().numpy(), done) == 1
