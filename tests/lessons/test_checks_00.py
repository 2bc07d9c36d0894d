"""Lesson 00: right answers pass, in numpy and torch, and the exercises are what the package does."""

from __future__ import annotations

import numpy as np
import pytest

from fmlab.lessons.check import judge
from fmlab.lessons.exercise import exercise


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


def test_world_is_the_packages_world():
    import torch

    from fmlab.volume import Volume

    rng = np.random.default_rng(3)
    affine = np.diag([0.8, 0.7, 5.0, 1.0])
    affine[:3, :] += rng.normal(scale=0.05, size=(3, 4))
    ijk = rng.integers(0, 100, size=3)
    ours = Volume(torch.zeros(1, 2, 2, 2), affine).world(ijk)
    np.testing.assert_allclose(exercise("00-world").reference(ijk, affine), ours)
