"""Lesson 05: right answers pass, whatever their style, and the exercises are what the package does."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fmlab import hub
from fmlab.errors import ModelError
from fmlab.lessons.check import judge
from fmlab.lessons.checks_05 import _misfit, _more, _pair, _parallel, _same_head, _unequal_branches
from fmlab.lessons.exercise import exercise
from fmlab.lessons.quiz import questions
from fmlab.lessons.ways_to_begin import Curve, by_structure, drawn, exam_dice, fine_tuned, quoted, told
from fmlab.pretraining import nano
from fmlab.pretraining.med3d import Med3D, branch_loss
from fmlab.pretraining.transfer import Input, Transfers, transfer
from fmlab.vocabulary import structure


def branch_by_groups(z, labels, datasets, heads):
    """The samples of a data set together, as the package does."""
    total = 0
    for d in datasets.unique():
        mine = datasets == d
        total = total + mine.sum() * F.cross_entropy(F.conv3d(z[mine], heads[d][:, :, None, None, None]), labels[mine])
    return total / len(z)


def branch_by_hand(z, labels, datasets, heads):
    costs = []
    for features, label, d in zip(z, labels, datasets.tolist()):
        log_p = torch.log_softmax((heads[d] @ features.flatten(1)), dim=0)
        costs.append(-log_p.gather(0, label.flatten()[None]).mean())
    return sum(costs) / len(costs)


def plain(name):
    return name.replace("module.", "").replace("backbone.", "")


def transfer_in_one_pass(state, weights):
    theirs = {plain(name): value for name, value in weights.items()}
    taken = {name: theirs[plain(name)] for name, own in state.items()
             if name.startswith("backbone.") and plain(name) in theirs and theirs[plain(name)].shape == own.shape}
    if len(taken) < 0.95 * sum(name.startswith("backbone.") for name in state):
        raise ModelError("too little")
    return list({**state, **taken}.values()), [name not in taken for name in state]


def transfer_flags_as_numbers(state, weights):
    tensors, fresh = transfer_in_one_pass(state, weights)
    return tuple(tensors), np.array(fresh, dtype=int)


RIGHT = [("05-branch", branch_by_groups), ("05-branch", branch_by_hand), ("05-transfer", transfer_in_one_pass),
         ("05-transfer", transfer_flags_as_numbers)]


@pytest.mark.parametrize(("name", "function"), RIGHT, ids=[function.__name__ for _, function in RIGHT])
def test_right_answers_pass(name, function):
    outcome = judge(exercise(name), function)
    assert outcome.passed, outcome.message


def test_the_last_hints_are_nearly_the_answer():
    """Put together, the code in the hints of 05-transfer is a right answer."""
    def hinted(state, weights):
        def plain(name):
            return name.removeprefix("module.").removeprefix("backbone.")
        theirs = {plain(name): value for name, value in weights.items()}
        tensors, fresh = [], []
        for name, own in state.items():
            found = theirs.get(plain(name)) if name.startswith("backbone.") else None
            fits = found is not None and found.shape == own.shape
            tensors.append(found if fits else own)
            fresh.append(not fits)
        backbone = [new for name, new in zip(state, fresh) if name.startswith("backbone.")]
        if backbone.count(False) / len(backbone) < 0.95:
            raise ModelError("too little")
        return tensors, fresh

    hints = " ".join(exercise("05-transfer").hints)
    assert all(code in hints for code in ("found is not None and found.shape == own.shape", ".removeprefix(\"backbone.\")"))
    assert judge(exercise("05-transfer"), hinted).passed


class _Features(Med3D):
    """A Med3D whose features are the image, so that a branch is a 1x1x1 convolution alone."""

    def encode(self, x):
        return x


def test_branch_loss_is_the_packages_branch_loss():
    z, labels, datasets, heads = _unequal_branches(np.random.default_rng(3))
    model = _Features(classes={str(d): len(head) for d, head in enumerate(heads)}, width=2)
    model.conv_seg = nn.ModuleDict({str(d): nn.Conv3d(5, len(head), 1, bias=False) for d, head in enumerate(heads)})
    for d, head in enumerate(heads):
        model.conv_seg[str(d)].weight.data = head[:, :, None, None, None]
    ours = exercise("05-branch").reference(z, labels, datasets, heads)
    theirs = branch_loss(model, z, labels[:, None], [str(int(d)) for d in datasets])
    torch.testing.assert_close(ours, theirs)


class _Named(nn.Module):
    """A model of a state_dict as the exercise has it, a backbone that says its parts and a head."""

    def __init__(self, state):
        super().__init__()
        self.backbone, self.head = nn.Module(), nn.Module()
        self.backbone.parts = {"encoder": ("level",), "decoder": ()}
        for name, value in state.items():
            where, _, leaf = name.rpartition(".")
            module = self
            for part in where.split("."):
                if not hasattr(module, part):
                    module.add_module(part, nn.Module())
                module = getattr(module, part)
            module.register_parameter(leaf, nn.Parameter(value.clone()))


OF = Transfers(("encoder",), Input("anything", None))


@pytest.mark.parametrize("make", [_pair, _parallel, _same_head, _misfit, _more])
def test_transfer_is_the_packages_transfer(make):
    state, weights = make(np.random.default_rng(5))
    model = _Named(state)
    report = transfer(model, copy.deepcopy(dict(weights)), OF)
    tensors, fresh = exercise("05-transfer").reference(state, weights)
    now = model.state_dict()
    assert {name for name, new in zip(state, fresh) if new} == set(report.fresh)
    for name, tensor in zip(state, tensors):
        torch.testing.assert_close(now[name], tensor, rtol=0, atol=0)


def test_transfer_of_the_shipped_weights_is_the_packages_transfer():
    pretrained, (one, other) = hub.load("universal", "nano"), (hub.build("universal", structures=nano.NOVEL) for _ in range(2))
    one.load_state_dict(other.state_dict())
    tensors, fresh = exercise("05-transfer").reference(other.state_dict(), pretrained.state_dict())
    report = transfer(one, pretrained, Transfers(("encoder", "decoder"), Input("", 4.0), inside="backbone."), "encoder+decoder")
    assert fresh.count(True) == len(report.fresh) == 2
    for mine, theirs in zip(tensors, one.state_dict().values()):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_both_refuse_below_the_same_share():
    state, weights = _pair(np.random.default_rng(6))
    ways = lambda: exercise("05-transfer").reference(state, weights), lambda: transfer(_Named(state), dict(weights), OF)
    for missing in range(6):
        answers = []
        for way in ways:
            try:
                way()
                answers.append("taken")
            except ModelError:
                answers.append("refused")
        assert answers == ["taken" if missing <= 3 else "refused"] * 2, missing
        del weights[next(name for name in weights if name.startswith("backbone."))]


def test_quiz_has_five_questions():
    assert len(questions("05")) == 5


def test_the_quiz_tells_which_structures_are_new():
    from fmlab.pretraining.universal import UNIVERSAL

    assert not set(nano.NOVEL) & set(UNIVERSAL)
    assert all(structure(name) for name in nano.NOVEL)
    text = " ".join(option.why + option.text for question in questions("05") for option in question.options)
    assert "gluteus" in text


class _Says(nn.Module):
    """A network that answers with what it was made of, whatever it sees; its one weight has a gradient."""

    def __init__(self, logits):
        super().__init__()
        self.weight, self.logits = nn.Parameter(torch.ones(())), logits

    def forward(self, x):
        return self.weight * self.logits[None].expand(len(x), *self.logits.shape)


def test_exam_dice_is_the_mean_over_structures():
    truth = torch.zeros(2, 2, 4, 4, 4)
    truth[:, 0, :2], truth[:, 1, :1] = 1, 1
    exam = {"image": torch.zeros(2, 1, 4, 4, 4), "target": truth}
    logits = torch.full((2, 4, 4, 4), -1.0)
    logits[0, :2], logits[1, :2] = 1, 1  # the first is found, the second twice as large as it is
    assert exam_dice(_Says(logits), exam) == pytest.approx((1 + 2 / 3) / 2)


def test_a_fine_tuning_is_looked_at_on_the_way_and_at_its_end():
    item = {"image": torch.zeros(1, 4, 4, 4), "target": torch.zeros(2, 4, 4, 4), "w": torch.ones(2), "name": "x"}
    exam = {key: item[key][None] for key in ("image", "target")}
    curve = fine_tuned(_Says(torch.randn(2, 4, 4, 4)), [item, item], exam, steps=12)
    assert len(curve.losses) == 12 and curve.losses[-1] != curve.losses[0]
    assert [step for step, _ in curve.dice] == [0, 3, 6, 9, 12]
    words = told({"one": curve})
    assert f"one {curve.dice[0][1]:.2f}, {curve.dice[-1][1]:.2f}" in words
    assert [len(line.get_xdata()) for axis in drawn({"one": curve}).axes for line in axis.lines] == [10, 5]


@pytest.mark.parametrize(("steps", "label", "points"), [(4, "loss", 4), (40, "loss, mean of 8 steps", 33)])
def test_the_losses_axis_says_of_how_many_steps_it_is_the_mean(steps, label, points):
    losses = [float(n) for n in range(steps)]
    left, right = drawn({"one": Curve(losses, [(0, 0.0), (steps, 0.9)])}).axes
    assert left.get_ylabel() == label
    x, y = left.lines[0].get_data()
    width = steps - points + 1
    assert len(x) == points and x[-1] == steps and y[-1] == pytest.approx(sum(losses[-width:]) / width)
    assert right.get_ylim()[1] > 0.9  # the best Dice is within the picture


def test_the_means_in_words_are_those_of_the_shared_structures():
    scores = {"here": {"liver": 0.5, "spleen": 1.0, "aorta": 0.0}, "there": {"liver": 0.25, "spleen": 0.25}}
    fig, words = by_structure(scores, ["liver", "spleen"])
    assert "here 0.75" in words and "there 0.25" in words
    assert [len(line.get_xdata()) for line in fig.axes[0].lines] == [2, 2]


def test_quotes_fit_a_notebook_and_keep_their_sources():
    text = quoted("C13", "C15")
    assert max(map(len, text.splitlines())) <= 110 and text.count("https://doi.org/") >= 3
    assert text.startswith("C13 ") and "\nC15 " in text
