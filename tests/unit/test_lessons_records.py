"""progress.json: never lost, never half written, found from a notebook; quiz and predictions through it."""

from __future__ import annotations

import json
import threading

import pytest

from fmlab.errors import LessonError
from fmlab.lessons import predict, quiz, records
from fmlab.lessons.quiz import questions


@pytest.fixture(autouse=True)
def course(tmp_path, monkeypatch):
    monkeypatch.setenv("FMLAB_COURSE", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("content", ["{ broken", "[]", '{"exercises": 3}', '{"exercises": {"00-dice": 1}}', "\x00\xff", ""])
def test_a_damaged_file_is_moved_aside_and_kept(course, content):
    (course / "progress.json").write_text(content, encoding="latin-1")
    records.record_check("00-dice", True)
    assert (course / "progress.json.damaged-1").read_text(encoding="latin-1") == content
    assert records.record("exercises", "00-dice")["passed"] is True


def test_a_second_damage_does_not_overwrite_the_first(course):
    for text in ("first", "second"):
        (course / "progress.json").write_text(text)
        records.read()
    assert [(course / f"progress.json.damaged-{n}").read_text() for n in (1, 2)] == ["first", "second"]


def test_what_a_later_version_adds_is_kept(course):
    (course / "progress.json").write_text(json.dumps({"later": 1, "exercises": {"09-x": {"passed": True}}}))
    records.record_check("00-dice", False)
    found = json.loads((course / "progress.json").read_text())
    assert found["later"] == 1 and found["exercises"]["09-x"] == {"passed": True}


def test_two_notebooks_at_once_lose_nothing(course):
    def work(name):
        for _ in range(10):
            records.record_check(name, False)

    threads = [threading.Thread(target=work, args=(f"00-{n}",)) for n in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert [records.record("exercises", f"00-{n}")["tries"] for n in range(4)] == [10] * 4


def test_no_temporary_file_stays(course):
    records.record_check("00-dice", True)
    assert sorted(path.name for path in course.iterdir()) in (["progress.json"], [".progress.lock", "progress.json"])


def test_the_course_folder_is_found_from_the_notebooks_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("FMLAB_COURSE")
    monkeypatch.chdir(tmp_path)
    assert records.course_folder() == tmp_path / "my_course"
    (tmp_path / records.DELIVERED).write_text("{}")
    (deep := tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert records.course_folder() == tmp_path


def test_every_option_of_every_question_is_explained_and_one_is_right():
    for question in questions("00"):
        boxes = [quiz(question.id, number) for number in range(1, len(question.options) + 1)]
        assert sum(box.title.startswith("Right") for box in boxes) == 1
        assert all(len(box.lines[0]) > 30 for box in boxes)
        assert len({box.lines[0] for box in boxes}) == len(boxes)


def test_quiz_keeps_tries_and_the_first_answer():
    wrong, right = (next(i for i, o in enumerate(questions("00")[0].options, 1) if o.right is kind) for kind in (False, True))
    quiz("00-q1", wrong)
    quiz("00-q1", right)
    quiz("00-q1", wrong)
    record = records.record("quizzes", "00-q1")
    assert record["tries"] == 3 and record["first_try"] is False and record["right"] is True


def test_asking_alone_records_nothing(course):
    ask = quiz("00-q1")
    assert "Answer by number" in repr(ask)
    assert not (course / "progress.json").exists()


def test_quiz_has_three_renderings_of_one_question():
    bundle = quiz("00-q1")._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["text/html"].count("<details>") == len(questions("00")[0].options)
    assert "<script" not in bundle["text/html"] and "1." in bundle["text/plain"]


def test_a_pressed_button_shows_the_explanation_and_is_kept():
    from ipywidgets import Button

    form = quiz("00-q1").widget()
    buttons = [child for row in form.children if hasattr(row, "children") for child in row.children if isinstance(child, Button)]
    buttons[0].click()
    assert questions("00")[0].options[0].why[:20] in form.children[-1].value.replace("&#x27;", "'")
    assert records.record("quizzes", "00-q1")["answer"] == 1


@pytest.mark.parametrize("answer", [0, 99, -1, "1", True, 1.0])
def test_an_answer_that_is_not_offered_is_refused(answer):
    with pytest.raises(LessonError, match="choose a number"):
        quiz("00-q1", answer)


def test_unknown_question_suggests_the_nearest():
    with pytest.raises(LessonError, match="did you mean 00-q1"):
        quiz("00-q11")


def test_a_prediction_is_shown_again_and_the_first_counts():
    assert "no prediction" in predict("00-p1").title
    predict("00-p1", "Up or down?", ["up", "down"], choice=2)
    box = predict("00-p1", "Up or down?", ["up", "down"], choice=1)
    assert "first prediction is kept: down" in " ".join(box.lines)
    assert predict("00-p1").title == "You predicted: down"


def test_a_prediction_does_not_give_the_answer_away():
    html = predict("00-p1", "Up or down?", ["up", "down"])._repr_html_()
    assert "<details>" not in html and "up" in html


def test_a_prediction_needs_options():
    with pytest.raises(LessonError, match="two options"):
        predict("00-p1", "Up?", ["up"])
