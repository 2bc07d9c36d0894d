"""Each typical wrong answer of lesson 00 is rejected with its own message; right answers pass, in numpy and torch."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from fmlab.lessons.check import judge
from fmlab.lessons.exercise import exercise, exercises

_spec = importlib.util.spec_from_file_location("wrong_answers_00", Path(__file__).with_name("wrong_answers_00.py"))
wrong_answers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(wrong_answers)
CASES = [(name, *row) for name, rows in wrong_answers.WRONG.items() for row in rows]


@pytest.mark.parametrize(("name", "function", "words"), CASES, ids=[function.__name__ for _, function, _ in CASES])
def test_wrong_answer_gets_its_own_message(name, function, words):
    outcome = judge(exercise(name), function)
    assert outcome.status == "failed"
    assert words in outcome.message


@pytest.mark.parametrize("name", wrong_answers.WRONG)
def test_messages_differ(name):
    messages = [judge(exercise(name), function).message for function, _ in wrong_answers.WRONG[name]]
    assert len(set(messages)) == len(messages) >= 3


@pytest.mark.parametrize("spec", exercises("00"), ids=lambda spec: spec.id)
def test_no_misconception_is_right(spec):
    for idea in spec.misconceptions:
        assert not judge(spec, idea.formula).passed, idea.message


def right_dice(p, r):
    total = int(p.sum()) + int(r.sum())
    return 2 * int((p & r).sum()) / total if total else float("nan")


def right_world(ijk, affine):
    return (affine @ np.array([*ijk, 1.0]))[:3]


def right_volume(mask, spacing):
    return int(mask.sum()) * spacing[0] * spacing[1] * spacing[2] / 1000


@pytest.mark.parametrize(("name", "function"), [("00-dice", right_dice), ("00-world", right_world), ("00-volume", right_volume)])
def test_right_answers_pass(name, function):
    outcome = judge(exercise(name), function)
    assert outcome.passed, outcome.message


@pytest.mark.parametrize("spec", exercises("00"), ids=lambda spec: spec.id)
def test_reference_passes_and_package_version_can_be_shown(spec):
    from fmlab.lessons import show_source

    assert judge(spec, spec.reference).passed
    assert "def " in show_source(spec.meets).code
    assert len(spec.hints) >= 2


def test_world_is_the_packages_world():
    import torch

    from fmlab.volume import Volume

    rng = np.random.default_rng(3)
    affine = np.diag([0.8, 0.7, 5.0, 1.0])
    affine[:3, :] += rng.normal(scale=0.05, size=(3, 4))
    ijk = rng.integers(0, 100, size=3)
    ours = Volume(torch.zeros(1, 2, 2, 2), affine).world(ijk)
    np.testing.assert_allclose(exercise("00-world").reference(ijk, affine), ours)
