"""For lesson 12: which data set draws what, and what three losses make of it, in pictures.

    matrix(w, rows, columns)              the partial-label matrix
    after_steps(dice, drawn_by)           Dice of some structures, before and after further training with several losses
    by_share(runs, kinds)                 Dice over the number of hospitals that draw a structure, of stored runs
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fmlab.lessons.claims import Run
from fmlab.lessons.show import panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {"before": "#999999", "masked": "#0072B2", "unmasked": "#E69F00", "softmax": "#D55E00"}  # Okabe-Ito, and grey
_HATCHES = {"before": "", "masked": "", "unmasked": "//", "softmax": ".."}
_MARKERS = {"masked": "o", "unmasked": "s", "softmax": "^"}


def matrix(w: np.ndarray, rows: Sequence[str], columns: Sequence[str], parted: int) -> tuple[Figure, str]:
    """w (rows, columns) of 0/1 as fields, dark where annotated, with a line after the first ``parted`` rows; and in words."""
    fig, ax = panels((9.5, 4.4))
    ax.pcolormesh(w, cmap="Blues", vmax=1.6, edgecolors="white", linewidth=1)
    ax.axhline(parted, color="black", linewidth=1.5)
    ax.invert_yaxis()
    ax.set_xticks(np.arange(len(columns)) + 0.5, columns, rotation=90, fontsize=8)
    ax.set_yticks(np.arange(len(rows)) + 0.5, rows, fontsize=9)
    most = int(w.sum(1).max())
    return fig, (f"The partial-label matrix: {parted} real data sets and {len(rows) - parted} hospitals as rows, {len(columns)} "
                 f"structures as columns. The fullest row has {most} fields, the fullest column {int(w.sum(0).max())}.")


def after_steps(dice: Mapping[str, Mapping[str, float]], drawn_by: Mapping[str, str]) -> tuple[Figure, str]:
    """Dice, kind -> structure -> value, as bars; below each structure who draws it. And the same in words."""
    fig, ax = panels((9, 3.6))
    for i, (kind, values) in enumerate(dice.items()):
        place = np.arange(len(drawn_by)) + 0.8 / len(dice) * (i - (len(dice) - 1) / 2)
        ax.bar(place, [values[name] for name in drawn_by], 0.76 / len(dice), label=kind, hatch=_HATCHES[kind],
               color=COLOURS[kind], edgecolor="white")
    ax.set_xticks(range(len(drawn_by)), [f"{name}\n({by})" for name, by in drawn_by.items()], fontsize=9)
    ax.set(ylabel="Dice", ylim=(0, 1), title="a body that nobody trained on; in brackets: who draws the structure")
    fig.legend(frameon=False, ncol=len(dice), loc="outside lower center")
    return fig, "Dice of structures before and after further steps with three losses. " + "; ".join(
        f"{name}, drawn by {by}: " + ", ".join(f"{kind} {values[name]:.2f}" for kind, values in dice.items())
        for name, by in drawn_by.items()) + "."


def by_share(runs: Sequence[Run], kinds: Sequence[str]) -> tuple[Figure, str]:
    """Mean Dice on unseen bodies over the number of hospitals that draw a structure, a curve a loss, with the spread over seeds
    where there are several; and the same in words. runs: of claim C05, one at least."""
    fig, ax = panels((6.5, 3.2))
    shares, told = sorted(runs[0].details["by_share"]), []
    for kind in kinds:
        curves = np.array([[run.details["by_share"][share][kind] for share in shares] for run in runs])
        spread = curves.std(0) if len(runs) > 1 else None
        ax.errorbar(range(len(shares)), curves.mean(0), spread, fmt=_MARKERS[kind] + "-", color=COLOURS[kind], label=kind,
                    capsize=3, clip_on=False)
        told.append(f"{kind}: " + ", ".join(f"{value:.2f} at {share} of 4" for value, share in zip(curves.mean(0), shares)))
    ax.set_xticks(range(len(shares)), [f"{share} of 4" for share in shares])
    ax.set(xlabel="hospitals that draw the structure", ylabel="mean Dice", ylim=(0, 1))
    ax.legend(frameon=False, fontsize=9)
    return fig, "Mean Dice on unseen bodies over the number of hospitals that draw a structure. " + "; ".join(told) + "."
