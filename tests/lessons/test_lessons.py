"""Every lesson keeps the rules: notebooks are those of their sources, lengths, exercises, hints, solutions."""

from __future__ import annotations

import pytest

from fmlab.lessons.build import stale
from fmlab.lessons.lint import lint
from fmlab.lessons.source import lessons


def test_there_is_a_lesson_and_its_notebooks_are_built_from_the_sources():
    assert lessons(), "tutorials/ holds no lesson"
    assert not stale(), "\n".join(stale())


@pytest.mark.parametrize("lesson", lessons(), ids=lambda lesson: lesson.name)
def test_rules(lesson):
    assert not lint(lesson), "\n".join(lint(lesson))
