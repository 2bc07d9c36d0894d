"""Lesson 01: right answers pass, whatever their style, and the exercises are what the package does."""

from __future__ import annotations

import numpy as np
import pytest

from fmlab import systems, templates
from fmlab.lessons.check import judge, same
from fmlab.lessons.exercise import exercise
from fmlab.lessons.quiz import questions
from fmlab.systems import FREE


def place_by_questions(images, learnt, reads, text):
    breadth = "medical images"
    if "photographs" in images:
        breadth = "natural images"
    elif len(images) == 1 and images[0] != "many":
        breadth = "one field"
    if reads == "3-D":
        depth = {"2-D": "2-D to 3-D", "2-D and 3-D": "2-D to 3-D", "3-D": "3-D"}[learnt]
    else:
        depth = "2-D"
    return [breadth, depth, "images and text" if len(text) > 0 else "images"]


def usable_in_a_loop(systems, reads, usage):
    found = []
    for one in systems:
        if not one.has_weights or one.weights_licence not in FREE:
            continue
        if one.reads == reads and usage in one.usage:
            found.append(one.key)
    return found


def usable_by_sets(systems, reads, usage):
    return tuple(one.key for one in systems
                 if {usage} <= set(one.usage) and (one.reads, one.has_weights) == (reads, True) and one.weights_licence in FREE)


def known_by_repetition(w, scans):
    return np.repeat(w, scans, axis=0).mean(0)


def known_by_average(w, scans):
    return np.average(w, axis=0, weights=scans)


def known_in_loops(w, scans):
    return [sum(n for row, n in zip(w, scans) if row[k]) / sum(scans) for k in range(len(w[0]))]


RIGHT = [("01-place", place_by_questions), ("01-usable", usable_in_a_loop), ("01-usable", usable_by_sets),
         ("01-known", known_by_repetition), ("01-known", known_by_average), ("01-known", known_in_loops)]


@pytest.mark.parametrize(("name", "function"), RIGHT, ids=[function.__name__ for _, function in RIGHT])
def test_right_answers_pass(name, function):
    outcome = judge(exercise(name), function)
    assert outcome.passed, outcome.message


def test_the_last_hints_are_nearly_the_answer():
    def placed(images, learnt, reads, text):
        words = "images and text" if text else "images"
        depth = "2-D" if reads == "2-D" else "3-D" if learnt == "3-D" else "2-D to 3-D"
        special = len(images) == 1 and "many" not in images
        breadth = "natural images" if "photographs" in images else "one field" if special else "medical images"
        return (breadth, depth, words)

    hints = " ".join(exercise("01-place").hints)
    assert all(code in hints for code in (
        'words = "images and text" if text else "images"', '"photographs" in images', 'len(images) == 1 and "many" not in images',
        'depth = "2-D" if reads == "2-D" else "3-D" if learnt == "3-D" else "2-D to 3-D"', "(breadth, depth, words)"))
    assert judge(exercise("01-place"), placed).passed
    assert judge(exercise("01-known"), lambda w, scans: scans @ w / scans.sum()).passed
    assert "scans @ w / scans.sum()" in exercise("01-known").hints[-1]


def test_the_exercises_give_the_tables_own_places_and_numbers():
    for one in systems.systems():
        theirs = place_by_questions(one.images, one.learnt, one.reads, one.text)
        assert one.per_task or tuple(theirs) == one.place
        assert tuple(theirs[1:]) == one.place[1:]
    assert usable_in_a_loop(systems.systems(), "3-D", "interactive") == systems.usable(systems.systems(), "3-D", "interactive")
    w, n = templates.template_matrix(systems.LISTED), systems.scans(systems.LISTED)
    assert np.allclose(known_by_repetition(w, n), systems.known_share(w, n))


def test_words_and_records_are_compared_too():
    one, other = systems.system("sam"), systems.system("medsam")
    assert same("sam", "sam", 0) and same(np.str_("sam"), "sam", 0) and same(["a", "b"], ("a", "b"), 0) and same(one, one, 0)
    words = np.array(["sam", "sam2"])
    assert same(words.copy(), words, 0) and same({"a": words, "b": None}, {"b": None, "a": words}, 0)
    assert not same(np.array([1.0, 2.0]), words, 0) and not same(words[:1], words, 0)
    assert not same({"a": words[:1]}, {"a": words}, 0)
    assert not same({"a": 1.0}, {"b": 1.0}, 0) and not same(None, np.nan, 0) and not same(None, words, 0)
    assert not same("sam", "medsam", 0) and not same(one, other, 0) and not same(["a"], ["a", "b"], 0) and not same(one, "sam", 0)


def test_quiz_has_five_questions():
    assert len(questions("01")) == 5
