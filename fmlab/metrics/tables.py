"""Summaries as tables: aligned text for a terminal, HTML with caption and header cells for a notebook and its screen reader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Table:
    """caption: says what is shown. header: one per column. rows: cells as text, the first names the row. notes: said below."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def text(self) -> str:
        """Columns aligned: names to the left, figures to the right."""
        lines = [self.header, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.header))]
        body = ["  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:]))]) for line in lines]
        return "\n".join([self.caption, body[0], "-" * len(body[0]), *body[1:], *self.notes])

    def html(self) -> str:
        """A table element with caption and scoped header cells, the notes in a paragraph after it."""
        head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in self.header)
        rows = "".join(
            f'<tr><th scope="row">{escape(row[0])}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:]) + "</tr>"
            for row in self.rows)
        notes = f"<p>{' '.join(escape(note) for note in self.notes)}</p>" if self.notes else ""
        caption = f"<caption>{escape(self.caption)}</caption>"
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{notes}"
