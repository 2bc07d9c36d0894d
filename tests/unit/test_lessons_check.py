"""The engine of ``check``: what it says of stubs, errors, changed input, missing returns, types; what it keeps."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from fmlab.errors import LessonError
from fmlab.lessons import check, hint, progress
from fmlab.lessons.check import is_stub, judge, same
from fmlab.lessons.exercise import Case, Exercise, Invariant, Misconception, exercise
from fmlab.lessons.show import inline

SPEC = Exercise(
    id="90-double", task="Twice x.", reference=lambda x: 2 * x, meets="fmlab.metrics.dice",
    cases=(Case("some numbers", lambda rng: (rng.random(4),), "Multiply by two."),
           Case("an empty list of numbers", lambda rng: (np.zeros(0),), "Nothing stays nothing.", draws=1)),
    misconceptions=(Misconception("That is the square.", lambda x: x**2), Misconception("You index.", lambda x: x[0])),
    invariants=(Invariant("It is not odd: f(-x) = -f(x).", lambda f, rng: (lambda x: same(f(-x), -f(x), 1e-9))(rng.random(3))),),
    hints=("Add x to x.", "2 * x"),
)


@pytest.fixture(autouse=True)
def course(tmp_path, monkeypatch):
    monkeypatch.setenv("FMLAB_COURSE", str(tmp_path / "course"))
    return tmp_path / "course"


def stub_plain(x):
    ...


def stub_doc(x):
    """Twice x."""
    # your code here
    ...


def stub_given(x):
    y = x + 1
    print(y)
    # your code here
    ...


def stub_raises(x):
    raise NotImplementedError


@pytest.mark.parametrize("stub", [None, ..., stub_plain, stub_doc, stub_given, stub_raises, lambda x: None])
def test_a_stub_is_open_and_nothing_is_raised(stub):
    outcome = judge(SPEC, stub)
    assert outcome.status == "open"
    assert "Not written yet" in repr(outcome)


def test_zero_is_an_answer_and_no_stub():
    assert not is_stub(lambda x: 0)
    assert judge(SPEC, lambda x: 0).status == "failed"


def test_right_answer_passes_also_as_a_list():
    assert judge(SPEC, lambda x: [2 * v for v in x]).passed


def test_a_misconception_is_named():
    assert judge(SPEC, lambda x: x * x).message == "That is the square."


def test_a_misconception_is_known_by_its_error_too():
    def first(x):
        return 2 * x if len(x) else x[0]

    assert judge(SPEC, first).message == "You index."


def test_a_broken_law_is_named_when_no_idea_fits():
    assert "not odd" in judge(SPEC, lambda x: 2 * x + 1).message


def test_otherwise_expected_and_given_are_shown():
    message = judge(SPEC, lambda x: 3 * x).message
    assert "some numbers" in message and "your function gives" in message and "Multiply by two." in message


def test_an_error_is_located_in_the_learners_line():
    def broken(x):
        y = 2 * x
        return y + undefined_name  # noqa: F821

    message = judge(SPEC, broken).message
    assert "NameError" in message and "line 3" in message and "return y + undefined_name" in message


def twice(x):
    return 2 * x + undefined_name  # noqa: F821


def test_an_error_in_a_helper_is_located_where_the_learner_calls_it():
    def calls_a_helper(x):
        return twice(x)

    message = judge(SPEC, calls_a_helper).message
    assert "NameError" in message and "in its line 2: `return twice(x)`" in message


def test_changed_input_is_found_and_the_original_is_safe():
    def in_place(x):
        x *= 2
        return x

    assert "changes its input" in judge(SPEC, in_place).message


def test_a_forgotten_return_is_named():
    def forgets(x):
        result = 2 * x
        result.sum()

    assert "`return`" in judge(SPEC, forgets).message


@pytest.mark.parametrize("answer", ["text", {}, None, [[1]], float("nan")])
def test_answers_of_the_wrong_kind_fail_with_words(answer):
    outcome = judge(SPEC, lambda x: answer)
    assert outcome.status in ("failed", "open") and outcome.message
    assert not outcome.passed


def test_a_call_in_place_of_the_function_is_explained():
    assert "brackets" in judge(SPEC, 3.0).message


def test_same_knows_nan_shape_and_type():
    assert same(float("nan"), np.nan, 0) and same([1, 2], np.array([1.0, 2.0]), 0)
    assert not same(1.0, [1.0], 0) and not same(None, np.nan, 0) and not same("a", 1, 0)


def test_same_compares_parts_of_different_shapes_one_by_one():
    y, w = np.ones((2, 3)), np.ones(2)
    assert same((torch.from_numpy(y), [1, 1]), (y, w), 0) and same([[42, 43], [71]], [[42, 43], [71]], 0)
    assert not same((w, y), (y, w), 0) and not same((y, 2 * w), (y, w), 0) and not same(y, (y, w), 0)
    assert not same((y,), (y, w), 0) and not same((y, None), (y, w), 0)
    with_gradient = torch.ones(2, requires_grad=True)
    assert same([with_gradient, with_gradient], [w, w], 0)


def test_a_ragged_argument_does_not_count_as_changed():
    spec = Exercise("90-first", "First ids.", lambda regions: [ids[0] for ids in regions], meets="fmlab.metrics.dice", hints=(),
                    cases=(Case("two regions", lambda rng: ([[42, 43, 71], [45]],), "Take the first."),), misconceptions=())
    assert judge(spec, lambda regions: [ids[0] for ids in regions]).passed
    assert "changes its input" in judge(spec, lambda regions: [ids.pop(0) for ids in regions]).message


def test_right_numbers_that_break_a_law_do_not_pass():
    def trains(f, rng):
        return f(torch.ones(3, requires_grad=True)).requires_grad

    spec = Exercise("90-double", "Twice x.", lambda x: 2 * x, meets="fmlab.metrics.dice", hints=(), misconceptions=(),
                    cases=(Case("some numbers", lambda rng: (torch.from_numpy(rng.random(4)),), "Multiply by two."),),
                    invariants=(Invariant("The gradient is lost.", trains),))
    assert judge(spec, lambda x: 2 * x).passed
    assert judge(spec, lambda x: 2 * x.detach()).message == "The gradient is lost."


def test_unknown_exercise_suggests_the_nearest():
    with pytest.raises(LessonError, match="00-dice"):
        exercise("00-dcie")
    with pytest.raises(LessonError):
        check("77-none", None)


def test_check_records_tries_and_a_pass_stays(course):
    check("00-dice", lambda p, r: 0.5)
    check("00-dice", exercise("00-dice").reference)
    check("00-dice", lambda p, r: 0.5)
    record = json.loads((course / "progress.json").read_text())["exercises"]["00-dice"]
    assert record["tries"] == 3 and record["passed"] is True and "passed_at" in record


def test_an_open_stub_is_not_counted(course):
    check("00-dice", stub_plain)
    assert not (course / "progress.json").exists()


def test_check_says_when_progress_cannot_be_kept(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FMLAB_COURSE", str(tmp_path / "file"))
    outcome = check("00-dice", exercise("00-dice").reference)
    assert outcome.passed and "not saved" in outcome.note


def test_hints_come_in_steps_then_the_solution_is_named():
    count = len(exercise("00-dice").hints)
    boxes = [hint("00-dice") for _ in range(count + 1)]
    assert [len([line for line in box.lines if line[0].isdigit()]) for box in boxes] == [*range(1, count + 1), count]
    assert "solution=True" in boxes[-1].lines[-1]
    assert all("solution=True" not in repr(box) for box in boxes[:-1])


def test_the_box_escapes_what_the_learner_wrote():
    def evil(x):
        raise ValueError("<script>alert(1)</script>")

    html = judge(SPEC, evil)._repr_html_()
    assert "<script>" not in html and "&lt;script&gt;" in html and "<style" not in html


def test_progress_can_be_shown_with_nothing_done():
    assert "Your progress" in repr(progress()) and "<strong>" in progress()._repr_html_()


@pytest.mark.parametrize(("text", "shown"), [
    ("the *logits*, as `a*b*c` *are*", "the <em>logits</em>, as <code>a*b*c</code> <em>are</em>"),
    ("2 * p * r, a*b*c, *two words*.", "2 * p * r, a*b*c, <em>two words</em>."),
    ("<b> **kwargs, *args", "&lt;b&gt; **kwargs, *args")])
def test_words_in_backticks_and_stars_are_set_apart(text, shown):
    assert inline(text) == shown
