"""What a lesson must keep to, read from its source: length, exercises, hints, solutions."""

from __future__ import annotations

import ast

from fmlab.errors import LessonError
from fmlab.lessons.check import judge
from fmlab.lessons.exercise import exercises
from fmlab.lessons.quiz import questions
from fmlab.lessons.solutions import calls, checks_of, code_cells, solution_function
from fmlab.lessons.source import Lesson

LINES_A_LESSON = 150
LINES_A_CELL = 15
SHOWN_LAST = ("figure", "hint", "predict", "quiz", "show_source", "verdict", "view")  # seen as a last line, or by display()


def lint(lesson: Lesson) -> tuple[str, ...]:
    """One sentence for each rule that a lesson breaks; () for a lesson in order."""
    return (*_lengths(lesson), *_exercises(lesson), *_quizzes(lesson), *_unseen(lesson))


def code_lines(source: str) -> int:
    """Lines that are neither blank nor only a comment."""
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in source.splitlines())


def _lengths(lesson: Lesson) -> list[str]:
    counts = [code_lines(source) for source in code_cells(lesson)]
    found = [f"{lesson.path.name}: code cell {index} has {count} lines; at most {LINES_A_CELL}."
             for index, count in enumerate(counts) if count > LINES_A_CELL]
    if sum(counts) > LINES_A_LESSON:
        found.append(f"{lesson.path.name} has {sum(counts)} code lines; at most {LINES_A_LESSON}.")
    return found


def _exercises(lesson: Lesson) -> list[str]:
    specs = {spec.id: spec for spec in exercises(lesson.number)}
    used = {checked.exercise for checked in checks_of(lesson)}
    found = [f"{lesson.path.name} checks {name!r}, which checks_{lesson.number}.py does not have."
             for name in sorted(used - specs.keys())]
    found += [f"{lesson.path.name} never checks its exercise {name!r}." for name in sorted(specs.keys() - used)]
    for name in sorted(used & specs.keys()):
        if len(specs[name].hints) < 2:
            found.append(f"{name} has {len(specs[name].hints)} hints; at least 2.")
        try:
            outcome = judge(specs[name], solution_function(lesson, name))
        except LessonError as error:
            found.append(str(error))
            continue
        if not outcome.passed:
            found.append(f"The solution of {name} in {lesson.path.name} does not pass: {outcome.message}")
    return found


def _quizzes(lesson: Lesson) -> list[str]:
    known = {question.id: question for question in questions(lesson.number)}
    asked = {call.args[0].value for _, call in calls(lesson, "quiz") if call.args and hasattr(call.args[0], "value")}
    found = [f"{lesson.path.name} asks {name!r}, which quizzes_{lesson.number}.py does not have."
             for name in sorted(asked - known.keys())]
    for name, question in known.items():
        if sum(option.right for option in question.options) != 1 or not all(option.why.strip() for option in question.options):
            found.append(f"{name} must have one right option and explain every one.")
    return found


def _unseen(lesson: Lesson) -> list[str]:
    """Pictures and questions that nobody sees: made in an `if` or a loop, or before a cell's last line, without display()."""
    found = []
    for index, source in enumerate(code_cells(lesson)):
        tree = ast.parse(source)
        for node in ast.walk(tree):
            if not isinstance(node, ast.Expr) or node is tree.body[-1]:
                continue
            called = getattr(node.value, "func", None)
            if (name := getattr(called, "id", getattr(called, "attr", ""))) in SHOWN_LAST:
                found.append(f"{lesson.path.name}: {name}() in code cell {index} is not its last line; put it into display().")
    return found
