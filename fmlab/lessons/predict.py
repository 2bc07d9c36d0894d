"""``predict``: choose what will happen before running it; the choice is kept and shown again afterwards."""

from __future__ import annotations

from collections.abc import Sequence

from fmlab.errors import LessonError
from fmlab.lessons import records
from fmlab.lessons.choice import Choice
from fmlab.lessons.show import Box


def predict(name: str, question: str | None = None, options: Sequence[str] = (), choice: int | None = None) -> Choice | Box:
    """Ask for a prediction, or show again the one that was made.

    ``predict("00-p1", "What happens to ...?", ["it grows", "it shrinks"])`` asks; where buttons do not work, add ``choice=1``
    (counted from 1). ``predict("00-p1")`` shows what you predicted. Raises LessonError for a choice that is not offered.
    """
    if question is None:
        return recall(name)
    if len(options) < 2:
        raise LessonError(f"Prediction {name!r} needs a question and at least two options.")
    ask = Choice(name, question, tuple(options), lambda chosen: _keep(name, question, options[chosen]),
                 call="predict", keyword="choice")
    if choice is None:
        return ask
    return ask.answer(choice)


def recall(name: str) -> Box:
    """What was predicted under that id, in words."""
    made = records.record("predictions", name)
    if not {"choice", "question"} <= made.keys():
        return Box("You made no prediction here", ("Go back to the question, choose, and run this again.",), tone="open")
    return Box(f"You predicted: {made['choice']}", (f"The question was: {made['question']}",))


def _keep(name: str, question: str, chosen: str) -> Box:
    # the first choice counts: a prediction that is changed after the run is none
    note = records.update("predictions", name, lambda old: old or {"question": question, "choice": chosen})
    first = records.record("predictions", name).get("choice", chosen)
    changed = "" if first == chosen else f"Your first prediction is kept: {first}"
    return Box(f"Noted: {chosen}", tuple(filter(None, (changed, "Now run the next cell and see.", note))))
