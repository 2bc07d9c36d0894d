"""Lesson 14: right answers pass, whatever their style, and the exercises are what the package does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fmlab import hub
from fmlab.lessons import asked_by
from fmlab.lessons.check import judge
from fmlab.lessons.exercise import exercise
from fmlab.lessons.quiz import questions
from fmlab.pretraining import nano
from fmlab.pretraining.hermes_priors import NULL, Exchange
from fmlab.pretraining.hospitals import ASKED, HOSPITALS, MOST, TOKENS, Prompted
from fmlab.vocabulary import ID
from fmlab.volume import Volume

NAMES = ("dodnet", "uniseg", "hermes")


def question_in_a_loop(deep, task, tasks):
    rows = []
    for image, number in zip(deep, task.tolist()):
        code = torch.zeros(tasks)
        code[number] = 1
        rows.append(torch.cat([image.mean((1, 2, 3)), code]))
    return torch.stack(rows)


def question_code_before_pooling(deep, task, tasks):
    """The code as maps, and then the mean of all: the mean of a constant is the constant."""
    maps = F.one_hot(task, tasks)[:, :, None, None, None].expand(-1, -1, *deep.shape[2:])
    return F.adaptive_avg_pool3d(torch.cat([deep, maps.float()], 1), 1).flatten(1)


def question_by_identity(deep, task, tasks):
    return torch.hstack([deep.flatten(2).mean(2), torch.eye(tasks)[task]])


def exchange_by_torch(features, priors):
    """PyTorch's own attention, one head."""
    priors = priors + F.scaled_dot_product_attention(priors, features, features)
    return features + F.scaled_dot_product_attention(features, priors, priors), priors


def exchange_image_by_image(features, priors):
    found = []
    for h, p in zip(features, priors):
        p = p + torch.softmax(p @ h.T / h.shape[1] ** 0.5, 1) @ h
        found.append((h + torch.softmax(h @ p.T / h.shape[1] ** 0.5, 1) @ p, p))
    return [torch.stack(part) for part in zip(*found)]


RIGHT = [("14-question", question_in_a_loop), ("14-question", question_code_before_pooling),
         ("14-question", question_by_identity), ("14-exchange", exchange_by_torch), ("14-exchange", exchange_image_by_image)]


@pytest.mark.parametrize(("name", "function"), RIGHT, ids=[function.__name__ for _, function in RIGHT])
def test_right_answers_pass(name, function):
    outcome = judge(exercise(name), function)
    assert outcome.passed, outcome.message


def test_the_last_hints_are_nearly_the_answer():
    """Put together, the code in the hints is a right answer."""
    def question(deep, task, tasks):
        return torch.cat([deep.mean((2, 3, 4)), F.one_hot(task, tasks).to(deep.dtype)], 1)

    def heard(queries, context):
        weights = (queries @ context.transpose(1, 2) / queries.shape[-1] ** 0.5).softmax(-1)
        return queries + weights @ context

    def exchange(features, priors):
        priors = heard(priors, features)
        return heard(features, priors), priors

    said = {name: " ".join(exercise(name).hints) for name in ("14-question", "14-exchange")}
    assert "torch.cat([deep.mean((2, 3, 4)), F.one_hot(task, tasks).to(deep.dtype)], 1)" in said["14-question"]
    for code in ("(queries @ context.transpose(1, 2) / queries.shape[-1] ** 0.5).softmax(-1)", "queries + weights @ context",
                 "priors = heard(priors, features)", "return heard(features, priors), priors"):
        assert code in said["14-exchange"]
    assert judge(exercise("14-question"), question).passed and judge(exercise("14-exchange"), exchange).passed


def built(name):
    torch.manual_seed(1)
    return hub.build(name, **nano.METHODS[name].config).eval()


@torch.no_grad()
def test_the_question_is_what_dodnets_controller_reads():
    model = built("dodnet")
    deep, task = torch.randn(3, model.deep_channels, 2, 2, 2), torch.tensor([2, 0, 3])
    normed = model.GAP[:2](deep.clone())  # its norm and ReLU; the third part is the pooling
    asked = exercise("14-question").reference(normed, task, model.tasks)
    weight = model.controller.weight.flatten(1)
    torch.testing.assert_close(asked @ weight.T + model.controller.bias, model.theta(deep, task))


@torch.no_grad()
def test_the_exchange_is_hermes_without_projections_norms_and_feed_forward():
    c = 6
    layer = Exchange(c, 1)
    for gather in (layer.prior_aggregate_block, layer.feat_aggregate_block):
        gather.norm1, gather.norm2 = nn.Identity(), nn.Identity()
        gather.fn.to_q.weight.copy_(torch.eye(c))
        gather.fn.to_kv.weight.copy_(torch.eye(c).repeat(2, 1))
        gather.fn.to_out.weight.copy_(torch.eye(c))
        gather.fn.to_out.bias.zero_()
    for feed in (layer.prior_ffn, layer.feat_ffn):
        feed.fn.fc2.weight.zero_()
        feed.fn.fc2.bias.zero_()
    features, priors = torch.randn(2, 7, c), torch.randn(2, 3, c)
    for ours, theirs in zip(exercise("14-exchange").reference(features, priors), layer(features, priors)):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(("name", "first"), [("dodnet", "logits"), ("uniseg", "up 4"), ("hermes", "down 3")])
