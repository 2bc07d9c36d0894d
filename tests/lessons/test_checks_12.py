"""Lesson 12: right answers pass, whatever their style, and the exercises are what the package does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fmlab.lessons import claims, who_drew_it
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


def test_the_matrix_is_the_right_way_up_and_told_as_it_is():
    w = np.array([[1, 1, 0], [0, 1, 0]])
    fig, words = who_drew_it.matrix(w, ["one", "two"], ["a", "b", "c"], parted=1)
    ax = fig.axes[0]
    assert ax.yaxis_inverted() and [text.get_text() for text in ax.get_yticklabels()] == ["one", "two"]
    np.testing.assert_array_equal(ax.collections[0].get_array().reshape(2, 3), w)
    assert "The fullest row has 2 fields, the fullest column 2." in words and "1 real data sets and 1 hospitals" in words


def test_bars_belong_to_the_loss_and_the_structure():
    dice = {"before": {"liver": 0.9, "colon": 0.8}, "softmax": {"colon": 0.1, "liver": 0.7}}
    fig, words = who_drew_it.after_steps(dice, {"liver": "ABD", "colon": "C"})
    bars = {round(bar.get_x() + bar.get_width() / 2, 6): bar.get_height() for bar in fig.axes[0].patches}
    assert [bars[x] for x in sorted(bars)] == [0.9, 0.7, 0.8, 0.1]
    assert "colon, drawn by C: before 0.80, softmax 0.10" in words


@pytest.mark.parametrize("seeds", [1, 2])
def test_curves_over_the_hospitals_are_means_over_seeds(seeds):
    runs = [claims.Run.now("C05", seed=seed, values={"body": 0.1}, command="test", details={
        "by_share": {"1": {"masked": 0.2 + 0.2 * seed}, "3": {"masked": 0.8}}}) for seed in range(seeds)]
    fig, words = who_drew_it.by_share(runs, ["masked"])
    assert f"masked: {0.2 if seeds == 1 else 0.3:.2f} at 1 of 4, 0.80 at 3 of 4" in words
    assert bool(fig.axes[0].containers[0].has_yerr) == (seeds == 2)
