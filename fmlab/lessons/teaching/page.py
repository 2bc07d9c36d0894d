"""A Markdown text as one printable page that loads nothing."""

from __future__ import annotations

import html
import re
from pathlib import Path

from fmlab.lessons.teaching.markdown import to_html

WEB = Path(__file__).parent / "web"


def page(text: str, title: str) -> str:
    """An HTML page of a Markdown text, light or dark as the reader's system, black on white in print."""
    style = (WEB / "page.css").read_text(encoding="utf-8")
    return fill("page.html", style=style, title=html.escape(title), body=to_html(text))


def fill(template: str, **parts: str) -> str:
    """A template of this folder's web/ with each @name replaced, in one pass: what is put in is never looked at again."""
    text = (WEB / template).read_text(encoding="utf-8")
    return re.sub(r"@(" + "|".join(parts) + r")\b", lambda found: parts[found[1]], text)