def test_where_the_task_enters(name, first):
    """After the decoder, before it, within; up to there not one bit differs."""
    x = torch.rand(1, 1, nano.SIDE, nano.SIDE, nano.SIDE)
    values = asked_by.differences(built(name), x, "A", "D")
    place = asked_by.STAGES.index(first)
    assert len(values) == len(asked_by.STAGES)
    assert not any(values[:place]) and all(value > 1e-4 for value in values[place:])
    assert f"differs from {first!r} on" in asked_by.in_words({name: values})


@torch.no_grad()
def test_each_network_is_asked_in_its_own_way():
    x = torch.rand(1, 1, nano.SIDE, nano.SIDE, nano.SIDE)
    dodnet, uniseg, hermes = map(built, NAMES)
    for hospital in "AC":
        number, k = HOSPITALS.index(hospital), len(ASKED[hospital])
        for model in (dodnet, uniseg, hermes):
            whole = Prompted(model, dict.fromkeys(ASKED[hospital], hospital))(x)
            torch.testing.assert_close(asked_by.Asked(model, hospital)(x), whole, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(asked_by.answer(dodnet, x, hospital), dodnet(x, [number])[:, :k])
        p = uniseg(x, [number])[:, :1 + k].softmax(1)[:, 1:]
        torch.testing.assert_close(asked_by.answer(uniseg, x, hospital).sigmoid(), p, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(asked_by.answer(hermes, x, hospital), hermes(x, list(TOKENS[hospital])))


def test_what_one_hospital_more_costs():
    """DoDNet's head once more; UniSeg's decoder; Hermes' list is longer, and its network runs once."""
    x, times = torch.rand(1, 1, nano.SIDE, nano.SIDE, nano.SIDE), {}
    for name in NAMES:
        model = built(name)
        one, every = (asked_by.operations(call) for call in (lambda: asked_by.answer(model, x, "A"),  # noqa: B023
                                                              lambda: asked_by.everybody(model, x)))  # noqa: B023
        times[name] = every / one
    assert 1 < times["dodnet"] < 1.2 and 1 < times["hermes"] < 1.2 and 2 < times["uniseg"] < 4


def test_one_task_more_in_numbers():
    assert asked_by.one_more("dodnet", tasks=8) == (17_329_528, 162, 1)
    assert asked_by.one_more("hermes", tasks=73) == (60_884_998, 1088, 5)
    whole, new, changed = asked_by.one_more("uniseg", tasks=12)
    assert whole == 32_114_381 and new > 1000 and changed > 10
    known = hub.build("clip_driven", size="nano").classes
    assert asked_by.one_more("clip_driven", classes=(*known, "sternum"))[1:] == (0, 0)


@torch.no_grad()
def test_a_list_is_a_set_and_other_questions_and_null_are_heard():
    model, x = built("hermes"), torch.rand(1, 1, nano.SIDE, nano.SIDE, nano.SIDE)
    own, liver = list(TOKENS["A"]), ASKED["A"].index("liver")
    before = model(x, own)[0, liver]
    torch.testing.assert_close(model(x, own[::-1])[0, len(own) - 1 - liver], before, rtol=1e-3, atol=1e-4)
    for numbers, place in ([own[liver]], 0), (own + [NULL] * (MOST - len(own)), liver):
        assert (model(x, numbers)[0, place] - before).abs().max() > 1e-4


def test_agreement_is_the_mean_dice_and_figures_say_what_they_show():
    labels = torch.zeros(1, 4, 4, 4, dtype=torch.uint8)
    labels[0, :2], labels[0, 2:] = ID["liver"], ID["spleen"]
    scan, half = (Volume(torch.zeros(1, 4, 4, 4), np.eye(4), labels=each.clone()) for each in (labels, labels))
    half.labels[0, 1] = 0  # half of the liver: Dice 2/3
    found = {"itself": scan, "half of the liver": half}
    assert asked_by.agreement(found, scan, ("liver", "spleen")) == pytest.approx([1.0, (2 / 3 + 1) / 2])
    assert asked_by.in_words({"one": [0.0, 0.0]}) == "one never differs"
    rows = {"DoDNet": [0.0] * 9 + [1.0], "Hermes": [0.0, 0.0, *[0.1] * 8]}
    assert asked_by.in_words(rows) == "DoDNet differs from 'logits' on; Hermes differs from 'down 3' on"
    assert len(asked_by.who_differs(rows).axes) == 1
    panels = asked_by.tables({"one": np.eye(3), "two": np.zeros((3, 3))}, "ABD", "ABD").axes
    assert [text.get_text() for text in panels[0].texts[:3]] == ["1.00", "0.00", "0.00"]


def test_quiz_has_five_questions():
    assert len(questions("14")) == 5


def test_the_best_prompts_are_told_row_by_row_and_drawn_in_bold():
    dice = {"DoDNet": np.array([[0.61, 0.39, 0.25], [0.604, 0.601, 0.2]])}
    assert asked_by.best_prompts(dice, "AD", "ABD") == "DoDNet, A's scan: A, D's scan: A and B"
    texts = asked_by.tables(dice, "AD", "ABD").axes[0].texts
    assert [text.get_weight() for text in texts] == ["bold", "normal", "normal", "bold", "bold", "normal"]
