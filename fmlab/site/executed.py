"""An executed lesson, kept: it runs again only when what its outputs depend on has changed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import fmlab
from fmlab.errors import LessonError
from fmlab.lessons import run as runner
from fmlab.lessons.build import as_bytes, notebook
from fmlab.lessons.files import write_bytes
from fmlab.lessons.source import Lesson
from fmlab.settings import data_folder, profile

if TYPE_CHECKING:
    from nbformat import NotebookNode

LAYOUT = "1"  # of what is kept; another one makes all that was kept invalid
_PACKAGE = Path(fmlab.__file__).parent
_STOPPED = re.compile(r"Cell \d+ (stops with|took more than)|The kernel died")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Executed:
    """A lesson's whole notebook. ran: are its outputs in it? when: the day of the run. problem: why it has none, one sentence."""

    notebook: NotebookNode
    ran: bool
    when: str = ""
    problem: str = ""


def cache_folder() -> Path:
    """Where executed lessons are kept: FMLAB_DATA/site."""
    return data_folder() / "site"


def depends(lesson: Lesson) -> dict[str, str]:
    """What a lesson's outputs depend on, by name, as hex digits or words: its code, the cost profile, the package's version, the
    weights that ship, and the stored runs that it shows. Its texts are no part of it. Code of the package that changes within a
    version is not seen: then run afresh.
    """
    code = "\0".join(cell.source for cell in notebook(lesson, "solution").cells if cell.cell_type == "code")
    return {"layout": LAYOUT, "version": fmlab.__version__, "profile": profile().name,
            "code": hashlib.sha256(code.encode()).hexdigest(),
            **{path.name: _digest(path, path.stat().st_mtime_ns) for path in _shown(lesson)}}


@cache
def _digest(path: Path, changed: int) -> str:
    """A file's sha256; the weights are 60 MB, and every lesson asks for them."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _shown(lesson: Lesson) -> list[Path]:
    """Weights, recordings of this lesson, and the ledgers of the claims that it names."""
    claims = set(re.findall(r"\bC\d\d\b", lesson.path.read_text(encoding="utf-8")))
    stored = _PACKAGE / "lessons"
    ledgers = [path for path in (stored / "ledger").glob("C*.jsonl") if path.stem in claims]
    return [*sorted((_PACKAGE / "hub" / "weights").glob("*.safetensors")),
            *sorted((stored / "recordings").glob(f"{lesson.number}_*")), *sorted(ledgers)]


def executed(lesson: Lesson, folder: Path, run: bool = True, fresh: bool = False, progress: Progress | None = None) -> Executed:
    """The lesson with its outputs: kept ones, or those of a run now, which is kept. run: may it run? fresh: run in any case.

    A run is the solution variant, offline, in a kernel of its own. One that stops is not kept, and its page has no outputs.
    Raises LessonError if the cache cannot be written.
    """
    kept, now = folder / f"{lesson.name}.{profile().name}.ipynb", depends(lesson)
    bare = notebook(lesson, "solution")
    if not fresh and kept.is_file():
        stored = _read(kept)
        then = stored.metadata.get("fmlab", {})
        # a file that is new since then, such as the weights of another lesson, changes nothing
        if all(now.get(name) == digest for name, digest in then.get("depends", {"layout": ""}).items()):
            return Executed(_with_outputs(bare, stored), True, then.get("ran", ""))
    if not run:
        return Executed(bare, False)
    result = runner.run(lesson, "solution", pages=True, progress=progress)
    stopped = [problem for problem in result.problems if _STOPPED.match(problem)]
    if stopped:
        return Executed(bare, False, problem=stopped[0])
    today = date.today().isoformat()
    _keep(result.notebook, kept, {"ran": today, "depends": now})
    return Executed(_with_outputs(bare, result.notebook), True, today)


def _with_outputs(bare: NotebookNode, ran: NotebookNode) -> NotebookNode:
    """The notebook as its source is today, with the outputs of a run of the same code."""
    outputs = iter([cell.outputs for cell in ran.cells if cell.cell_type == "code"])
    for cell in bare.cells:
        if cell.cell_type == "code":
            cell.outputs = next(outputs)
    return bare


def _keep(made: NotebookNode, kept: Path, about: dict[str, object]) -> None:
    """Store what was executed, without the widgets' live state: their figures stay."""
    stored = made.copy()
    stored.metadata = {**made.metadata, "fmlab": {**made.metadata.get("fmlab", {}), **about}}
    stored.metadata.pop("widgets", None)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(kept, as_bytes(stored))
    except OSError as error:
        raise LessonError(f"The executed lesson cannot be kept in {kept.parent} ({error}); choose another --cache.") from error


def _read(kept: Path) -> NotebookNode:
    import nbformat

    try:
        return nbformat.read(kept, as_version=4)
    except Exception as error:  # nbformat, json and the validator each raise their own kinds
        raise LessonError(f"{kept} cannot be read ({error}); delete it, and the lesson runs again.") from error
