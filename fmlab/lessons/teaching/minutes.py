"""How long a section takes, by a rule: its text, equations, predictions, exercises and questions, scaled to the header's minutes.

The header says what a whole lesson takes a learner alone; the teacher's notes say what it takes in a room. How the minutes lie
within a lesson nobody has measured: they are shared out by the weights below, which is enough to decide what to leave out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fmlab.lessons.source import Lesson
from fmlab.lessons.teaching.asked import asked, asks_only
from fmlab.lessons.teaching.markdown import blocks
from fmlab.lessons.teaching.notes import is_note, notes_of

WORDS_A_MINUTE = 180
EQUATION, PREDICTION, EXERCISE, QUESTION = 0.5, 1.0, 6.0, 1.0
CELL, FIGURE, HANDS = 0.5, 1.0, 3.0  # a cell that is read, a figure that is looked at, something to scroll, click or draw in
_HANDS = re.compile(r"\b(?:view|Canvas|Sketch|five_minutes)\(")
_NUMBERED = re.compile(r"(\d+)\. (.*)")


@dataclass(frozen=True)
class Section:
    """A section of a lesson. number: as its heading says, 0 for what stands before the first. alone, room: minutes."""

    number: int
    title: str
    alone: float
    room: float


def sections(lesson: Lesson) -> tuple[Section, ...]:
    """The sections of a lesson with their share of its minutes; their sum is the header's."""
    weights: dict[int, float] = {0: 0.0}
    titles = {0: "Opening"}
    at = 0
    for cell in lesson.notebook().cells:
        if is_note(cell):
            continue
        if cell.cell_type == "code":
            weights[at] += _code(cell.source)
            continue
        for block in blocks(cell.source):
            if block.kind == "heading" and (found := _NUMBERED.match(block.text)):
                at = int(found[1])
                titles[at] = found[2]
                weights.setdefault(at, 0.0)
            weights[at] += _text(block.text, block.kind == "math")
    whole = sum(weights.values()) or 1.0
    alone = lesson.budget.minutes
    room = room_minutes(lesson)
    return tuple(Section(number, titles[number], alone * weight / whole, room * weight / whole)
                 for number, weight in weights.items())


def room_minutes(lesson: Lesson) -> float:
    """Minutes in a room, as the teacher's notes say; where they do not, a third more than the header's."""
    return float(notes_of(lesson).room or round(lesson.budget.minutes * 4 / 3))


def _text(text: str, equation: bool) -> float:
    return EQUATION if equation else len(text.split()) / WORDS_A_MINUTE


def _code(source: str) -> float:
    costs = {"predict": PREDICTION, "quiz": QUESTION, "check": EXERCISE}
    asking = sum(costs.get(one.call, 0.0) for one in asked(source) if one.call != "predict" or one.question)
    if asks_only(source):
        return asking
    return asking + CELL + (HANDS if _HANDS.search(source) else FIGURE if "figure(" in source else 0.0)
