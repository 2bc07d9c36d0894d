"""``hint``: each call shows one step more, then says that the solution exists; ``solution=True`` shows it."""

from __future__ import annotations

from fmlab.errors import LessonError
from fmlab.lessons import records
from fmlab.lessons.exercise import exercise
from fmlab.lessons.show import Box
from fmlab.lessons.solutions import solution_source
from fmlab.lessons.source import lesson


def hint(name: str, solution: bool = False) -> Box:
    """The hints that you have had for an exercise and the next one; with ``solution=True`` the lesson's own solution.

    Raises LessonError if there is no such exercise.
    """
    spec = exercise(name)
    if solution:
        note = records.update("exercises", name, lambda old: old | {"solution_seen": True})
        return Box(f"Solution of {name}", (note,) if note else (), code=_solution(name))
    seen = max(0, records.count(records.record("exercises", name), "hints"))
    shown = min(seen + 1, len(spec.hints))
    records.update("exercises", name, lambda old: old | {"hints": shown})
    lines = [f"{number}. {text}" for number, text in enumerate(spec.hints[:shown], start=1)]
    if seen >= len(spec.hints):
        lines.append(f"That was the last hint. The solution: `hint(\"{name}\", solution=True)`")
    elif shown < len(spec.hints):
        lines.append("Run this cell again for the next hint.")
    return Box(f"Hint {shown} of {len(spec.hints)}: {name}", tuple(lines))


def _solution(name: str) -> str:
    found = solution_source(lesson(name[:2]), name)
    if found is None:
        raise LessonError(f"Lesson {name[:2]} has no solution of {name!r}; this is a fault of the lesson, please report it.")
    return found
