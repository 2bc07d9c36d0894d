"""Figures of lesson 01: the map of systems on any two axes, what they learnt from, and the matrix of partial labels."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fmlab import templates
from fmlab.errors import LessonError
from fmlab.systems import AXES, LISTED, SEVENTEEN, USAGES, System, known_share, scans, systems, together

MARKS = dict(zip(USAGES, (("o", "#56B4E9"), ("s", "#0072B2"), ("^", "#009E73"), ("D", "#D55E00"), ("P", "#CC79A7"),
                          ("X", "#595959"))))  # Okabe-Ito, and a shape each
TITLES = {"A": "A: generalist or specialised", "B": "B: 2-D or 3-D", "C": "C: images alone or with text", "usage": "main usage",
          "year": "year", "amount": "how much it learnt from", "parameters": "parameters"}
UNKNOWN = "not seen"
_SHORT = {"CLIP-driven Universal Model": "CLIP-driven", "Swin UNETR, self-supervised": "Swin UNETR SSL",
          "MAE and S3D in 3-D": "MAE, S3D"}
_WIDE, _LINE = 1.55, 0.19  # inches of a column of names, and of a line
Drawn = tuple[Figure, str]


def values(axis: str, shown: Sequence[System]) -> tuple[list[str], list[str]]:
    """Value of each system on one of TITLES, and the values in their order; numbers go by powers of ten."""
    if axis in AXES:
        return [one.on(axis) for one in shown], list(AXES[axis])
    if axis == "usage":
        return [one.usage[0] for one in shown], list(USAGES)
    if axis == "year":
        years = [str(one.year) for one in shown]
        return years, sorted(set(years))
    if axis in ("amount", "parameters"):
        numbers = [getattr(one, axis) for one in shown]
        found = sorted({int(np.log10(number)) for number in numbers if number})
        named = {decade: f"{10**decade:,} to {10 ** (decade + 1):,}" for decade in found}
        return ([named[int(np.log10(number))] if number else UNKNOWN for number in numbers],
                [*named.values(), *([UNKNOWN] if 0 in numbers else [])])
    raise LessonError(f"The map has no axis {axis!r}; choose {', '.join(TITLES)}.")


def the_map(x: str = "B", y: str = "A", shown: Sequence[System] | None = None) -> Drawn:
    """Every system as a mark with its name, in the cell of its values on two of TITLES; with alt text.

    Shape and colour say the main usage, a hollow mark that words go in. Raises LessonError for an axis that there is not.
    """
    shown = systems() if shown is None else shown
    if not shown:
        raise LessonError("There is no system to draw; ask for fewer properties at once.")
    (across, columns), (up, lines) = values(x, shown), values(y, shown)
    columns, lines = ([value for value in order if value in there] for order, there in ((columns, across), (lines, up)))
    cells = {(row, column): [one for one, a, b in zip(shown, across, up) if (b, a) == (row, column)]
             for row in lines for column in columns}
    fold = {column: 2 if max(len(cells[row, column]) for row in lines) > 9 else 1 for column in columns}
    tall = {row: max(-(-len(cells[row, column]) // fold[column]) for column in columns) + 0.7 for row in lines}
    left, top = np.cumsum([0, *(fold[column] * _WIDE for column in columns)]), np.cumsum([0, *(tall[row] for row in lines)])
    fig, ax = plt.subplots(figsize=(left[-1] + 1.2, top[-1] * _LINE + 0.9))
    for i, row in enumerate(lines):
        for j, column in enumerate(columns):
            for k, one in enumerate(cells[row, column]):
                deep = -(-len(cells[row, column]) // fold[column])
                _mark(ax, one, left[j] + 0.12 + (k // deep) * _WIDE, top[i] + 0.85 + k % deep)
    ax.set(xlim=(0, left[-1]), ylim=(top[-1], 0), xlabel=TITLES[x], ylabel=TITLES[y])
    ax.set_xticks((left[1:] + left[:-1]) / 2, [_wrapped(column) for column in columns], fontsize=8, va="top")
    ax.set_yticks((top[1:] + top[:-1]) / 2, [_wrapped(row) for row in lines], fontsize=8)
    ax.vlines(left[1:-1], 0, top[-1], color="0.75", lw=0.8)
    ax.hlines(top[1:-1], 0, left[-1], color="0.75", lw=0.8)
    ax.tick_params(length=0)
    _legend(fig, ax, shown)
    said = "; ".join(f"{row} and {column}: {', '.join(one.name for one in found)}"
                     for (row, column), found in cells.items() if found)
    return fig, f"Map of {len(shown)} systems, {TITLES[y]} against {TITLES[x]}. {said}."


def _mark(ax: plt.Axes, one: System, x: float, y: float) -> None:
    shape, colour = MARKS[one.usage[0]]
    ax.plot(x, y, shape, color=colour, markerfacecolor="white" if one.text else colour, markeredgewidth=1.4,
            markersize=5 if shape == "D" else 6)
    ax.text(x + 0.1, y, _SHORT.get(one.name, one.name), fontsize=8, va="center_baseline")


def _legend(fig: Figure, ax: plt.Axes, shown: Sequence[System]) -> None:
    there = [usage for usage in USAGES if any(one.usage[0] == usage for one in shown)]
    handles = [Line2D([], [], ls="", marker=MARKS[usage][0], color=MARKS[usage][1], label=usage) for usage in there]
    if any(one.text for one in shown):
        handles.append(Line2D([], [], ls="", marker="o", color="0.3", markerfacecolor="white", label="hollow: words go in"))
    ax.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(handles), frameon=False, fontsize=8,
              handletextpad=0.1, columnspacing=1.0)


def _wrapped(words: str) -> str:
    return words.replace(" to ", " to\n", 1) if len(words) > 12 else words.replace(" ", "\n", 1) if len(words) > 9 else words


def amounts() -> Drawn:
    """How much each system learnt from, as far as we have seen it: pictures and scans apart, on one logarithmic axis."""
    found = sorted((one for one in systems() if one.amount), key=lambda one: one.amount)
    fig, ax = plt.subplots(figsize=(7, 0.2 * len(found) + 0.9))
    for kind, shape, colour in (("scans", "s", "#0072B2"), ("pictures", "o", "#D55E00")):
        there = [n for n, one in enumerate(found) if one.unit.startswith(kind)]
        ax.plot([found[n].amount for n in there], there, shape, color=colour, label=kind)
    ax.set_xscale("log")
    ax.set_yticks(range(len(found)), [_SHORT.get(one.name, one.name) for one in found], fontsize=8)
    ax.set(xlabel="pictures, or scans", ylim=(-0.7, len(found) - 0.3))
    ax.grid(axis="x", color="0.9")
    ax.legend(frameon=False, loc="lower right")
    said = ", ".join(f"{one.name} {one.amount:,} {one.unit}" for one in found)
    return fig, f"How much {len(found)} systems learnt from, from the least to the most: {said}."


def seventeen() -> str:
    """The seventeen data sets of the slides as an HTML table: scans, targets, and what is known of each."""
    rows = []
    for number, one in enumerate(SEVENTEEN, start=1):
        numbers = [f"{value:,}" if value else "not seen" for value in (one.published, one.targets)]
        listed = f"{one.listed:,}" if one.listed else "tested on" if one.tested else "none"
        licence = (templates.TEMPLATES[one.template].licence if one.template else "") or "not seen"
        cells = "".join(f"<td>{cell}</td>" for cell in (numbers[0], listed, numbers[1]))
        words = "".join(f'<td style="text-align:left">{cell}</td>' for cell in (licence, one.note))
        rows.append(f'<tr><td>{number}</td><th scope="row" style="text-align:left">{one.title}</th>{cells}{words}</tr>')
    titles = ("number", "data set", "scans, as published", "of them in the released list", "targets", "licence", "note")
    left = ' style="text-align:left"'
    head = "".join(f'<th scope="col"{left if title in ("data set", "licence", "note") else ""}>{title}</th>' for title in titles)
    caption = "Seventeen data sets: fourteen to train on, three to test on"
    return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def matrix(datasets: Sequence[str] = LISTED) -> Drawn:
    """The partial-label matrix of real data sets as a picture, and beside it how many scans each row stands for."""
    columns = templates.annotated_structures(datasets)
    w, n = templates.template_matrix(datasets), scans(list(datasets))
    fig, (ax, side) = plt.subplots(1, 2, figsize=(10, 0.24 * len(datasets) + 1.9), width_ratios=(6, 1), sharey=True)
    ax.pcolormesh(w, cmap="Blues", vmin=0, vmax=1.6, edgecolors="white", linewidth=1)
    ax.set_xticks(np.arange(len(columns)) + 0.5, columns, rotation=90, fontsize=8)
    ax.set_yticks(np.arange(len(datasets)) + 0.5, datasets, fontsize=8)
    ax.invert_yaxis()
    ax.tick_params(length=0)
    side.barh(np.arange(len(datasets)) + 0.5, n, color="#0072B2")
    for row, number in enumerate(n):
        side.text(number, row + 0.5, f" {number:,}", va="center_baseline", fontsize=8)
    side.set(xlabel="scans", xlim=(0, 1.35 * n.max()))
    side.spines[["top", "right"]].set_visible(False)
    side.tick_params(labelleft=False, length=0)
    fig.tight_layout(w_pad=0.3)
    drawn = "; ".join(f"{name} {row.sum()} ({number:,} scans)" for name, row, number in zip(datasets, w, n))
    return fig, f"The partial-label matrix: {len(datasets)} data sets by {len(columns)} structures. Structures drawn: {drawn}."


def pairs(datasets: Sequence[str] = LISTED) -> Drawn:
    """In how many scans two structures are known together; a pair that nobody ever draws in one scan is left white."""
    columns, w = templates.annotated_structures(datasets), templates.template_matrix(datasets)
    n = scans(list(datasets))
    order = np.argsort(-known_share(w, n), kind="stable")
    counted, names = together(w, n)[np.ix_(order, order)], [columns[k] for k in order]
    fig, ax = plt.subplots(figsize=(7.6, 6.8))
    drawn = ax.pcolormesh(np.ma.masked_equal(counted, 0), cmap="cividis", norm=LogNorm(10, counted.max()))
    ax.set_xticks(np.arange(len(names)) + 0.5, names, rotation=90, fontsize=7)
    ax.set_yticks(np.arange(len(names)) + 0.5, names, fontsize=7)
    ax.invert_yaxis()
    ax.tick_params(length=0)
    ax.set_aspect("equal")
    fig.colorbar(drawn, ax=ax, label="scans in which both are drawn", shrink=0.7)
    found = counted[np.triu_indices(len(names), 1)]
    return fig, (f"In how many scans two of {len(names)} structures are drawn together. {(found == 0).sum()} of {len(found)} "
                 f"pairs never are, and are left white; the most frequent pair is in {found.max():,} scans.")
