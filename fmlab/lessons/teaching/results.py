"""What a lesson's cells gave when it was run: figures with their words, and printed lines, for the slides."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fmlab.errors import LessonError
from fmlab.lessons.source import Lesson
from fmlab.lessons.teaching.asked import asks_only

if TYPE_CHECKING:
    from nbformat import NotebookNode

_IMAGE = re.compile(r"<img\b[^>]*>")
_ATTRIBUTE = re.compile(r"\b(alt|src)=\"([^\"]*)\"")
_BOX = 'role="status"'  # the answer of ``check``, a hint
_LOADED = re.compile(r"^\d+ matched, \d+ missing, \d+ unexpected\n", re.MULTILINE)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Figure:
    """A picture. source: a data address. alt: what is to be seen in it."""

    source: str
    alt: str


@dataclass(frozen=True)
class Result:
    """What one cell gave."""

    printed: str = ""
    figures: tuple[Figure, ...] = ()


def results(lesson: Lesson, runs: Path | None) -> dict[str, Result]:
    """Source of a code cell -> what it gave, from ``runs/NAME.solution.ipynb`` as ``fmlab run`` writes it; {} where it is not.

    A cell that was changed since is not found in it, so that no slide shows a number of an older lesson. Raises LessonError for a
    file that is no notebook.
    """
    if runs is None or not (path := runs / f"{lesson.name}.solution.ipynb").is_file():
        return {}
    import nbformat

    try:
        made = nbformat.read(path, as_version=4)
    except Exception as error:  # nbformat, json and the file system each raise their own kinds
        raise LessonError(f"{path} is no notebook ({error}); make it again with `fmlab run {lesson.number}`.") from error
    cells = [cell for cell in made.cells if cell.cell_type == "code" and cell.outputs]
    return {cell.source: _result(cell) for cell in cells}


def _result(cell: NotebookNode) -> Result:
    lines, figures = [], []
    for output in cell.outputs:
        if output.output_type == "stream" and output.name == "stdout":
            lines.append(output.text)
        data = output.get("data", {})
        page = "".join(data.get("text/html", ""))
        if found := _figure(page):
            figures.append(found)
        elif "text/plain" in data and not (_BOX in page or _silent(data["text/plain"])):
            lines.append(data["text/plain"] + "\n")
    printed = "" if asks_only(cell.source) else _LOADED.sub("", _COLOUR.sub("", "".join(lines))).rstrip()
    return Result(printed, tuple(figures))


def _figure(page: str) -> Figure | None:
    """The first picture of an output that carries its own bytes."""
    for image in _IMAGE.findall(page):
        said = dict(_ATTRIBUTE.findall(image))
        if said.get("src", "").startswith("data:image/"):
            return Figure(said["src"], html.unescape(said.get("alt", "")))
    return None


def _silent(plain: str) -> bool:
    """A widget or an object that has no words of its own."""
    return plain.startswith(("<", "[figure"))
