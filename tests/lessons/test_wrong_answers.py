"""Each typical wrong answer to an exercise is rejected with its own message, and every misconception is told to who holds it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from fmlab.lessons import show_source
from fmlab.lessons.check import judge
from fmlab.lessons.exercise import exercise, exercises
from fmlab.lessons.quiz import questions
from fmlab.lessons.source import lessons

FILES = sorted(Path(__file__).parent.glob("wrong_answers_*.py"))
NUMBERS = [path.stem.removeprefix("wrong_answers_") for path in FILES]


def read(path: Path) -> ModuleType:
    """A file of wrong answers: WRONG, and SAME_MESSAGE for other ways to the same wrong idea; exercise -> [(answer, words)]."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ANSWERS = [read(path) for path in FILES]
WRONG = [(name, rows) for answers in ANSWERS for name, rows in answers.WRONG.items()]
SAME = [row for answers in ANSWERS for row in getattr(answers, "SAME_MESSAGE", {}).items()]
CASES = [(name, *row) for name, rows in WRONG + SAME for row in rows]
SPECS = [spec for number in NUMBERS for spec in exercises(number)]


def test_every_exercise_of_every_lesson_has_three_wrong_answers():
    assert {lesson.number for lesson in lessons()} == set(NUMBERS)
    assert {name for name, rows in WRONG if len(rows) >= 3} == {spec.id for number in NUMBERS for spec in exercises(number)}


@pytest.mark.parametrize(("name", "function", "words"), CASES, ids=[f"{name}-{function.__name__}" for name, function, _ in CASES])
def test_wrong_answer_gets_its_own_message(name, function, words):
    outcome = judge(exercise(name), function)
    assert outcome.status == "failed"
    assert words in outcome.message


@pytest.mark.parametrize(("name", "rows"), WRONG, ids=[name for name, _ in WRONG])
def test_messages_differ(name, rows):
    messages = [judge(exercise(name), function).message for function, _ in rows]
    assert len(set(messages)) == len(messages)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.id)
def test_who_holds_a_misconception_is_told_it(spec):
    for idea in spec.misconceptions:
        assert judge(spec, idea.formula).message == idea.message
    assert len({idea.message for idea in spec.misconceptions}) == len(spec.misconceptions)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.id)
def test_reference_passes_and_package_version_can_be_shown(spec):
    assert judge(spec, spec.reference).passed
    assert "def " in show_source(spec.meets).code
    assert len(spec.hints) >= 2


@pytest.mark.parametrize("number", NUMBERS)
def test_each_question_has_one_right_option_and_explains_all_and_its_place_varies(number):
    found = questions(number)
    assert [question.id for question in found] == [f"{number}-q{n}" for n in range(1, len(found) + 1)]
    for question in found:
        assert sum(option.right for option in question.options) == 1
        assert all(option.why.strip() for option in question.options)
    places = [[option.right for option in question.options].index(True) for question in found]
    assert len(set(places)) >= min(3, len(places))  # not always in the same place


def test_a_module_is_shown_whole_under_its_name():
    shown = show_source("fmlab.contrastive.pairing_loss")
    assert (shown.name, shown.file) == ("fmlab.contrastive.pairing_loss", "fmlab/contrastive/pairing_loss.py")
    assert "def targets(" in shown.code and "def pairing_loss(" in shown.code
