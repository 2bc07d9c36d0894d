"""The table of systems to read and to print: as Markdown, as a plain HTML table, and as a page that needs no network."""

from __future__ import annotations

import html
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fmlab.errors import DataError
from fmlab.systems.records import NONE, NOT_SEEN, System, ancestors, systems

COLUMNS = ("system", "year", "A", "B", "C", "usage", "learnt from", "taught by", "parameters", "licence: code",
           "licence: weights", "weights", "in fmlab")
SHORT = ("system", "year", "A", "B", "C", "usage", "learnt from", "licence: weights", "in fmlab")
"""Columns that fit a notebook's width."""
_LEFT = "text-align:left"  # inline, as JupyterLab keeps nothing else and would set words to the right
_WHOLE = ("year", "B")  # columns whose words are not to be broken
_STYLE = """body{font:15px/1.4 system-ui,sans-serif;margin:1.5em;color:#111;background:#fff}
table{border-collapse:collapse;width:100%;font-size:12px}caption{text-align:left;padding:.4em 0}
th,td{border:1px solid #bbb;padding:.25em .4em;text-align:left;vertical-align:top}thead th{background:#eee}a{color:#0050a0}
@media(prefers-color-scheme:dark){body{color:#eee;background:#111}thead th{background:#333}a{color:#8cf}}
@media print{@page{size:A3 landscape;margin:1cm}body{color:#000;background:#fff;margin:0}thead{display:table-header-group}
thead th{background:#fff}tr{break-inside:avoid}a{color:#000;text-decoration:none}}"""


def amount(one: System) -> str:
    """How much it learnt from, "3,410 scans", or "not seen"."""
    return f"{one.amount:,} {one.unit}" if one.amount else NOT_SEEN


def parameters(one: System) -> str:
    """Its number of parameters: exact where counted, in millions as published, or "not seen"."""
    if not one.parameters:
        return NOT_SEEN
    return f"{one.parameters:,}" if one.counted or one.parameters % 100_000 else f"about {one.parameters / 1e6:,.1f} million"


def licence(stated: str) -> str:
    """A licence in words."""
    return {"": NOT_SEEN, NONE: "none: all rights reserved"}.get(stated, stated)


def rows(one: System) -> dict[str, str]:
    """Everything about one system in words, label -> text; what compares two systems side by side."""
    breadth, depth, words = one.place
    line = [ancestor.name for ancestor in ancestors(one.key)]
    return {
        "year": str(one.year), "A: generalist or specialised": breadth, "B: 2-D or 3-D": depth,
        "C: images alone or with text": f"{words}: {one.text}" if one.text else words,
        "used": ", ".join(one.usage), "kinds of images": ", ".join(one.images), "learnt from": one.data, "how much": amount(one),
        "taught by": ", ".join(one.taught_by), "begins with the weights of": ", then ".join(line) or "nobody in this table",
        "parameters": parameters(one) + (f" ({one.parameters_of})" if one.parameters_of else ""),
        "licence of the code": licence(one.code_licence), "licence of the weights": licence(one.weights_licence),
        "code": one.code or NOT_SEEN, "weights": one.weights or NOT_SEEN, "DOI": one.doi or NOT_SEEN,
        "in fmlab": one.module or "not written here", "lessons": ", ".join(one.lessons) or "none",
        "facts from": one.seen or NOT_SEEN, "note": one.note or "-",
    }


def _cells(one: System) -> dict[str, str]:
    learnt = one.data if not one.amount else f"{one.data} ({amount(one)})"
    there = "to be had" if one.has_weights else NOT_SEEN if not one.weights else NONE
    ours = one.module.removeprefix("fmlab.") + (f" (lesson {', '.join(one.lessons)})" if one.lessons else "")
    words = (one.name, str(one.year), *one.place, ", ".join(one.usage), learnt, ", ".join(one.taught_by), parameters(one),
             licence(one.code_licence), licence(one.weights_licence), there, ours.strip() or "-")
    return dict(zip(COLUMNS, words, strict=True))


def markdown(shown: Sequence[System] | None = None) -> str:
    """The table in Markdown, a line each; names link to the paper."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    for one in systems() if shown is None else shown:
        name, *rest = (cell.replace("|", "/") for cell in _cells(one).values())
        lines.append("| " + " | ".join([f"[{name}](https://doi.org/{one.doi})" if one.doi else name, *rest]) + " |")
    return "\n".join(lines) + "\n"


def html_table(shown: Sequence[System] | None = None, caption: str = "", columns: Sequence[str] = COLUMNS) -> str:
    """The table in HTML without scripts, with row and column headers; JupyterLab keeps it in a saved notebook.

    columns: of COLUMNS, the first of them "system", which links to the paper.
    """
    found = systems() if shown is None else tuple(shown)
    body = "".join(_row(one, columns[1:]) for one in found)
    head = "".join(f'<th scope="col" style="{_LEFT}">{html.escape(column)}</th>' for column in columns)
    words = html.escape(caption or f"{len(found)} system{'' if len(found) == 1 else 's'}")
    return f"<table><caption>{words}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _row(one: System, columns: Sequence[str]) -> str:
    cells, name = _cells(one), html.escape(one.name)
    name = f'<a href="https://doi.org/{html.escape(one.doi)}">{name}</a>' if one.doi else name
    rest = "".join(f'<td style="{_LEFT}{";white-space:nowrap" if column in _WHOLE else ""}">{html.escape(cells[column])}</td>'
                   for column in columns)
    return f'<tr><th scope="row" style="{_LEFT}">{name}</th>{rest}</tr>'


def page(shown: Sequence[System] | None = None) -> str:
    """The table as a whole HTML page: light and dark, A3 on paper, no script and no network."""
    caption = ('Axes: A generalist or specialised, B 2-D or 3-D, C images alone or with text. "not seen" is not "no": '
               "it says what we did not find. Facts as of November 2026.")
    return (f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A map of foundation models</title>'
            f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body><main>'
            f"<h1>A map of foundation models</h1>{html_table(shown, caption)}</main></body></html>\n")


def save_page(path: str | Path, shown: Sequence[System] | None = None, overwrite: bool = False) -> Path:
    """Write the page, or the Markdown for a path that ends in .md, by atomic rename; returns the path.

    Raises DataError where a file of that name is there already and ``overwrite`` is off, or where it cannot be written.
    """
    path = Path(path).expanduser()
    if path.exists() and not overwrite:
        raise DataError(f"{path} is there already; give another name, or overwrite=True.")
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        draft.write_text(markdown(shown) if path.suffix == ".md" else page(shown), encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise DataError(f"{path} cannot be written ({error}); name another place.") from error
    return path
