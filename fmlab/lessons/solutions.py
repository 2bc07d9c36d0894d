"""Find what a lesson's source holds about an exercise: the learner's function, its solution, the calls of ``check``."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from fmlab.errors import LessonError
from fmlab.lessons.build import solved
from fmlab.lessons.source import Lesson


@dataclass(frozen=True)
class Checked:
    """A call ``check("00-dice", my_dice)``: the exercise's id, the function's name, the index of the code cell."""

    exercise: str
    function: str
    cell: int


def code_cells(lesson: Lesson) -> list[str]:
    """The source of every code cell, solutions included."""
    return [cell.source for cell in lesson.notebook().cells if cell.cell_type == "code"]


def parsed(source: str, lesson: Lesson) -> ast.Module:
    """A cell as a syntax tree; LessonError names the lesson if it is no Python."""
    try:
        return ast.parse(source)
    except SyntaxError as error:
        raise LessonError(f"{lesson.path} has a code cell that is no Python ({error}); fix it.") from error


def calls(lesson: Lesson, name: str) -> list[tuple[int, ast.Call]]:
    """Every call of a plain function name, with the index of its code cell."""
    found = []
    for index, source in enumerate(code_cells(lesson)):
        for node in ast.walk(parsed(source, lesson)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
                found.append((index, node))
    return found


def checks_of(lesson: Lesson) -> list[Checked]:
    """Every ``check("id", function)`` of a lesson; LessonError for one that is written in another way."""
    found = []
    for index, call in calls(lesson, "check"):
        match call.args:
            case [ast.Constant(value=str(name)), ast.Name(id=function)]:
                found.append(Checked(name, function, index))
            case _:
                raise LessonError(f"{lesson.path}: write check(\"id\", function), and not {ast.unparse(call)}.")
    return found


def solution_source(lesson: Lesson, exercise: str) -> str | None:
    """The source of the function that solves an exercise, without the mark; None if the lesson has none."""
    names = {checked.function for checked in checks_of(lesson) if checked.exercise == exercise}
    for source in code_cells(lesson):
        for node in parsed(source, lesson).body:
            if isinstance(node, ast.FunctionDef) and node.name in names:
                return solved("\n".join(source.splitlines()[node.lineno - 1:node.end_lineno]))
    return None


def solution_function(lesson: Lesson, exercise: str) -> object:
    """The solution as a function: the lesson's imports are run, then its definition. LessonError if there is none."""
    source = solution_source(lesson, exercise)
    if source is None:
        raise LessonError(f"{lesson.path} defines no function for the exercise {exercise!r}; write one and `check` it.")
    statements = [node for cell in code_cells(lesson) for node in parsed(cell, lesson).body]
    imports = [node for node in statements if isinstance(node, ast.Import | ast.ImportFrom)]
    space: dict[str, object] = {}
    exec("\n".join(map(ast.unparse, imports)) + "\n" + source, space)  # the project's own lesson, as its notebook runs it
    names = [checked.function for checked in checks_of(lesson) if checked.exercise == exercise]
    return space[names[0]]
