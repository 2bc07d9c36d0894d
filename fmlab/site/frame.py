"""What stands around a page's contents: head, banner, contents, the way to the next lesson."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import jinja2

from fmlab.lessons.source import Lesson

WEB = Path(__file__).with_name("web")
_WAY = re.compile(r"<!-- way -->.*?<!-- /way -->", re.DOTALL)


@cache
def templates() -> jinja2.Environment:
    """Our templates; what is put into them is escaped unless marked as safe."""
    return jinja2.Environment(loader=jinja2.FileSystemLoader(WEB), autoescape=True, trim_blocks=True, lstrip_blocks=True,
                              undefined=jinja2.StrictUndefined)


def render(template: str, **values: object) -> str:
    """One of web/*.html.j2, filled."""
    return templates().get_template(template).render(**values)


def way(lesson: Lesson, built: Sequence[Lesson]) -> str:
    """The links to the lessons before and after among those that have a page."""
    place = [one.number for one in built].index(lesson.number)
    before = built[place - 1] if place else None
    after = built[place + 1] if place + 1 < len(built) else None
    return f"<!-- way -->{render('way.html.j2', before=before, after=after)}<!-- /way -->"


def redirected(page: str, links: str) -> str:
    """A page that was built before, with new links to its neighbours."""
    return _WAY.sub(lambda _: links, page)
