"""Lesson 12: right answers pass, whatever their style, and the exercises are what the package does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fmlab.lessons.check import judge
from fmlab.lessons.exercise import exercise
from fmlab.lessons.quiz import questions
from fmlab.pretraining.targets import targets
from fmlab.vocabulary import region


def targets_in_torch(labels, regions, annotated):
    labels = torch.as_tensor(labels)
    return torch.stack([torch.isin(labels, torch.tensor(ids)) for ids in regions]), torch.tensor(annotated)


def targets_in_loops(labels, regions, annotated):
    y = np.zeros((len(regions), *labels.shape), dtype=np.uint8)
    for k, ids in enumerate(regions):
        for i in ids:
            y[k][np.asarray(labels == i)] = 1
    return [y, [float(known) for known in annotated]]


def masked_in_loops(logits, target, w):
    samples = []
    for n in range(len(w)):
        costs = [F.binary_cross_entropy_with_logits(logits[n, k], target[n, k].float()) for k in range(w.shape[1]) if w[n, k]]
        if costs:
            samples.append(sum(costs) / len(costs))
    return sum(samples) / len(samples) if samples else 0 * logits.sum()


def masked_by_weights(logits, target, w):
    total = w.sum(1, keepdim=True)
    weight = w / total.clamp(min=1) / (total > 0).sum().clamp(min=1)
    return (weight * F.binary_cross_entropy_with_logits(logits, target.float(), reduction="none").mean((2, 3, 4))).sum()


def masked_by_hand(logits, target, w):
    """No ready-made cross-entropy, but a stable one."""
    cost = (logits.clamp(min=0) - logits * target + torch.log1p(torch.exp(-logits.abs()))).mean((2, 3, 4))
    known = w.bool().any(1)
    return ((w * cost)[known].sum(1) / w[known].sum(1)).sum() / known.sum().clamp(min=1)


RIGHT = [("12-targets", targets_in_torch), ("12-targets", targets_in_loops), ("12-masked", masked_in_loops),
         ("12-masked", masked_by_weights), ("12-masked", masked_by_hand)]


@pytest.mark.parametrize(("name", "function"), RIGHT, ids=[function.__name__ for _, function in RIGHT])
def test_right_answers_pass(name, function):
    outcome = judge(exercise(name), function)
    assert outcome.passed, outcome.message


def test_the_last_hints_are_nearly_the_answer():
    """Put together, the code in the hints of 12-masked is a right answer."""
    def hinted(logits, target, w):
        cost = F.binary_cross_entropy_with_logits(logits, target.float(), reduction="none").flatten(2).mean(2)
        known = w.sum(1) > 0
        each = (w * cost).sum(1)[known] / w.sum(1)[known]
        return each.sum() / max(len(each), 1)

    hints = " ".join(exercise("12-masked").hints)
    assert all(code in hints for code in ("each.sum() / max(len(each), 1)", "known = w.sum(1) > 0", ".flatten(2).mean(2)"))
    assert judge(exercise("12-masked"), hinted).passed


def test_targets_are_the_packages_targets():
    names = ["liver", "liver_tumor", "spleen", "prostate", "kidney_left"]
    labels = torch.from_numpy(np.random.default_rng(4).choice([0, 42, 43, 45, 46, 53, 71, 72], size=(5, 6, 7)))
    annotated = ["liver", "spleen", "prostate"]
    y, w = targets(labels, names, annotated)
    ours = exercise("12-targets").reference(labels, [list(region(name)) for name in names], [n in annotated for n in names])
    np.testing.assert_array_equal(ours[0], y)
    np.testing.assert_array_equal(ours[1], w)


def test_quiz_has_five_questions():
    assert len(questions("12")) == 5


def test_the_quiz_tells_the_cost_of_a_perfect_prediction():
    from fmlab.pretraining.masked import clip_driven_dice

    organ = torch.zeros(1, 1, 48, 24, 24)
    organ[:, :, 10:20, 2:22, 2:22] = 1
    assert float(clip_driven_dice((2 * organ - 1) * 100, organ, torch.ones(1, 1))) == pytest.approx(38 / 48, abs=1e-3)
