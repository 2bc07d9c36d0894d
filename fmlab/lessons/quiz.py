"""``quiz``: a question whose every option is explained, right or wrong. The questions of a lesson are in quizzes_NN.py."""

from __future__ import annotations

from dataclasses import dataclass

from fmlab.lessons import records
from fmlab.lessons.choice import Choice
from fmlab.lessons.exercise import find, table
from fmlab.lessons.show import Box


@dataclass(frozen=True)
class Option:
    """One answer. why: what is right about it, or which idea leads there and what is wrong with it."""

    text: str
    why: str
    right: bool = False


@dataclass(frozen=True)
class Question:
    """A question with exactly one right option; id as "00-q1"."""

    id: str
    text: str
    options: tuple[Option, ...]


def questions(lesson: str) -> tuple[Question, ...]:
    """The quiz questions of a lesson, by its two digits; () where it has none."""
    return table("quizzes", lesson, "QUESTIONS")


def quiz(name: str, answer: int | None = None) -> Choice | Box:
    """Ask a question; where buttons do not work, give the number of your answer (counted from 1).

    Raises LessonError if there is no such question or answer. Works offline; what you answered is kept in progress.json.
    """
    question = find(name, questions(str(name)[:2]), "question")
    ask = Choice(name, question.text, tuple(option.text for option in question.options),
                 lambda chosen: _feedback(question, chosen), explanations=tuple(_verdict(option) for option in question.options))
    return ask if answer is None else ask.answer(answer)


def _feedback(question: Question, chosen: int) -> Box:
    option = question.options[chosen]
    note = records.update("quizzes", question.id, lambda old: _counted(old, chosen, option.right))
    return Box(f"{'Right' if option.right else 'Not right'}: {option.text}", tuple(filter(None, (option.why, note))),
               tone="good" if option.right else "look")


def _counted(old: dict, chosen: int, right: bool) -> dict:
    first = {"first_try": right} if "tries" not in old else {}
    tries = records.count(old, "tries") + 1
    return old | first | {"answer": chosen + 1, "tries": tries, "right": bool(old.get("right") or right)}


def _verdict(option: Option) -> str:
    return f"{'Right.' if option.right else 'Not right.'} {option.why}"
