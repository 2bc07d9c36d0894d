"""The course's outline as its home page shows it: the slides' sections, and the map of systems on their axes A and B."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from fmlab.lessons.source import Lesson
from fmlab.systems import AXES, System, systems

# The slides' own outline; a lesson of several sections stands under its first.
PARTS: dict[str, str] = {
    "": "Before you start",
    "1": "Types of foundation models",
    "2": "How they are used",
    "3": "Volumetric models: pre-training and adaptation",
}
SECTIONS: dict[str, str] = {
    "1.A": "generalist or specialised", "1.B": "2-D or 3-D", "1.C": "with text or without",
    "2.A": "zero-shot and transfer", "2.B": "in-context", "2.C": "interactive",
    "3.A": "how to pre-train", "3.B": "how useful it is", "3.C": "few-shot, efficient fine-tuning",
}


@dataclass(frozen=True)
class Row:
    """A lesson on the home page. page: its file, "" where none was built. about: what one will be able to do, the first goal."""

    number: str
    title: str
    section: str
    about: str
    minutes: float
    page: str


def parts(lessons: Sequence[Lesson], pages: Collection[str]) -> list[tuple[str, list[Row]]]:
    """The lessons under the parts of the slides that they belong to, as (heading, rows); parts without a lesson are left out."""
    rows: dict[str, list[Row]] = {key: [] for key in PARTS}
    for lesson in lessons:
        page = f"{lesson.name}.html"
        about = lesson.goals[0] if lesson.goals else ""
        sections = [one.strip() for one in lesson.section.split(",")]
        words = ", ".join(f"{one} {SECTIONS[one]}" for one in sections if one in SECTIONS)
        part = sections[0][:1] if sections[0][:1] in PARTS else ""
        rows[part].append(Row(lesson.number, lesson.title, words, about, lesson.budget.minutes, page if page in pages else ""))
    return [(f"{key}. {PARTS[key]}" if key else PARTS[key], rows[key]) for key in PARTS if rows[key]]


def grid(pages: Mapping[str, str]) -> list[tuple[str, list[list[tuple[System, str]]]]]:
    """The map: for each value of axis A, at each value of axis B, the systems by year, each with the page of the first of its
    lessons that has one, or "". pages: the file of each lesson's page, by number."""
    def placed(breadth: str, depth: str) -> list[tuple[System, str]]:
        there = sorted((one for one in systems() if one.place[:2] == (breadth, depth)), key=lambda one: one.year)
        return [(one, next((pages[number] for number in one.lessons if number in pages), "")) for one in there]

    return [(breadth, [placed(breadth, depth) for depth in AXES["B"]]) for breadth in AXES["A"]]
