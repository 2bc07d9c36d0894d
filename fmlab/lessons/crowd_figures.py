"""Two figures of lesson 11: Dice over the boxes drawn, by who chooses the slice; C19's effect over the share of slices missed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fmlab.lessons.show import Picture, figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLES = ("o-", "^-", "x:", "s--")


def choice_curves(curves: Mapping[str, np.ndarray], title: str = "", first: int = 2) -> Picture:
    """Way of choosing -> Dice after ``first``, first + 1, ... boxes."""
    fig = _blank(5.5, 3)
    ax = fig.subplots()
    for (what, values), style in zip(curves.items(), STYLES):
        ax.plot(np.arange(len(values)) + first, values, style, label=what)
    ax.set(xlabel="boxes drawn", ylabel="Dice of the volume", title=title)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(frameon=False)
    told = "; ".join(f"{what} {values[0]:.2f}, {values[1]:.2f} after the next, {values[-1]:.2f} at the end"
                     for what, values in curves.items())
    return figure(fig, alt=f"Dice of the volume over the boxes drawn, by where the next box goes: {told}.")


def effect_by_missed(details: Sequence[Mapping]) -> Picture:
    """Of runs of C19: mean effect over the share of slices left out, boxes off by a tenth of their sides."""
    effects = [each["effect"] for each in details]
    names = [what for what in (effects[0] if effects else ()) if what.startswith("missed ")]
    shares, values = [float(what.split()[1]) for what in names], [np.mean([each[what] for each in effects]) for what in names]
    fig = _blank(5, 2.6)
    ax = fig.subplots()
    ax.plot(shares, values, "o-")
    ax.axhline(0, color="gray", linewidth=1)
    ax.set(xlabel="share of slices left out", ylabel="Dice less 0.9 × expert's")
    told = "; ".join(f"{share:.0%} left out {value:+.2f}" for share, value in zip(shares, values)) or "no run yet"
    return figure(fig, alt=f"Dice less nine tenths of the expert's Dice over the share of slices left out: {told}.")


def _blank(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure  # takes a while to import

    return Figure(figsize=(width, height))
