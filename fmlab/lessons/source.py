"""A lesson as it is written: tutorials/NN_name.py, jupytext percent, with what it costs in its header.

The header of the .py holds, besides Jupyter's own keys::

    # ---
    # jupyter:
    #   fmlab:
    #     title: "Welcome: scans, labels, metrics"
    #     section: "-"
    #     goals: [read a scan, ...]
    #     prerequisites: [Python]
    #     minutes: 45          # of the learner's time
    #     seconds: 60          # of the computer's, profile laptop, measured on ``hardware``
    #     gigabytes: 1.2       # peak memory
    #     download_mb: 0
    #     hardware: 2 CPU cores
    # ---
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from fmlab.errors import LessonError

if TYPE_CHECKING:
    from nbformat import NotebookNode

_FILE = re.compile(r"(\d\d)_[a-z0-9_]+\.py")


@dataclass(frozen=True)
class Budget:
    """What a lesson costs. minutes: the learner's. seconds, gigabytes, download_mb: the computer's, on ``hardware``."""

    minutes: float
    seconds: float
    gigabytes: float
    download_mb: float = 0
    hardware: str = "2 CPU cores"


@dataclass(frozen=True)
class Lesson:
    """One lesson's source: its file, its header and its two-digit number."""

    path: Path
    title: str
    section: str
    goals: tuple[str, ...]
    prerequisites: tuple[str, ...]
    budget: Budget

    @property
    def number(self) -> str:
        """Two digits, "00"."""
        return self.path.name[:2]

    @property
    def name(self) -> str:
        """The file's stem, "00_welcome"."""
        return self.path.stem

    def notebook(self) -> NotebookNode:
        """Every cell of the source, solutions and instructor's notes included."""
        return read_percent(self.path)


def tutorials_folder() -> Path:
    """Where the lessons' sources lie: the checkout's tutorials/, or the copy inside an installed package."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parent / "tutorials"
    if (package.parent / "pyproject.toml").is_file() and checkout.is_dir():
        return checkout
    return package / "lessons" / "tutorials"


def lessons(folder: Path | None = None) -> tuple[Lesson, ...]:
    """Every lesson of a folder (default: the course's), by number; LessonError if two share one, or a header is wrong."""
    folder = folder or tutorials_folder()
    found = [read(path) for path in sorted(folder.glob("*.py")) if _FILE.fullmatch(path.name)] if folder.is_dir() else []
    for one, other in zip(found, found[1:], strict=False):
        if one.number == other.number:
            raise LessonError(f"{one.path.name} and {other.path.name} have the same number; rename one of them.")
    return tuple(found)


def lesson(number: str | int, folder: Path | None = None) -> Lesson:
    """The lesson of that number ("0", 0 and "00" are the same) or name; LessonError says which there are."""
    wanted = str(number)
    wanted = f"{int(wanted):02d}" if wanted.isdecimal() else wanted.removesuffix(".py").removesuffix(".ipynb")
    there = lessons(folder)
    for one in there:
        if wanted in (one.number, one.name):
            return one
    known = ", ".join(one.number for one in there) or "none"
    raise LessonError(f"There is no lesson {str(number)!r} in {folder or tutorials_folder()}; there are: {known}.")


def read_percent(path: Path) -> NotebookNode:
    """The .py as a notebook; LessonError if it cannot be read."""
    import jupytext

    try:
        return jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent")
    except Exception as error:  # jupytext, YAML and nbformat each raise their own kinds
        raise LessonError(f"{path} is no lesson that jupytext can read ({error}); write it in the percent format.") from error


def read(path: Path) -> Lesson:
    """One lesson's header; LessonError names the field that is missing or wrong."""
    header = dict(read_percent(path).metadata.get("fmlab", {}))
    wanted = {"title", "section", "goals", "prerequisites"}
    costs = {field.name for field in fields(Budget)}
    missing = (wanted | {"minutes", "seconds", "gigabytes"}) - header.keys()
    unknown = header.keys() - wanted - costs
    if missing or unknown:
        what = f"lacks {', '.join(sorted(missing))}" if missing else f"has unknown fields: {', '.join(sorted(unknown))}"
        raise LessonError(f"The header of {path} {what}; see fmlab/lessons/source.py for its fields.")
    for field in costs - {"hardware"}:
        if not isinstance(header.get(field, 0), int | float) or header.get(field, 0) < 0:
            raise LessonError(f"The header of {path} says {field}: {header[field]!r}; give a number of at least 0.")
    budget = Budget(**{key: header[key] for key in costs & header.keys()})
    lists = (tuple(header[key]) if isinstance(header[key], list) else (str(header[key]),) for key in ("goals", "prerequisites"))
    return Lesson(path, str(header["title"]), str(header["section"]), *lists, budget)
