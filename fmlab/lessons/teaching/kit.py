"""What is made for a teacher, as files: which kinds there are, and what they are called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from fmlab.errors import LessonError
from fmlab.lessons.build import as_bytes
from fmlab.lessons.quiz import questions
from fmlab.lessons.source import Lesson
from fmlab.lessons.teaching.deck import deck
from fmlab.lessons.teaching.instructor import instructor
from fmlab.lessons.teaching.key import key, sheet
from fmlab.lessons.teaching.page import page
from fmlab.lessons.teaching.plan import markdown
from fmlab.lessons.teaching.recall import recall
from fmlab.lessons.teaching.results import results
from fmlab.lessons.teaching.slides import slides
from fmlab.lessons.teaching.write import write

Kind = Literal["notes", "slides", "key", "recall"]
KINDS: tuple[Kind, ...] = ("notes", "slides", "key", "recall")


def teach(lessons: Sequence[Lesson], folder: Path, kinds: Sequence[Kind] = KINDS, runs: Path | None = None) -> tuple[Path, ...]:
    """Write what is asked for into a folder; returns the files that are new or newer.

    runs: the folder of executed lessons, whose figures go on the slides. Raises LessonError for a lesson without a quiz whose key
    alone is asked for, for a file that was changed since, and for a folder that cannot be written.
    """
    files: dict[str, bytes | str] = {}
    for lesson in lessons:
        for kind in kinds:
            if kind == "key" and len(kinds) > 1 and not questions(lesson.number):
                continue
            files |= dict(_made(lesson, kind, runs))
    if not files:
        raise LessonError("There is no lesson to make anything for; `fmlab list` says which there are.")
    return write({name: content.encode() if isinstance(content, str) else content for name, content in files.items()}, folder)


def teach_plan(folder: Path) -> tuple[Path, ...]:
    """Write the plan of half a day and of a whole day as Markdown and as a page."""
    text = f"# Plan of the course\n\n{markdown()}\n"
    return write({"plan.md": text.encode(), "plan.html": page(text, "Plan of the course").encode()}, folder)


def _made(lesson: Lesson, kind: Kind, runs: Path | None) -> list[tuple[str, bytes | str]]:
    name = lesson.name
    if kind == "notes":
        return [(f"{name}.instructor.ipynb", as_bytes(instructor(lesson)))]
    if kind == "recall":
        return [(f"{name}.recall.ipynb", as_bytes(recall(lesson)))]
    if kind == "slides":
        return [(f"{name}.slides.html", deck(lesson, slides(lesson, results(lesson, runs))))]
    answers, asks = key(lesson), sheet(lesson)
    title = f"{lesson.number} {lesson.title}"
    return [(f"{name}.key.md", answers), (f"{name}.key.html", page(answers, f"{title}: quiz key")),
            (f"{name}.questions.md", asks), (f"{name}.questions.html", page(asks, f"{title}: questions"))]
