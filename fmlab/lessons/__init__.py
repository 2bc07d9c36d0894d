"""Lessons: built from one source, run headless, and the helpers that a lesson calls.

In a lesson: ``check`` an exercise, ask for a ``hint``, answer a ``quiz``, ``predict`` before running, see your ``progress``,
``show_source`` of the package's version, ``figure`` to show a matplotlib figure with its alt text, and ``seconds`` of a call.
Behind the scenes: ``source`` (a lesson read from its .py), ``build`` (its notebooks), ``deliver`` (copies that never overwrite
a learner's work), ``run`` (headless, offline, measured), ``lint``, ``lab`` (JupyterLab).
"""

from __future__ import annotations

from fmlab.lessons.check import Outcome, check
from fmlab.lessons.hints import hint
from fmlab.lessons.predict import predict
from fmlab.lessons.progress import progress
from fmlab.lessons.quiz import quiz
from fmlab.lessons.show import figure, show_source
from fmlab.lessons.timing import seconds

__all__ = ["Outcome", "check", "figure", "hint", "predict", "progress", "quiz", "seconds", "show_source"]
