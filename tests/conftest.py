"""For all tests: markers by folder, and a list of what was skipped (FMLAB_SKIPPED names the file; .ci/run reads it)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
MARKERS = {"browser": "browser", "parity": "parity", "lessons": "lesson", "gpu": "gpu"}
_skipped: list[tuple[str, str, str]] = []


def category(path: Path) -> str:
    """The marker of a test file by its folder under tests/, "unit" for the rest."""
    try:
        folder = path.relative_to(TESTS).parts[0]
    except ValueError:
        return "unit"
    return MARKERS.get(folder, "unit")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if (kind := category(item.path)) != "unit":
            item.add_marker(kind)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        _note(TESTS.parent / report.nodeid.split("::")[0], report.nodeid, report.longrepr)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped:  # a module that skips itself never becomes a test
        _note(TESTS.parent / report.nodeid.split("::")[0], report.nodeid, report.longrepr)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput"):  # one of several processes; the one that started them hears of every test
        return
    if target := os.environ.get("FMLAB_SKIPPED"):
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).write_text("".join("\t".join(row) + "\n" for row in _skipped), encoding="utf-8")


def _note(path: Path, nodeid: str, reason: object) -> None:
    words = reason[2] if isinstance(reason, tuple | list) else str(reason)
    _skipped.append((category(path), nodeid, " ".join(str(words).split())))
