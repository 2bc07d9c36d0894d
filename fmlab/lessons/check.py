"""``check``: try the learner's function on many inputs, and say in one sentence which idea went wrong.

Order of what is said: not written yet; it stopped with an error, and where; it forgot to return, or changed its input; a wrong
idea that gives exactly these answers; a law that it breaks; and else the input, what was expected and what came.
"""

from __future__ import annotations

import copy
import dis
import inspect
import linecache
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from types import CodeType
from typing import Literal

import numpy as np
import torch

from fmlab.lessons import records
from fmlab.lessons.exercise import Case, Exercise, exercise
from fmlab.lessons.show import Box

STUB_MARK = "# your code here"
_SEED = 20  # fixed, so that the same code always gets the same verdict
_TRIVIAL = {"RESUME", "RETURN_CONST", "LOAD_CONST", "RETURN_VALUE", "NOP", "POP_TOP"}


@dataclass(frozen=True, repr=False)
class Outcome:
    """What ``check`` found. status: "passed", "open" (not written yet) or "failed"; message: one or two sentences."""

    exercise: str
    status: Literal["passed", "open", "failed"]
    message: str
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the exercise is solved."""
        return self.status == "passed"

    def box(self) -> Box:
        """The outcome as words and HTML."""
        title = {"passed": "Passed", "open": "Not written yet", "failed": "Not yet right"}[self.status]
        tone = {"passed": "good", "open": "open", "failed": "look"}[self.status]
        return Box(f"{title}: {self.exercise}", tuple(filter(None, (self.message, self.note))), tone=tone)

    def __repr__(self) -> str:
        return repr(self.box())

    def _repr_html_(self) -> str:
        return self.box()._repr_html_()


@dataclass(frozen=True)
class Trial:
    """One call of the learner's function: its arguments, the reference's answer, and the learner's answer or error."""

    case: Case
    arguments: tuple
    expected: object
    answer: object = None
    error: BaseException | None = None
    changed_input: bool = False


def check(name: str, function: Callable | None) -> Outcome:
    """Try a learner's function on the exercise ``name`` and record the result; never raises because of the learner's code.

    Raises LessonError if there is no such exercise. Works offline.
    """
    spec = exercise(name)
    outcome = judge(spec, function)
    note = "" if outcome.status == "open" else records.record_check(name, outcome.passed)
    return Outcome(outcome.exercise, outcome.status, outcome.message, note)


def judge(spec: Exercise, function: Callable | None) -> Outcome:
    """The verdict on one function, with nothing recorded."""
    if is_stub(function):
        how = f"Write it, run its cell, then run this one again; `hint(\"{spec.id}\")` helps."
        return Outcome(spec.id, "open", f"{spec.task} {how}")
    if not callable(function):
        got = _brief(function)
        return Outcome(spec.id, "failed", f"`check` needs your function itself, and got {got}: leave out the brackets.")
    rng = np.random.default_rng(_SEED)
    for case in spec.cases:
        trials = [_try(spec, function, case, rng) for _ in range(case.draws)]
        wrong = [trial for trial in trials if not _right(trial, spec.tolerance)]
        if wrong and all(isinstance(trial.error, NotImplementedError) for trial in wrong):
            return Outcome(spec.id, "open", f"{spec.task} Your function says that it is not implemented.")
        if wrong:
            return Outcome(spec.id, "failed", _explain(spec, function, wrong))
    if law := _broken_law(spec, function):  # right numbers, but for example with a gradient that is not
        return Outcome(spec.id, "failed", law)
    return Outcome(spec.id, "passed", f"Right on all {sum(c.draws for c in spec.cases)} inputs. "
                   f"Now meet the package's version: `show_source(\"{spec.meets}\")`.")


def is_stub(function: object) -> bool:
    """Whether an exercise is still as it was delivered: nothing, ``...``, or a body that computes nothing and returns None."""
    if function is None or function is ...:
        return True
    code = _code_of(function)
    if code is None:
        return False
    constants = set(map(repr, code.co_consts)) - {"None", "Ellipsis", repr(getattr(function, "__doc__", None))}
    if {step.opname for step in dis.get_instructions(code)} <= _TRIVIAL and not constants:
        return True
    try:
        source = inspect.getsource(function)
    except Exception:  # typed into a console, or its file has changed since: inspect and the tokeniser raise many kinds
        return False
    lines = [line.strip() for line in source.splitlines() if line.strip()]
    return STUB_MARK in lines and lines[-1] == "..."  # lines that the lesson gave stand above the stub


def _code_of(function: object) -> CodeType | None:
    """The code of a function in Python; None for what has none, or only says that it has."""
    try:
        code = function.__code__
    except Exception:  # an object's own __getattr__ may raise anything
        return None
    return code if isinstance(code, CodeType) else None


