"""Half a day and a whole day: which lessons, when, what to leave out, and what thirty laptops need, computed from the headers.

A section that is left out is not cut: its cells run, since later ones may need what they make, and nobody stops at them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil

from fmlab.errors import LessonError
from fmlab.lessons.source import Lesson, lesson
from fmlab.lessons.teaching.minutes import Section, sections

LAPTOPS = 30
BEGIN = 9 * 60  # minutes after midnight
STEP = 5  # minutes are rounded up to so many


@dataclass(frozen=True)
class Stop:
    """A lesson of a day. skipped: the numbers of the sections to leave out."""

    number: str
    skipped: tuple[int, ...] = ()


@dataclass(frozen=True)
class Pause:
    """Something that is no lesson."""

    what: str
    minutes: int


@dataclass(frozen=True)
class Day:
    """A course of one day. minutes: from the door to the end, breaks included, which must not be passed."""

    name: str
    minutes: int
    items: tuple[Stop | Pause, ...]


@dataclass(frozen=True)
class Row:
    """One line of a day. begin, end: minutes after midnight. skipped: to leave out. seconds: what all cells take."""

    begin: int
    end: int
    what: str
    skipped: tuple[Section, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class Need:
    """What a machine needs. megabytes: to download, an upper bound, as lessons share files. gigabytes: peak memory."""

    megabytes: float
    gigabytes: float
    hardware: str


HALF_DAY = Day("Half a day", 4 * 60, (
    Stop("00", (3, 6, 8, 10)), Pause("Break", 15), Stop("06", (5, 6, 8, 9, 11)), Pause("Break", 15),
    Stop("08", (2, 6, 8, 9, 11))))
FULL_DAY = Day("A whole day", 8 * 60, (
    Stop("00", (3, 8, 10)), Pause("Break", 15), Stop("06", (5, 6, 8, 11)), Pause("Lunch", 60), Stop("08", (2, 6, 8, 11)),
    Pause("Break", 15), Stop("12", (6, 9)), Stop("16", (5, 6, 8, 10)), Pause("Open questions, quiz keys", 20)))
DAYS = {"half": HALF_DAY, "full": FULL_DAY}


def rows(day: Day) -> tuple[Row, ...]:
    """The day's lines, one after the other from nine o'clock. LessonError for a lesson or section that is not there."""
    found, at = [], BEGIN
    for item in day.items:
        row = _pause(item, at) if isinstance(item, Pause) else _stop(item, at)
        found.append(row)
        at = row.end
    return tuple(found)


def need(day: Day) -> Need:
    """What each machine needs for all of a day's lessons."""
    budgets = [lesson(item.number).budget for item in day.items if isinstance(item, Stop)]
    return Need(sum(budget.download_mb for budget in budgets), max(budget.gigabytes for budget in budgets), budgets[0].hardware)


def markdown(days: Sequence[Day] = (HALF_DAY, FULL_DAY)) -> str:
    """The days as Markdown tables, and what a room needs."""
    return "\n\n".join(_table(day) for day in days)


def _pause(item: Pause, at: int) -> Row:
    return Row(at, at + item.minutes, item.what)


def _stop(stop: Stop, at: int) -> Row:
    found = lesson(stop.number)
    there = _sections(found)
    if unknown := set(stop.skipped) - {section.number for section in there}:
        raise LessonError(f"The plan leaves out section {min(unknown)} of lesson {stop.number}, which has none such; "
                          "mend fmlab/lessons/teaching/plan.py.")
    skipped = tuple(section for section in there if section.number in stop.skipped)
    minutes = STEP * ceil(round(sum(section.room for section in there if section not in skipped), 6) / STEP)
    return Row(at, at + minutes, f"{found.number} {found.title}", skipped, found.budget.seconds)


@cache
def _sections(found: Lesson) -> tuple[Section, ...]:
    return sections(found)


def _table(day: Day) -> str:
    lines = rows(day)
    asks = need(day)
    taught = sum(row.end - row.begin for row in lines if row.seconds)
    head = (f"**{day.name}**: {taught} minutes of lessons, {lines[-1].end - BEGIN} with breaks.\n\n"
            "| when | what | minutes | leave out | all cells take |\n|---|---|---|---|---|")
    body = "\n".join(map(_line, lines))
    one = f"{asks.gigabytes:g} GB of free memory ({asks.hardware}), at most {asks.megabytes:g} MB of data"
    room = f"{LAPTOPS} laptops that each download it: {LAPTOPS * asks.megabytes:,.0f} MB; from a folder: none."
    return f"{head}\n{body}\n\nOne machine: {one}. {room}"


def _line(row: Row) -> str:
    when = f"{_clock(row.begin)}-{_clock(row.end)}"
    return f"| {when} | {row.what} | {row.end - row.begin} | {_left_out(row)} | {_seconds(row)} |"


def _left_out(row: Row) -> str:
    return "; ".join(f"{section.number} {section.title}" for section in row.skipped)


def _seconds(row: Row) -> str:
    return f"{row.seconds:g} s" if row.seconds else ""


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
