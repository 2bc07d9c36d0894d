"""What a slide is, and how much one holds."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from typing import Literal

from fmlab.lessons.teaching.markdown import Block, inline_html, to_html
from fmlab.lessons.teaching.results import Figure

Kind = Literal["title", "text", "question", "answer", "exercise", "figure", "printed"]
FULL = 12.5  # lines of the deck's body size; the deck shrinks what a guess here gets wrong
_WIDE = 74  # characters of a line
_PRINTED = 130  # and of a printed one, before it is broken


@dataclass
class Slide:
    """One slide. over: the line above its title. body: pieces of HTML. notes: Markdown, for the speaker. weight: lines used."""

    kind: Kind
    title: str
    over: str = ""
    body: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    weight: float = 0.0

    def add(self, piece: str, lines: float) -> None:
        """Put a piece of HTML on the slide."""
        self.body.append(piece)
        self.weight += lines

    def fits(self, lines: float) -> bool:
        """Whether a piece of so many lines has room; on an empty slide anything has."""
        return not self.body or self.weight + lines <= FULL


def lines_of(block: Block, text: str) -> float:
    """How many lines a block takes when ``text`` of it is shown."""
    if block.kind == "math":
        return 2.2 + 1.2 * text.count(r"\\")
    if block.kind in ("table", "list", "code"):
        return sum(1.2 * (1 + len(line) // _WIDE) for line in text.splitlines())
    return 0.5 + 1 + len(text) // _WIDE


def options(texts: tuple[str, ...], right: int | None = None) -> str:
    """Lettered options; the right one marked, in words as well, where it is told."""
    rows = []
    for place, text in enumerate(texts):
        told = right == place
        rows.append(f"<li{' class=right' if told else ''}>{'<b>Right: </b>' if told else ''}{inline_html(text)}</li>")
    return f"<ol type=A>{''.join(rows)}</ol>"


def picture(figure: Figure) -> str:
    """A figure on a white card, as large as the slide lets it be."""
    return f'<figure><img src="{figure.source}" alt="{html.escape(figure.alt)}"></figure>'


def printed(text: str, most: int = 18) -> str:
    """Printed lines, the first of them where there are many; a line that the deck has to break counts as often as it is long."""
    lines = text.splitlines()
    rows, kept = 0, 0
    while kept < len(lines) and rows + 1 + len(lines[kept]) // _PRINTED <= most:
        rows += 1 + len(lines[kept]) // _PRINTED
        kept += 1
    more = [f"... and {len(lines) - kept} lines more"] if kept < len(lines) else []
    return f"<pre>{html.escape(chr(10).join([*lines[:kept], *more]))}</pre>"


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph, an equation or a table from Markdown, in a box of its own class."""
    return f"<div{f' class={kind}' if kind else ''}>{to_html(text)}</div>"
