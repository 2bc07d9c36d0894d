"""The helpers of this folder and those of tests/unit, and a course folder and cache of the test's own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "unit")]


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FMLAB_COURSE and FMLAB_DATA of the test's own, so that nothing of the machine's is read or written."""
    monkeypatch.setenv("FMLAB_COURSE", str(tmp_path / "course"))
    monkeypatch.setenv("FMLAB_DATA", str(tmp_path / "cache"))
