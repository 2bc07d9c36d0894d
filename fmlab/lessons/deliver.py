"""Copies of the notebooks in the learner's folder; nothing that a learner has touched is ever overwritten.

``.delivered.json`` remembers, per notebook, the bytes and the sources that were delivered. A file that still has delivered bytes,
or delivered sources and no output (JupyterLab saves its own metadata on mere opening), is ours to replace. Any other file (an
edit, a saved output) is the learner's: a newer version comes beside it, once.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from filelock import FileLock, Timeout

from fmlab.errors import LessonError
from fmlab.lessons.build import as_bytes, notebook
from fmlab.lessons.files import move_aside, write_bytes, write_json
from fmlab.lessons.records import DELIVERED
from fmlab.lessons.source import Lesson

if TYPE_CHECKING:
    from nbformat import NotebookNode


@dataclass(frozen=True)
class Delivery:
    """What happened to one notebook. action: "new", "updated" (it was untouched), "kept" (nothing to do) or "beside"."""

    path: Path
    action: Literal["new", "updated", "kept", "beside"]
    note: str = ""


def deliver(lessons: tuple[Lesson, ...], folder: Path, today: date | None = None) -> tuple[Delivery, ...]:
    """Bring every lesson's notebook into the learner's folder. today: names a version that comes beside another.

    Raises LessonError if the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".delivered.lock", timeout=60):  # two labs may start at once
            known = _read(folder / DELIVERED)
            done = []
            for lesson in lessons:
                record = known.setdefault(f"{lesson.name}.ipynb", {"files": [], "sources": []})
                done.append(_deliver(notebook(lesson), folder / f"{lesson.name}.ipynb", record, today or date.today()))
                write_json(folder / DELIVERED, known)  # after each, so that a later failure forgets nothing
    except (OSError, Timeout) as error:
        raise LessonError(f"The course folder {folder} cannot be written ({error}); choose another one with --folder.") from error
    return tuple(done)


def _deliver(made: NotebookNode, target: Path, record: dict, today: date) -> Delivery:
    content, source = as_bytes(made), source_hash(made)
    is_new = source not in record["sources"]
    if not target.exists():
        action, place = "new", target
    elif (there := target.read_bytes()) == content:
        _remember(record, content, source)
        return Delivery(target, "kept")
    elif _hash(there) in record["files"] or _only_opened(there, record["sources"]):
        action, place = "updated", target
    elif is_new and _source_of(there) != source:
        action, place = "beside", _free_name(target, today)
    else:
        _remember(record, None, source)
        return Delivery(target, "kept")
    write_bytes(place, content)
    _remember(record, content, source)
    note = f"{target.name} is yours and stays as it is; the lesson's newer version is {place.name}." if action == "beside" else ""
    return Delivery(place, action, note)


def source_hash(made: NotebookNode) -> str:
    """A hash of the cells' kinds and sources: outputs, ids and metadata do not count."""
    return _hash(json.dumps([[cell["cell_type"], "".join(cell["source"])] for cell in made["cells"]]).encode())


def _source_of(content: bytes) -> str | None:
    """The source hash of a stored notebook, None if it is not one."""
    try:
        return source_hash(json.loads(content))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _only_opened(content: bytes, sources: list[str]) -> bool:
    """Whether a stored notebook holds delivered sources and nothing that running or editing leaves behind."""
    if _source_of(content) not in sources:
        return False
    cells = json.loads(content)["cells"]
    return not any(cell.get("outputs") or cell.get("execution_count") or cell.get("attachments") for cell in cells)


def _free_name(target: Path, today: date) -> Path:
    stem = f"{target.stem}.new-{today:%Y%m%d}"
    place, number = target.with_name(f"{stem}.ipynb"), 1
    while place.exists():
        number += 1
        place = target.with_name(f"{stem}-{number}.ipynb")
    return place


def _remember(record: dict, content: bytes | None, source: str) -> None:
    if content is not None and _hash(content) not in record["files"]:
        record["files"].append(_hash(content))
    if source not in record["sources"]:
        record["sources"].append(source)


def _read(path: Path) -> dict[str, dict[str, list[str]]]:
    """The record of deliveries; a damaged one is moved aside, and then every notebook counts as the learner's."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if all(isinstance(row["files"], list) and isinstance(row["sources"], list) for row in found.values()):
            return found
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    move_aside(path)
    return {}


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
