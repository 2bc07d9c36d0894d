"""``check`` and its neighbours with whatever a learner may hand in: an outcome in words, never a crash, and progress kept."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest
import torch
from fuzzing import Fuzz, contents, examples, soon
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from fmlab.errors import LessonError
from fmlab.lessons import check, hint, predict, quiz, records
from fmlab.lessons.check import Outcome, judge
from fmlab.lessons.exercise import Case, Exercise, Invariant, Misconception, exercise

SPEC = Exercise(
    id="90-double", task="Twice x.", reference=lambda x: 2 * x, meets="fmlab.metrics.dice",
    cases=(Case("some numbers", lambda rng: (rng.random(4),), "Multiply by two."),
           Case("a tensor", lambda rng: (torch.tensor(rng.random(3), requires_grad=True),), "A tensor too.", draws=1)),
    misconceptions=(Misconception("That is the square.", lambda x: x**2), Misconception("You index.", lambda x: x[9])),
    invariants=(Invariant("It is not odd.", lambda f, rng: bool((f(-rng.random(3)) < 0).all())),), hints=("Add x.", "2 * x"),
)
CHEAP = ("00-dice", "00-world", "01-place", "11-merge", "13-fold", "17-trained")


class Hostile:
    """Raises at whatever it is asked."""

    def _no(self, *_: object) -> None:
        raise self.error

    error: BaseException = ZeroDivisionError("no\nway")
    __array__ = __len__ = __iter__ = __float__ = __bool__ = __eq__ = __repr__ = __str__ = __getattr__ = _no
    __hash__ = None


class Leaving(Hostile):
    error = AttributeError("gone")


class Speechless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class CallMe:
    """A callable that is no function, with a __code__ that is no code."""

    __code__ = "code"

    def __call__(self, *_: object) -> int:
        return 3


def endless(*_: object) -> object:
    return endless()


def exit_function(*_: object) -> None:
    sys.exit("bye")


def long_error(*_: object) -> None:
    raise ValueError("word\n" * 100_000)


_SHAPES = nps.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
_ARRAYS = st.one_of(*(nps.arrays(kind, _SHAPES) for kind in (np.float32, np.int8, np.uint64, np.bool_, np.complex64, "U3")))
_PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.complex_numbers(), st.text(max_size=5),
                   st.binary(max_size=5))
_NESTED = st.recursive(_PLAIN, lambda inner: st.one_of(st.lists(inner, max_size=4), st.tuples(inner, inner),
                                                        st.dictionaries(st.text(max_size=2), inner, max_size=3)), max_leaves=8)
_LOOP: list = []
_LOOP.append(_LOOP)
_OBJECTS = np.empty(4, dtype=object)
for place in range(4):
    _OBJECTS[place] = Hostile()
_SPECIAL = st.sampled_from([
    Hostile(), Leaving(), Hostile, object(), _LOOP, range(4), (k for k in range(4)), np.zeros((0, 4)), np.full(4, np.nan), np.inf,
    np.broadcast_to(np.float32(0), (10**6,) * 3), torch.zeros(1).expand(10**6, 10**6, 10**6), torch.zeros(4, device="meta"),
    torch.zeros(4).to_sparse(), torch.zeros(4, dtype=torch.complex64), torch.zeros(4, dtype=torch.bfloat16),
    [torch.zeros(2)] * 4, "x" * 10**6,
    np.array([None, "x"], dtype=object), np.ma.masked_array([1.0, 2], [True, False]), {1, 2}, 10**400, "1.0",
    torch.zeros(4, requires_grad=True), SPEC, print, _OBJECTS, float("nan"), np.float16(1), [[1], [1, 2]],
    {}.keys(), [Hostile()] * 4, (Leaving(),), np.datetime64("2026-11-28")])
_ANSWERS = st.one_of(_SPECIAL, _ARRAYS, _NESTED)
_ERRORS = st.sampled_from([ValueError("no"), KeyError("x"), ZeroDivisionError(), MemoryError(), RecursionError("deep"),
                           Speechless(), StopIteration(3), GeneratorExit(), SystemExit(1), Warning("w"), BaseException(),
                           NotImplementedError(), ExceptionGroup("many", [ValueError("one")]),
                           UnicodeDecodeError("utf8", b"\xff", 0, 1, "bad")])
_READY = st.sampled_from([endless, exit_function, long_error, CallMe(), print, int, Hostile, Hostile(), 3, "text", [], np.zeros,
                          ..., lambda: 0, lambda *a, b: 0, torch.zeros(2), type("Odd", (), {"__call__": 5})(), iter])


@st.composite
def functions(draw) -> object:
    """A function that answers, raises, spoils its input, prints, or does first one and then another."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(_READY)
    answer, error = draw(_ANSWERS), draw(st.none() | _ERRORS) if kind < 5 else None
    spoil, when = draw(st.sampled_from(["", "", "fill", "clear", "print", "type"])), draw(st.integers(0, 4))
    calls = []

    def learners(*arguments: object) -> object:
        calls.append(0)
        for argument in arguments:
            spoiled(argument, spoil)
        if error is not None and len(calls) > when:
            raise error
        return answer if len(calls) % (when + 1) == 0 or when < 3 else SPEC.reference(arguments[0])

    return learners


