"""From one source to two notebooks: the learner's, with the solutions cut, and the whole one.

Rules: a cell tagged ``solution`` or ``instructor`` is cut; the lines of a cell from ``# solution`` on become a stub. The same
source always gives the same bytes, so that a notebook in the repository can be compared with its source.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fmlab.errors import LessonError
from fmlab.lessons.check import STUB_MARK
from fmlab.lessons.files import write_bytes
from fmlab.lessons.source import Lesson, lessons

if TYPE_CHECKING:
    from nbformat import NotebookNode

Variant = Literal["learner", "solution"]
VARIANTS: tuple[Variant, ...] = ("learner", "solution")
_CUT = {"solution", "instructor"}
_MARK = re.compile(r"^(?P<indent>[ \t]*)# solution[ \t]*$", re.MULTILINE)
_KERNEL = {"kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
           "language_info": {"name": "python"}}


def notebook(lesson: Lesson, variant: Variant = "learner") -> NotebookNode:
    """A lesson's notebook without outputs; LessonError for an unknown variant or a lesson without cells."""
    import nbformat

    if variant not in VARIANTS:
        raise LessonError(f"There is no variant {variant!r} of a lesson; choose learner or solution.")
    whole = lesson.notebook()
    cells = [cell for cell in whole.cells if variant == "solution" or not _CUT & set(cell.metadata.get("tags", []))]
    if not cells:
        raise LessonError(f"{lesson.path} has no cells; begin one with '# %%'.")
    made = nbformat.v4.new_notebook(metadata={**_KERNEL, "fmlab": {"lesson": lesson.name, "variant": variant}})
    made.cells = [_cell(cell.cell_type, cell.source, cell.metadata, variant) for cell in cells]
    made.cells.insert(1, _cell("markdown", header_text(lesson), {}, variant))
    _number(made)
    return made


def as_bytes(made: NotebookNode) -> bytes:
    """The notebook as it is stored: sorted keys, one space of indent, a newline at the end."""
    import nbformat

    return (nbformat.writes(made, version=4, indent=1, sort_keys=True).rstrip("\n") + "\n").encode()


def stubbed(source: str) -> str:
    """A cell's code with a stub in place of what follows ``# solution`` in its block: what stands below, ``check`` say, stays.

    A block ends at the first line that is indented less; a mark without an indent cuts to the end of the cell.
    """
    found = _MARK.search(source)
    if not found:
        return source
    indent, below = found["indent"], source[found.end():].splitlines(keepends=True)
    end = next((n for n, line in enumerate(below) if line.strip() and not line.startswith(indent)), len(below))
    while end and end < len(below) and not below[end - 1].strip():
        end -= 1  # the blank lines before what stays, stay
    rest = stubbed("".join(below[end:]))
    stub = f"{source[:found.start()]}{indent}{STUB_MARK}\n{indent}..."
    return f"{stub}\n{rest}" if rest else stub


def solved(source: str) -> str:
    """A cell's code with its solutions, without the marks."""
    return "\n".join(line for line in source.splitlines() if not _MARK.fullmatch(line))


def header_text(lesson: Lesson) -> str:
    """What stands under the title: what one will be able to do, what one needs, and what it costs."""
    budget = lesson.budget
    download = f"{budget.download_mb:g} MB to download" if budget.download_mb else "nothing to download"
    goals = "\n".join(f"- {goal}" for goal in lesson.goals)
    return (f"**After this lesson you can**\n\n{goals}\n\n"
            f"**Before it:** {', '.join(lesson.prerequisites) or 'nothing'}.\n\n"
            f"**Cost:** about {budget.minutes:g} minutes of yours; the cells take {budget.seconds:g} s and "
            f"{budget.gigabytes:g} GB of memory on {budget.hardware}; {download}.")


def build(folder: Path | None = None) -> tuple[Path, ...]:
    """Write the learner's notebook beside each source; returns those that changed."""
    changed = []
    for lesson in lessons(folder):
        target, content = lesson.path.with_suffix(".ipynb"), as_bytes(notebook(lesson))
        if not target.is_file() or target.read_bytes() != content:
            write_bytes(target, content)
            changed.append(target)
    return tuple(changed)


def stale(folder: Path | None = None) -> tuple[str, ...]:
    """One sentence per notebook that is not what its source gives, or that has no source."""
    there = lessons(folder)
    found = []
    for lesson in there:
        target = lesson.path.with_suffix(".ipynb")
        if not target.is_file():
            found.append(f"{target} is missing; run `fmlab lessons build`.")
        elif target.read_bytes() != as_bytes(notebook(lesson)):
            found.append(f"{target} differs from its source {lesson.path.name}; edit the .py and run `fmlab lessons build`.")
    for place in {lesson.path.parent for lesson in there}:
        orphans = {path.stem for path in place.glob("*.ipynb")} - {lesson.name for lesson in there}
        found += [f"{place / name}.ipynb has no source {name}.py; delete it or write one." for name in sorted(orphans)]
    return tuple(found)


def _cell(kind: str, source: str, metadata: dict, variant: Variant) -> NotebookNode:
    import nbformat

    kept = {"tags": list(metadata["tags"])} if metadata.get("tags") else {}
    if kind == "code" and variant == "learner":
        source = stubbed(source)
    return nbformat.v4.__dict__[f"new_{kind}_cell"](source, metadata=kept)


def _number(made: NotebookNode) -> None:
    """Give each cell an id from its content and, among equals, its place: stable, and unique within the notebook."""
    seen: dict[str, int] = {}
    for cell in made.cells:
        key = f"{cell.cell_type}\n{cell.source}"
        seen[key] = seen.get(key, 0) + 1
        cell.id = hashlib.sha256(f"{seen[key]}\n{key}".encode()).hexdigest()[:12]
