"""Does every image in a notebook's outputs say in words what it shows?"""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbformat import NotebookNode

_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml")


class _Images(HTMLParser):
    """Counts <img> and <svg> that carry no words."""

    def __init__(self) -> None:
        super().__init__()
        self.silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        words = said.get("alt") or said.get("aria-label") or ""
        decoration = said.get("role") == "presentation" or said.get("aria-hidden") == "true"
        if tag in ("img", "svg", "canvas") and not words.strip() and not decoration:
            self.silent += 1


def silent_images(html: str) -> int:
    """How many images of an HTML fragment have no alt text."""
    parser = _Images()
    parser.feed(html)
    return parser.silent


def missing_alt(notebook: NotebookNode) -> list[str]:
    """One sentence per output that shows an image without alt text."""
    found = []
    for index, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            bare = any(kind in data for kind in _IMAGES) and "text/html" not in data
            if bare or silent_images("".join(data.get("text/html", ""))):
                found.append(f"Cell {index} shows an image without alt text; show it by fmlab.lessons.figure(fig, alt=...).")
        if cell.cell_type == "markdown" and (silent_images(cell.source) or "![](" in cell.source):
            found.append(f"Cell {index} has a picture without alt text; write ![what it shows](...).")
    return found