def spoiled(argument: object, how: str) -> None:
    """Change an argument in place, as far as it lets itself be changed."""
    try:
        if how == "fill":
            argument[...] = np.nan
        elif how == "clear":
            argument.clear()
        elif how == "type":
            argument.resize(0, refcheck=False)
        elif how == "print":
            print("\x1b[31m", argument, "\ud800")
    except Exception:  # it is no such thing
        pass


def in_words(outcome: Outcome) -> None:
    """An outcome that can be shown in a notebook, in a terminal, and kept."""
    assert isinstance(outcome, Outcome) and outcome.status in ("passed", "open", "failed")
    assert 10 < len(outcome.message) < 3_000 and isinstance(repr(outcome) + outcome._repr_html_(), str)
    json.dumps(outcome.message)


@pytest.mark.filterwarnings("ignore")
def test_fuzz_check(capsys):
    fuzz = Fuzz("check")

    @examples("check")
    @given(functions())
    def run(function):
        in_words(fuzz.hold(lambda: judge(SPEC, function)))

    run()
    capsys.readouterr()
    fuzz.tell(both=False)


@pytest.mark.filterwarnings("ignore")
def test_fuzz_exercise(tmp_path, capsys):
    """The lessons' own exercises, with what they record."""
    fuzz = Fuzz("exercise")
    tries: dict[str, int] = {}

    @examples("exercise")
    @given(st.sampled_from(CHEAP), functions())
    def run(name, function):
        outcome = fuzz.hold(lambda: check(name, function), tmp_path, but=("progress.json", ".progress"))
        in_words(outcome)
        tries[name] = tries.get(name, 0) + (outcome.status != "open")

    run()
    assert {name: records.record("exercises", name).get("tries", 0) for name in tries} == tries
    capsys.readouterr()
    fuzz.tell(both=False)


_WRONG = ["00", "00-", "..", "a.", "00-dice\n", "99-x", "-1", "٠٠-dice", "\0\0", "é-", "0" * 10**4]
_NAMES = st.one_of(st.text(max_size=12), st.sampled_from(_WRONG), st.integers(), st.none(), st.floats(), st.binary(max_size=4))


def test_fuzz_names():
    """No name makes anything but an answer or a LessonError; none leads to another module."""
    fuzz, before = Fuzz("names"), set(sys.modules)

    @examples("names")
    @given(_NAMES, st.sampled_from([check, hint, quiz, exercise]))
    def run(name, call):
        arguments = (name, None) if call is check else (name,)
        assert isinstance(fuzz.hold(lambda: call(*arguments)), LessonError)

    run()
    new = {name for name in set(sys.modules) - before if name.startswith("fmlab")}
    assert not {name for name in new if re.match(r"fmlab\.lessons\.(checks|quizzes)", name) and not name[-2:].isdecimal()}
    fuzz.tell(both=False)


def test_an_interrupt_still_interrupts():
    def stopped(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge(SPEC, stopped)


@pytest.mark.parametrize("function", [endless, exit_function, long_error])
def test_recursion_exit_and_a_long_error_are_findings_with_their_line(function):
    message = judge(SPEC, function).message
    assert "stops with" in message and "in its line" in message and len(message) < 500


def test_what_a_learner_prints_is_left_to_them(capsys):
    judge(SPEC, lambda x: print("hello"))
    assert "hello" in capsys.readouterr().out


def test_spoiled_input_does_not_reach_the_next_trial():
    seen = []

    def spoils(x):
        seen.append(np.array(x.detach() if isinstance(x, torch.Tensor) else x, copy=True))
        answer = 2 * x
        (x.data if isinstance(x, torch.Tensor) else x)[...] = 0
        return answer

    with soon():
        assert "changes its input" in judge(SPEC, spoils).message
    assert all(values.any() for values in seen)


def test_predictions_of_any_words_are_kept(tmp_path):
    for number, text in enumerate(["\ud800", "a\0b", "<b>", "é" * 9999, "", " ", "\u202e"]):
        predict(f"00-p{number}", text, [text, "other"], choice=1)
        assert predict(f"00-p{number}").title.startswith("You predicted")
    assert not [name for name in contents(tmp_path) if "damaged" in name]
