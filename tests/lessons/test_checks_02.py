"""Lesson 02: right answers pass, whatever their style, and the exercises are what the package does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fmlab.contrastive import eyes, zero_shot
from fmlab.contrastive.pairing_loss import pairing_loss
from fmlab.lessons import eyes_and_words as show
from fmlab.lessons.check import judge
from fmlab.lessons.exercise import exercise
from fmlab.lessons.quiz import questions
from fmlab.lessons.source import lessons


def pairing_in_loops(logits, categories):
    total = 0
    for table in (logits, logits.T):
        for i in range(len(table)):
            mates = [j for j in range(len(table)) if categories[j] == categories[i]]
            total = total - table[i].log_softmax(0)[mates].mean()
    return total / (2 * len(logits))


def pairing_by_one_hot(logits, categories):
    one_hot = torch.nn.functional.one_hot(categories).float()
    goal = one_hot @ one_hot.T
    goal = goal / goal.sum(1)[:, None]
    rows, columns = (torch.logsumexp(logits, axis, keepdim=True) - logits for axis in (1, 0))
    return 0.5 * ((goal * rows).sum(1).mean() + (goal * columns).sum(0).mean())


def pairing_by_hard_mass(logits, categories):
    same = categories.unsqueeze(0).eq(categories.unsqueeze(1))
    goal = torch.where(same, 1.0 / same.sum(0), 0.0).T
    loss = torch.nn.CrossEntropyLoss()
    return torch.stack([loss(logits, goal), loss(logits.T, goal)]).mean()


def ensemble_in_loops(embeddings):
    rows = []
    for each in embeddings:
        middle = sum(each) / len(each)
        rows.append(middle / (middle @ middle) ** 0.5)
    return torch.stack(rows)


def ensemble_of_sums(embeddings):
    """The length is taken off anyway, so that a sum points where the mean does."""
    return torch.nn.functional.normalize(torch.stack([each.sum(dim=0) for each in embeddings]), dim=-1)


RIGHT = [("02-pairing", pairing_in_loops), ("02-pairing", pairing_by_one_hot), ("02-pairing", pairing_by_hard_mass),
         ("02-ensemble", ensemble_in_loops), ("02-ensemble", ensemble_of_sums)]


@pytest.mark.parametrize(("name", "function"), RIGHT, ids=[function.__name__ for _, function in RIGHT])
def test_right_answers_pass(name, function):
    outcome = judge(exercise(name), function)
    assert outcome.passed, outcome.message


def test_the_last_hints_are_nearly_the_answer():
    def hinted_loss(logits, categories):
        same = (categories[:, None] == categories[None]).float()
        goal = same / same.sum(1, keepdim=True)
        return (torch.nn.functional.cross_entropy(logits, goal) + torch.nn.functional.cross_entropy(logits.T, goal)) / 2

    hints = " ".join(exercise("02-pairing").hints)
    assert all(code in hints for code in ("goal = same / same.sum(1, keepdim=True)", "F.cross_entropy(logits, goal)",
                                          "F.cross_entropy(logits.T, goal)"))
    assert judge(exercise("02-pairing"), hinted_loss).passed
    last = exercise("02-ensemble").hints[-1].strip("`.")
    hinted = eval(f"lambda embeddings: {last}", {"torch": torch, "F": torch.nn.functional})
    assert judge(exercise("02-ensemble"), hinted).passed


def test_the_exercises_are_the_packages_functions():
    logits, categories = torch.randn(7, 7), torch.tensor([0, 1, 1, 2, 2, 2, 5])
    assert float(exercise("02-pairing").reference(logits, categories)) == pytest.approx(float(pairing_loss(logits, categories)))
    texts = [torch.nn.functional.normalize(torch.randn(n, 8), dim=1) for n in (1, 3)]
    assert torch.equal(exercise("02-ensemble").reference(texts), zero_shot.ensemble(texts))


def test_quiz_has_five_questions():
    assert len(questions("02")) == 5


def test_figures_say_what_they_show():
    pictures = torch.rand(2, 3, 16, 16)
    figure, words = show.agreement(torch.tensor([[3.0, 1.0], [0.0, 2.0]]), pictures, ["a", "b"])
    assert "For 2 of the pictures" in words and figure.axes
    gradients = {"CLIP": torch.tensor([[-0.25, 0.25], [0.0, 0.0]]), "FLAIR": torch.zeros(2, 2)}
    assert "CLIP pushes by up to 0.25; FLAIR pushes by up to 0.00" in show.pushes(["a", "b"], gradients)[1]
    _, words = show.losses({"specialist": [{"loss": 4.0}, {"loss": 3.0}]})
    assert "specialist from 4.00 to 3.00" in words
    _, words = show.probe_curves({"generalist": {1: 0.2, 2: 0.4}}, {"generalist": 0.3}, 0.1)
    assert "0.20 with 1, 0.40 with 2; generalist, zero-shot: 0.30" in words
    assert len(show.photographs(pictures, ["a", "b"], columns=3).axes) == 3


def test_the_tables_are_made_of_the_stored_runs(monkeypatch):
    class Stored:
        def __init__(self, value):
            arms = ("specialist", "generalist", "few fundus pictures", "untrained")
            ways = ("names", "knowledge", "linear probe")
            self.details = {"accuracy": {arm: {"set 1": dict.fromkeys(ways, value)} for arm in arms}, "chance": {"set 1": 0.25}}

    monkeypatch.setattr(show.claims, "runs", lambda *given: (Stored(0.4), Stored(0.6)))
    zero, linear = show.two_tables()
    assert "mean of 2 seeds" in zero.caption and [row[0] for row in zero.rows] == ["set 1: by names", "set 1: by knowledge"]
    assert linear.rows == [("set 1", "0.25", "0.50", "0.50", "0.50", "0.50")]
    assert len(zero.header) == len(zero.rows[0]) == 5 and len(linear.header) == 6
    monkeypatch.setattr(show.claims, "runs", lambda *given: ())
    assert show.two_tables() == []


def test_the_lesson_says_the_size_of_the_published_tower():
    """"23.5 M parameters, 78 times ours", in section 9."""
    from fmlab import hub
    from fmlab.contrastive import nano

    with torch.device("meta"):  # shapes alone
        published = sum(p.numel() for p in hub.build("flair", text=False).vision_model.model.parameters())
    ours = sum(p.numel() for p in hub.build("image_text", words=list(nano.WORDS)).image.parameters())
    text = next(lesson for lesson in lessons() if lesson.number == "02").path.read_text(encoding="utf-8")
    assert f"{published / 1e6:.1f} M parameters, {published / ours:.0f} times ours" in text


def test_the_disc_lies_towards_the_nose_of_the_macula():
    for seed in range(5):
        one = eyes.eye(np.random.default_rng(seed))
        assert (one.disc[0] - one.macula[0]) * one.nose > 3 * one.radius
