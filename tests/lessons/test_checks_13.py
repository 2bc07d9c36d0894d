"""Lesson 13: right answers pass, whatever their style, and the exercises are what the package does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fmlab import hub
from fmlab.lessons import other_texts
from fmlab.lessons.check import judge
from fmlab.lessons.exercise import exercise
from fmlab.lessons.other_texts import cosines, drawn_in, mean_cosine, translated, with_texts
from fmlab.lessons.quiz import questions
from fmlab.pretraining.dynamic_head import dynamic_head, parameter_count
from fmlab.pretraining.text_embeddings import table_of
from fmlab.vocabulary import ID
from fmlab.volume import Volume

STRUCTURES = ("liver", "spleen", "kidney_left")


def head_with_convolutions(f, theta):
    """Class by class, image by image, as the formula stands."""
    c, logits = f.shape[1], []
    for n in range(len(f)):
        for row in theta[n]:
            w1, w2, w3, b1, b2, b3 = row.split([c * c, c * c, c, c, c, 1])
            h = F.conv3d(f[n:n + 1], w1.view(c, c, 1, 1, 1), b1).relu()
            h = F.conv3d(h, w2.view(c, c, 1, 1, 1), b2).relu()
            logits.append(F.conv3d(h, w3.view(1, c, 1, 1, 1), b3))
    return torch.cat(logits).view(*theta.shape[:2], *f.shape[2:])


def head_grouped(f, theta):
    """As published: replicas of F, and grouped convolutions."""
    b, c, *size = f.shape
    k = theta.shape[1]
    w1, w2, w3, b1, b2, b3 = theta.split([c * c, c * c, c, c, c, 1], dim=2)
    h = f.repeat(1, k, 1, 1, 1).view(1, b * k * c, *size)
    for w, bias, out in ((w1, b1, c), (w2, b2, c), (w3, b3, 1)):
        h = F.conv3d(h, w.reshape(b * k * out, c, 1, 1, 1), bias.reshape(-1), groups=b * k)
        h = h.relu() if out == c else h
    return h.view(b, k, *size)


def head_einsum(f, theta):
    c = f.shape[1]
    parts = theta.split([c * c, c * c, c, c, c, 1], dim=-1)
    w1, w2 = (w.reshape(*w.shape[:2], c, c) for w in parts[:2])
    b1, b2, b3 = (b[..., None, None, None] for b in parts[3:])
    h = F.relu(torch.einsum("bkoi,bixyz->bkoxyz", w1, f) + b1)
    h = F.relu(torch.einsum("bkoi,bkixyz->bkoxyz", w2, h) + b2)
    return torch.einsum("bki,bkixyz->bkxyz", parts[2], h) + b3.squeeze(2)


def fold_by_linear(weight, bias, texts):
    t = texts.shape[1]
    return weight[:, :-t], F.linear(texts, weight[:, -t:], bias)


def fold_in_a_loop(weight, bias, texts):
    image = weight.shape[1] - texts.shape[1]
    return [weight[:, :image], torch.stack([weight[:, image:] @ w + bias for w in texts])]


RIGHT = [("13-head", head_with_convolutions), ("13-head", head_grouped), ("13-head", head_einsum),
         ("13-fold", fold_by_linear), ("13-fold", fold_in_a_loop)]


@pytest.mark.parametrize(("name", "function"), RIGHT, ids=[function.__name__ for _, function in RIGHT])
def test_right_answers_pass(name, function):
    outcome = judge(exercise(name), function)
    assert outcome.passed, outcome.message


def test_the_last_hints_are_nearly_the_answer():
    """Put together, the code in the hints is a right answer."""
    def head(f, theta):
        c = f.shape[1]
        w1, w2, w3, b1, b2, b3 = theta.split([c * c, c * c, c, c, c, 1], dim=2)
        w1, w2 = w1.unflatten(2, (c, c)), w2.unflatten(2, (c, c))
        h = (w1 @ f.flatten(2)[:, None] + b1[..., None]).relu()
        h = (w2 @ h + b2[..., None]).relu()
        return (w3[:, :, None] @ h + b3[..., None])[:, :, 0].unflatten(2, f.shape[2:])

    def fold(weight, bias, texts):
        cut = weight.shape[1] - texts.shape[1]
        return weight[:, :cut], texts @ weight[:, cut:].T + bias

    said = {name: " ".join(exercise(name).hints) for name in ("13-head", "13-fold")}
    for code in ("theta.split([c * c, c * c, c, c, c, 1], dim=2)", "(w1 @ f.flatten(2)[:, None] + b1[..., None]).relu()",
                 "(w2 @ h + b2[..., None]).relu()", "(w3[:, :, None] @ h + b3[..., None])[:, :, 0].unflatten(2, f.shape[2:])"):
        assert code in said["13-head"]
    assert "weight[:, :cut], texts @ weight[:, cut:].T + bias" in said["13-fold"]
    assert judge(exercise("13-head"), head).passed and judge(exercise("13-fold"), fold).passed


def test_the_head_is_the_models_head():
    """Convolutions written out give what the model gives, from the model's own map and controller."""
    torch.manual_seed(1)
    model = hub.build("clip_driven", size="nano", classes=STRUCTURES, text="sentence").eval()
    x = torch.randn(2, 1, 16, 16, 16)
    with torch.no_grad():
        deep, z = model.backbone.deep_and_features(x)
        f, theta = model.precls_conv(z), model.theta(model.GAP(deep).flatten(1), range(3))
        assert f.shape[1] == 8 and theta.shape == (2, 3, parameter_count(8))
        torch.testing.assert_close(head_with_convolutions(f, theta), model(x), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(dynamic_head(f, theta), model(x), rtol=1e-4, atol=1e-4)


def test_folding_is_the_models_theta():
    torch.manual_seed(2)
    model = hub.build("clip_driven", size="nano", classes=STRUCTURES, text="random").eval()
    f = torch.randn(2, 64)
    with torch.no_grad():
        controller = model.controller.weight.flatten(1), model.controller.bias
        of_image, constants = exercise("13-fold").reference(*controller, model.texts())
        torch.testing.assert_close((f @ of_image.T)[:, None] + constants, model.theta(f, range(3)))
        torch.testing.assert_close(constants, model.text_terms())


def test_a_dictionary_gives_the_old_answers_back_and_other_texts_alone_do_not():
    torch.manual_seed(3)
    model = hub.build("clip_driven", size="nano", classes=STRUCTURES, text="sentence").eval()
    x, codes = torch.randn(1, 1, 16, 16, 16), table_of("random", STRUCTURES, 384)
    with torch.no_grad():
        before = model(x)
        assert (with_texts(model, codes)(x) - before).abs().max() > 1e-3
        for table in (codes, table_of("one_hot", STRUCTURES)):
            torch.testing.assert_close(translated(model, table)(x), before, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(model(x), before)  # the model itself was left alone


def test_exchanged_rows_exchange_the_answers():
    torch.manual_seed(4)
    model = hub.build("clip_driven", size="nano", classes=STRUCTURES, text="sentence").eval()
    x = torch.randn(1, 1, 16, 16, 16)
    with torch.no_grad():
        swapped = with_texts(model, model.organ_embedding[[1, 0, 2]])(x)
        torch.testing.assert_close(swapped, model(x)[:, [1, 0, 2]], rtol=1e-4, atol=1e-4)


def test_cosines_and_where_a_mask_lies():
    table = torch.tensor([[2.0, 0.0], [0.0, 5.0], [3.0, 3.0]])
    half = 0.5 ** 0.5
    torch.testing.assert_close(cosines(table), torch.tensor([[1.0, 0.0, half], [0.0, 1.0, half], [half, half, 1.0]]))
    assert mean_cosine(table) == pytest.approx(2 * half / 3)
    labels = torch.zeros(1, 10, 10, 10, dtype=torch.uint8)
    labels[0, :3], labels[0, 5:] = ID["liver"], ID["spleen"]
    volume = Volume(torch.zeros(1, 10, 10, 10), np.diag([10.0, 10.0, 10.0, 1.0]), labels=labels)
    mask = torch.zeros(10, 10, 10, dtype=torch.bool)
    assert drawn_in(mask, volume, STRUCTURES) == "nothing is drawn"
    mask[2:6] = True
    mask[5, 5:] = False
    assert drawn_in(mask, volume, STRUCTURES) == "350 ml, mostly in liver (29%)"


def test_quiz_has_five_questions():
    assert len(questions("13")) == 5


def test_the_quiz_counts_the_head_right():
    assert parameter_count(8) == 153 and 32 * parameter_count(8) == 4896


def test_a_picture_of_heads_is_cut_where_weights_and_biases_meet():
    fig = other_texts.head_picture(torch.randn(3, 4 + 4 + 2 + 2 + 2 + 1), ["a", "b", "c"], channels=2)
    ax = fig.axes[0]
    assert ax.get_xticks().tolist() == [1.5, 5.5, 8.5, 10.5, 12.5, 14.0]
    assert [line[0][0] for line in ax.collections[0].get_segments()] == [3.5, 7.5, 9.5, 11.5, 13.5]


def test_several_a_line_leaves_nothing_out():
    text = other_texts.several_a_line((f"item {n}" for n in range(7)), most=3, width=10)
    assert text.split() == " ".join(f"item {n}" for n in range(7)).split()
    assert len(text.splitlines()) == 3 and max(map(len, text.splitlines())) <= 30