def _try(spec: Exercise, function: Callable, case: Case, rng: np.random.Generator) -> Trial:
    arguments = case.make(rng)
    expected = spec.reference(*copy.deepcopy(arguments))
    given = copy.deepcopy(arguments)
    answer, error = _call(function, given)
    changed = error is None and not all(same(a, b, 0.0) for a, b in zip(given, arguments, strict=True))
    return Trial(case, arguments, expected, answer, error, changed)


def _call(function: Callable, arguments: tuple) -> tuple[object, BaseException | None]:
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return function(*arguments), None
    except KeyboardInterrupt:  # the learner stops the cell
        raise
    except BaseException as error:  # whatever the learner's code raises, exit() included, is a finding, not a crash
        return None, error


def _right(trial: Trial, tolerance: float) -> bool:
    return trial.error is None and not trial.changed_input and same(trial.answer, trial.expected, tolerance)


def same(answer: object, expected: object, tolerance: float) -> bool:
    """Equal as numbers and in shape; NaN equals NaN. Tensors, arrays, lists and numbers may stand for each other.

    Tuples, lists and dictionaries of parts of different shapes, (Y, w) for example, are compared part by part; words, arrays of
    words and records by ==.
    """
    try:
        a, b = (np.asarray(x.detach().cpu() if isinstance(x, torch.Tensor) else x, dtype=np.float64) for x in (answer, expected))
    except Exception:  # words, ragged lists, tensors with gradient, and objects that raise what they like when they are asked
        if isinstance(expected, str) or is_dataclass(expected):
            return isinstance(answer, type(expected)) and bool(answer == expected)
        if isinstance(expected, np.ndarray):
            return isinstance(answer, np.ndarray) and np.array_equal(answer, expected)
        if isinstance(expected, dict):
            return (isinstance(answer, dict) and answer.keys() == expected.keys()
                    and all(same(answer[key], value, tolerance) for key, value in expected.items()))
        parts = isinstance(answer, list | tuple) and isinstance(expected, list | tuple) and len(answer) == len(expected)
        return parts and all(same(x, y, tolerance) for x, y in zip(answer, expected))
    if (answer is None) != (expected is None) or a.shape != b.shape:
        return False
    return bool(np.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True))


def _explain(spec: Exercise, function: Callable, wrong: list[Trial]) -> str:
    first = wrong[0]
    for idea in spec.misconceptions:
        if all(_thinks_so(idea.formula, trial, spec.tolerance) for trial in wrong):
            return idea.message
    if first.error is not None:
        return f"For {first.case.what} your function stops with {_where(function, first.error)}. {first.case.advice}"
    if first.changed_input:
        return f"For {first.case.what} your function changes its input; the caller still needs it, so work on a copy."
    if first.answer is None:
        return f"For {first.case.what} your function gives nothing back; is the `return` missing?"
    if law := _broken_law(spec, function):
        return law
    return (f"For {first.case.what} {_brief(first.expected)} is right, and your function gives {_brief(first.answer)}. "
            f"{first.case.advice}")


def _broken_law(spec: Exercise, function: Callable) -> str:
    """The message of the first law that does not hold, or ""; a law that cannot be tried says nothing."""
    for law in spec.invariants:
        held, error = _call(law.holds, (function, np.random.default_rng(_SEED)))
        if error is None and not held:
            return law.message
    return ""


def _thinks_so(formula: Callable, trial: Trial, tolerance: float) -> bool:
    """Whether a wrong idea gives the learner's answer, or stops with the same kind of error."""
    answer, error = _call(formula, copy.deepcopy(trial.arguments))
    if trial.error is not None or error is not None:
        return type(error) is type(trial.error)
    return not trial.changed_input and same(trial.answer, answer, tolerance)


def _where(function: Callable, error: BaseException) -> str:
    """The error and the line of the learner's own function that it came from, or that called the helper it came from."""
    code = _code_of(function)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if code and frame.filename == code.co_filename
              and frame.name == code.co_name]
    try:
        said = " ".join(str(error).split())
    except Exception:  # its own __str__ is wrong
        said = ""
    text = f"{type(error).__name__} ({said if len(said) <= 200 else said[:197] + '...'})" if said else type(error).__name__
    if not frames:
        return text
    line = linecache.getline(code.co_filename, frames[-1].lineno).strip()
    offset = frames[-1].lineno - code.co_firstlineno + 1
    return f"{text} in its line {offset}" + (f": `{line}`" if line else "")


def _brief(value: object) -> str:
    try:
        if isinstance(value, torch.Tensor):
            value = value.detach().cpu().numpy()
        if isinstance(value, float | np.floating):
            return f"{value:.4g}"
        text = np.array2string(value, precision=4) if isinstance(value, np.ndarray) else repr(value)
    except Exception:  # a tensor without values, or an object that cannot be shown
        text = f"an object of type {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."
