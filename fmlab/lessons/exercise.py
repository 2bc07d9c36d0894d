"""What an exercise is: a reference, cases to try, wrong ideas to recognise, hints. One file of them per lesson: checks_NN.py."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np

from fmlab.errors import LessonError


@dataclass(frozen=True)
class Case:
    """One kind of input. what: named in sentences ("two random masks"). make: draws the arguments. advice: said on failure."""

    what: str
    make: Callable[[np.random.Generator], tuple]
    advice: str
    draws: int = 3


@dataclass(frozen=True)
class Misconception:
    """A wrong idea, as the formula of a learner who holds it: who gives the formula's answers is told the message."""

    message: str
    formula: Callable[..., object]


@dataclass(frozen=True)
class Invariant:
    """What must hold for any right answer. holds: given the function and a generator. message: said when it does not."""

    message: str
    holds: Callable[[Callable, np.random.Generator], bool]


@dataclass(frozen=True)
class Exercise:
    """A function that the learner writes.

    id: "00-dice". task: one sentence. reference: the right answer. cases: simple first, edge cases last. meets: dotted name of
    the package's version. hints: from a nudge to nearly the answer, at least two. tolerance: absolute and relative.
    """

    id: str
    task: str
    reference: Callable[..., object]
    cases: tuple[Case, ...]
    misconceptions: tuple[Misconception, ...]
    hints: tuple[str, ...]
    meets: str
    invariants: tuple[Invariant, ...] = ()
    tolerance: float = 1e-6


def exercises(lesson: str) -> tuple[Exercise, ...]:
    """The exercises of a lesson, by its two digits; () where it has none."""
    return table("checks", lesson, "EXERCISES")


def exercise(name: str) -> Exercise:
    """The exercise of that id ("00-dice"); LessonError with the nearest ids if there is none."""
    return find(name, exercises(str(name)[:2]), "exercise")


def find(name: str, entries: tuple, kind: str) -> object:
    """The entry whose id is ``name``; LessonError with the nearest ids if there is none."""
    by_id = {entry.id: entry for entry in entries}
    if isinstance(name, str) and name in by_id:
        return by_id[name]
    near = get_close_matches(str(name), by_id, n=3, cutoff=0.3) or list(by_id)
    known = f"did you mean {' or '.join(near)}?" if near else f"lesson {str(name)[:2]!r} has none."
    raise LessonError(f"There is no {kind} {str(name)[:80]!r}; {known}")


def table(stem: str, lesson: str, name: str) -> tuple:
    """What a lesson's file of exercises or questions holds: ``name`` of module ``stem_lesson``; () without such a file."""
    if not (lesson.isascii() and lesson.isdigit()):  # the name of a module is made of it
        return ()
    module = f"fmlab.lessons.{stem}_{lesson}"
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name != module:  # the table is there, but something that it imports is not
            raise
        return ()
