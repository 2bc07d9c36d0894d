"""One lesson's page: its cells through nbconvert, our frame around them, its viewers' voxels at the end."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from markupsafe import Markup

from fmlab.lessons.source import Lesson
from fmlab.site.cells import cells
from fmlab.site.executed import Executed
from fmlab.site.frame import WEB, render, way
from fmlab.site.headings import anchored, sections
from fmlab.site.voxels import pack
from fmlab.viewer.mathml import notebook_exporter

if TYPE_CHECKING:
    from nbconvert import HTMLExporter

LIMIT = 2_000_000  # bytes of a lesson's page
LEAST = 200_000  # of them for voxels, however long the page is


def lesson_page(lesson: Lesson, executed: Executed, built: Sequence[Lesson]) -> str:
    """The page of a lesson. built: the lessons that have a page, this one among them, in order."""
    made = cells(executed.notebook, lesson.number)
    body, _ = _exporter().from_notebook_node(made.notebook)
    body = anchored(body)
    contents = [section for section in sections(body) if section.level == 2]
    page = render("lesson.html.j2", lesson=lesson, executed=executed, body=Markup(body), contents=contents,
                  way=Markup(way(lesson, built)), live=bool(made.scans), title=lesson.title, home=False)
    voxels = pack(made.scans, max(LEAST, LIMIT - len(page.encode()) - 2_000)) if made.scans else {}
    data = "".join(f'<script type="text/plain" id="{name}">{text}</script>\n' for name, text in voxels.items())
    return page.replace("</body>", f"{data}</body>")


@cache
def _exporter() -> HTMLExporter:
    """nbconvert with our template for cells, formulas as MathML."""
    exporter = notebook_exporter()
    exporter.raw_template = (WEB / "cells.html.j2").read_text(encoding="utf-8")
    return exporter
