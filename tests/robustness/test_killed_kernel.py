"""A kernel that is killed while it writes, and started again: answers, predictions, progress and the canvas are all there.

A short lesson here; ``python tests/robustness/kill_lessons.py`` does it to every lesson of the course.
"""

from __future__ import annotations

import sys

import pytest
from kill_lessons import killed_and_restarted, lost
from test_fuzz_course import SOURCE

from fmlab.lessons.source import read


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is of Unix")
def test_killed_in_the_middle_and_started_again(tmp_path):
    (tmp_path / "00_short.py").write_text(SOURCE + "\n# %%\nb = a + 1\n\n# %%\nassert b == 2\n", encoding="utf-8")
    (folder := tmp_path / "course").mkdir()
    outcome = killed_and_restarted(read(tmp_path / "00_short.py"), folder, busy=True)
    assert not outcome.problems and outcome.kept >= 4, str(outcome)
    names = {path.name for path in folder.iterdir() if path.is_file()}
    assert {"progress.json", "canvas.json"} <= names


def test_what_is_lost_is_told():
    row = {"exercises": {"a": {"tries": 2, "passed": True}}, "predictions": {"p": {"choice": "up"}}}
    assert lost(row, row) == []
    for worse in ({}, {"exercises": {"a": {"tries": 1, "passed": True}}}, {"exercises": {"a": {"tries": 2, "passed": False}}}):
        assert lost(row, worse | {"predictions": row["predictions"]})
    assert lost(row, row | {"predictions": {"p": {"choice": "down"}}})
