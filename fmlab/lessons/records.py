"""What the learner has done, kept in progress.json of the course folder: written whole, under a lock, and never lost.

Helpers return a note for the learner (empty when all went well) and do not raise: a full disk must not stop a lesson.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from fmlab.lessons.files import move_aside, write_json

COURSE_FOLDER = "my_course"
DELIVERED = ".delivered.json"
_KINDS = ("exercises", "quizzes", "predictions")


def course_folder() -> Path:
    """The learner's folder: FMLAB_COURSE, else the folder around the notebook that was delivered, else ./my_course."""
    if named := os.environ.get("FMLAB_COURSE"):
        return Path(named).expanduser()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / DELIVERED).is_file():
            return folder
    return here / COURSE_FOLDER


def read(path: Path | None = None) -> dict[str, dict]:
    """All records: kind -> id -> record. A file that cannot be understood is moved aside and counts as empty."""
    path = path or course_folder() / "progress.json"
    found = _parsed(path)
    if found is None:
        try:
            with _lock(path):  # another notebook may have moved it aside just now, and written a good one
                return _parsed_or_aside(path)
        except (OSError, Timeout):  # a folder that cannot be written: the file stays where it is
            return _parsed(path) or _empty()
    return found


def update(kind: str, name: str, change: Callable[[dict], dict]) -> str:
    """Replace one record by ``change(record)``; returns "" or a note that says why it was not kept."""
    path = course_folder() / "progress.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _lock(path):  # two notebooks may report at once
            records = _parsed_or_aside(path)
            records[kind][name] = change(dict(records[kind].get(name, {})))
            write_json(path, records)
    except (OSError, Timeout) as error:
        return f"Your progress was not saved: {path} cannot be written ({error})."
    return ""


def _lock(path: Path) -> FileLock:
    return FileLock(path.with_name(".progress.lock"), timeout=5)


def _empty() -> dict[str, dict]:
    return {kind: {} for kind in _KINDS}


def _parsed(path: Path) -> dict[str, dict] | None:
    """The records of a file, empty where there is none; None if it cannot be understood."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return _empty()
    except (ValueError, OSError, RecursionError):
        return None
    return _empty() | found if _understood(found) else None


def _parsed_or_aside(path: Path) -> dict[str, dict]:
    """The same, under the lock: what cannot be understood is moved aside, and then there is nothing."""
    found = _parsed(path)
    if found is None:
        move_aside(path)
        return _empty()
    return found


def record(kind: str, name: str) -> dict:
    """One record, {} where there is none."""
    return read()[kind].get(name, {})


def count(row: dict, name: str) -> int:
    """A number in a record; 0 where it is not there, or no number any more."""
    found = row.get(name, 0)
    return found if isinstance(found, int) else 0


def record_check(name: str, passed: bool) -> str:
    """Count a try of an exercise; once passed it stays passed."""
    def change(old: dict) -> dict:
        new = old | {"tries": count(old, "tries") + 1, "passed": bool(old.get("passed") or passed)}
        return new | ({"passed_at": _now()} if passed and not old.get("passed") else {})

    return update("exercises", name, change)


def _understood(found: object) -> bool:
    if not isinstance(found, dict):
        return False
    tables = [found.get(kind, {}) for kind in _KINDS]
    return all(isinstance(table, dict) and all(isinstance(row, dict) for row in table.values()) for table in tables)


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
