"""From an executed notebook to the cells of a page: nothing that needs a kernel, and no solution unasked.

Each code cell gets ``metadata.page``, which the template reads: ``html`` stands for the whole cell; else ``code`` is shown, and
``solution``, where there is one, is folded together with the outputs.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fmlab.lessons.build import solved, stubbed
from fmlab.site.pictures import compact
from fmlab.site.questions import asked, computed
from fmlab.site.voxels import Scan, scan_in
from fmlab.viewer import static

if TYPE_CHECKING:
    from nbformat import NotebookNode

_RUN_TO = re.compile(r"\s*Run the cell to \w+\.")
_BY_NUMBER = re.compile(r"<p>Answer by number: <code>.*?</code></p>", re.DOTALL)
_PROGRESS = re.compile(r"\d%\|.*\[.*\]")  # of tqdm's bar in a notebook
_SOURCE = re.compile(r"^([\w.]+)  \(([^)\n]+)\)\n", re.MULTILINE)


@dataclass
class Cells:
    """A lesson's notebook as its page shows it, and the scans of its viewers in their order."""

    notebook: NotebookNode
    scans: list[Scan] = field(default_factory=list)


def cells(executed: NotebookNode, lesson: str) -> Cells:
    """What a page shows of a lesson's whole notebook. lesson: two digits.

    The first heading and the header under it are left out: the page sets them itself. So are the instructor's notes.
    """
    scans: list[Scan] = []
    made = static.embed(_marked(executed, scans))
    kept = [cell for cell in made.cells if "instructor" not in cell.metadata.get("tags", [])]
    if kept and kept[0].cell_type == "markdown" and kept[0].source.startswith("# "):
        kept[0].source = kept[0].source.partition("\n")[2]
        kept = [cell for cell in kept if not cell.source.startswith("**After this lesson you can**")]
    for cell in kept:
        if cell.cell_type == "code":
            cell.outputs = _joined([output for output in map(_without_kernel, cell.outputs) if output])
            cell.metadata["page"] = _page(cell, lesson)
    made.cells = [cell for cell in kept if cell.source.strip() or cell.get("outputs")]
    made.cells = [cell for cell in made.cells if cell.metadata.get("page", {}).get("html") != ""]
    return Cells(made, scans)


def _marked(executed: NotebookNode, scans: list[Scan]) -> NotebookNode:
    """A copy in which each viewer is its still figure in a frame that the page's script brings to life."""
    made = copy.deepcopy(executed)
    for cell in made.cells:
        for output in cell.get("outputs", []):
            frame = output.get("data", {}).pop(static.MIME, None)
            if frame is not None:
                scans.append(scan_in(frame))
                still = output.data["text/html"]
                output.data["text/html"] = f'<div class="scan" data-scan="scan-{len(scans)}">{still}</div>'
    return made


def _page(cell: NotebookNode, lesson: str) -> dict[str, str]:
    source, tags = cell.source, cell.metadata.get("tags", [])
    html = asked(source, lesson)
    if html is None:
        html = computed(source, [str(output.get("data", {}).get("text/plain", "")) for output in cell.outputs])
    if html is not None:
        return {"html": html}
    if "solution" in tags:
        return {"code": "", "solution": source}
    if stubbed(source) != source:
        return {"code": stubbed(source), "solution": solved(source)}
    if source.startswith("show_source(") and len(cell.outputs) == 1:
        return {"code": ""}  # the listing says by itself what it is
    return {"code": source}


def _without_kernel(output: NotebookNode) -> NotebookNode | None:
    """An output as it reads in a page; None if nothing of it is left."""
    if output.output_type == "stream":
        output.text = _settled(output.text)
        return output if output.text.strip() and output.name == "stdout" else None  # stderr: progress bars and warnings
    data = output.get("data", {})
    if _PROGRESS.search("".join(data.get("text/plain", ""))):
        return None
    if source := _listing(data):
        output.metadata["listing"] = source
    elif "text/html" in data:
        html = _RUN_TO.sub("", "".join(data["text/html"]))
        data["text/html"] = compact(_BY_NUMBER.sub("", html)).replace(' role="status"', "")
    return output


def _joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """What was printed in pieces, in one."""
    whole: list[NotebookNode] = []
    for output in outputs:
        if whole and output.output_type == whole[-1].output_type == "stream":
            whole[-1].text += output.text
        else:
            whole.append(output)
    return whole


def _settled(text: str) -> str:
    """What a terminal would show in the end: of a line that was written over, the last version."""
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))


def _listing(data: dict) -> dict[str, str] | None:
    """The source that ``show_source`` shows: its name, its file, its code."""
    plain = "".join(data.get("text/plain", ""))
    found = _SOURCE.match(plain)
    if found is None or 'class="highlight"' not in "".join(data.get("text/html", "")):
        return None
    return {"name": found[1], "file": found[2], "code": plain[found.end():]}
