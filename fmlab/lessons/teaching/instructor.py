"""The teacher's notebook: the whole lesson with notes and solutions, with hints and wrong ideas at each exercise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fmlab.lessons.build import notebook
from fmlab.lessons.exercise import exercise
from fmlab.lessons.quiz import questions
from fmlab.lessons.source import Lesson
from fmlab.lessons.teaching.asked import asked
from fmlab.lessons.teaching.cells import numbered, text_cell
from fmlab.lessons.teaching.key import answered
from fmlab.lessons.teaching.notes import is_note

if TYPE_CHECKING:
    from nbformat import NotebookNode


def instructor(lesson: Lesson) -> NotebookNode:
    """The notebook without outputs. LessonError if the lesson asks for an exercise that there is not."""
    made = notebook(lesson, "solution")
    quiz = {question.id: question for question in questions(lesson.number)}
    cells = []
    for cell in made.cells:
        if is_note(cell):
            cell.source = "\n".join(f"> {line}".rstrip() for line in cell.source.splitlines())  # set apart from the lesson's text
        cells.append(cell)
        if cell.cell_type == "code":
            for one in asked(cell.source):
                if one.call == "check":
                    cells.append(text_cell(helps(one.name), "instructor"))
                if one.call == "quiz" and one.name in quiz:
                    cells.append(text_cell("#" + answered(quiz[one.name]), "instructor"))
    made.cells = cells
    return numbered(made, "instructor")


def helps(name: str) -> str:
    """The hints of an exercise and the wrong ideas that ``check`` knows, as Markdown."""
    spec = exercise(name)
    hints = "\n".join(f"{number}. {text}" for number, text in enumerate(spec.hints, start=1))
    wrong = "\n".join(f"- {idea.message}" for idea in spec.misconceptions)
    known = f"\n\n**Wrong ideas that `check` answers**\n\n{wrong}" if wrong else ""
    return f"**Hints of {name}, in their order**\n\n{hints}{known}"
