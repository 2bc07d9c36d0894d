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


def key(lesson: Lesson) -> str:
    """Sixteen hex digits of what the outputs depend on: the lesson's source, the cost profile, the package's version, the weights
    that ship, and the stored runs that the lesson shows. Code that changes within a version is not seen: then run afresh."""
    digest = hashlib.sha256("\n".join((LAYOUT, fmlab.__version__, profile().name)).encode())
    for path in (lesson.path, *_shown(lesson)):
        digest.update(f"\n{path.name}\n".encode() + _digest(path, path.stat().st_mtime_ns))
    return digest.hexdigest()[:16]


@cache
def _digest(path: Path, changed: int) -> bytes:
    """A file's sha256; the weights are 60 MB, and every lesson asks for them."""
    return hashlib.sha256(path.read_bytes()).digest()


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
    kept = folder / f"{lesson.name}.{key(lesson)}.ipynb"
    if not fresh and kept.is_file():
        return _read(kept)
    bare = notebook(lesson, "solution")
    if not run:
        return Executed(bare, False)
    result = runner.run(lesson, "solution", pages=True, progress=progress)
    stopped = [problem for problem in result.problems if _STOPPED.match(problem)]
    if stopped:
        return Executed(bare, False, problem=stopped[0])
    _keep(result.notebook, kept, lesson)
    return _read(kept)


def _keep(made: NotebookNode, kept: Path, lesson: Lesson) -> None:
    """Store what was executed, in place of what was kept of older sources. The figure of a widget stays, its live state goes."""
    made.metadata.pop("widgets", None)
    made.metadata["fmlab"] = {**made.metadata.get("fmlab", {}), "ran": date.today().isoformat()}
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(kept, as_bytes(made))
        for old in set(kept.parent.glob(f"{lesson.name}.*.ipynb")) - {kept}:
            old.unlink(missing_ok=True)
    except OSError as error:
        raise LessonError(f"The executed lesson cannot be kept in {kept.parent} ({error}); choose another --cache.") from error


def _read(kept: Path) -> Executed:
    import nbformat

    try:
        made = nbformat.read(kept, as_version=4)
    except Exception as error:  # nbformat, json and the validator each raise their own kinds
        raise LessonError(f"{kept} cannot be read ({error}); delete it, and the lesson runs again.") from error
    return Executed(made, True, made.metadata.get("fmlab", {}).get("ran", ""))
