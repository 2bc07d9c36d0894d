"""The quiz of a lesson on paper: a sheet of questions, and the key with the right option and why each other one is wrong."""

from __future__ import annotations

from fmlab.errors import LessonError
from fmlab.lessons.quiz import Option, Question, questions
from fmlab.lessons.source import Lesson

LETTERS = "ABCDEFGH"


def key(lesson: Lesson) -> str:
    """Every question of a lesson with its answer, as Markdown; LessonError where it has none."""
    asked = _asked(lesson)
    return "\n\n".join([f"# {lesson.number} · {lesson.title}: quiz key", _short(asked), *map(answered, asked)]) + "\n"


def sheet(lesson: Lesson) -> str:
    """The questions alone, to hand out; LessonError where there are none."""
    head = f"# {lesson.number} · {lesson.title}: questions\n\nName: ______________________________"
    asked = [f"## {question.id}\n\n{question.text}\n\n{_options(question)}" for question in _asked(lesson)]
    return "\n\n".join([head, *asked]) + "\n"


def right(question: Question) -> tuple[str, Option]:
    """The letter and the option that is right."""
    return next((LETTERS[place], option) for place, option in enumerate(question.options) if option.right)


def answered(question: Question) -> str:
    """One question as Markdown, every option with its verdict and reason."""
    lines = "\n".join(_line(letter, option) for letter, option in zip(LETTERS, question.options))
    return f"## {question.id}\n\n{question.text}\n\n{lines}"


def _line(letter: str, option: Option) -> str:
    strong, verdict = ("**", "Right.") if option.right else ("", "Wrong.")
    return f"- {strong}{letter}. {option.text}{strong}  \n  *{verdict}* {option.why}"


def _options(question: Question) -> str:
    return "\n".join(f"- [ ] {letter}. {option.text}" for letter, option in zip(LETTERS, question.options))


def _short(asked: tuple[Question, ...]) -> str:
    """All answers in one line, for whoever marks thirty sheets."""
    return "In short: " + ", ".join(f"{question.id} **{right(question)[0]}**" for question in asked) + "."


def _asked(lesson: Lesson) -> tuple[Question, ...]:
    found = questions(lesson.number)
    if not found:
        raise LessonError(f"Lesson {lesson.number} has no quiz, and so no key; write quizzes_{lesson.number}.py.")
    return found
