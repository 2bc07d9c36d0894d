"""For lesson 08: Dice over the number of clicks, by who places them, and what a whole scan costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fmlab.lessons.show import Picture, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES = ("o-", "s--", "^:", "v-.")


def over_clicks(curves: Sequence[Mapping[str, np.ndarray]], box: float | None = None) -> Picture:
    """Mean Dice after each click over objects, by where the clicks go, as ``experiments.c08.curves`` gives them for each object.

    box: mean Dice of a box alone, for comparison.
    """
    fig, ax = axes()
    means = {way: np.mean([curve[way] for curve in curves], axis=0) for way in curves[0]}
    for (way, dices), style in zip(means.items(), STYLES):
        ax.plot(range(1, len(dices) + 1), dices, style, label=way)
    if box is not None:
        ax.axhline(box, color="grey", label="a tight box, no click")
    ax.set(xlabel="clicks", ylabel="mean Dice", title=f"{len(curves)} objects; clicks after the first go to the ...")
    ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    said = "; ".join(f"{way} {dices[0]:.2f}, {dices[1]:.2f}, {dices[-1]:.2f}" for way, dices in means.items())
    return figure(fig, alt=f"Mean Dice over the number of clicks, after one, two and {len(dices)}: {said}."
                           + (f" A tight box alone: {box:.2f}." if box is not None else ""))


def bill(scans: Mapping[str, Mapping]) -> Picture:
    """Mean Dice of whole scans over the clicks spent on them, beside a model without prompts: ``details["scans"]`` of C20."""
    fig, ax = axes()
    said = []
    for (name, scan), style in zip(scans.items(), STYLES):
        spent = scan["clicks a round"] * (1 + np.arange(len(scan["after"])))
        (line,) = ax.plot(spent, scan["after"], style, label=name)
        ax.axhline(scan["without prompts"], color=line.get_color(), linestyle=":", linewidth=1)
        said.append(f"{name}, {scan['slices']} slices and {scan['structures']} structures: {scan['without prompts']:.2f} without "
                    f"prompts, {scan['after'][0]:.2f} after {spent[0]} clicks, {scan['after'][-1]:.2f} after {spent[-1]}")
    ax.set(xlabel="clicks on the scan", ylabel="mean Dice in 3-D", title="dotted: the model without prompts")
    ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure(fig, alt="Mean Dice of scans over the clicks spent on each. " + "; ".join(said) + ".")


def axes() -> tuple[Figure, Axes]:
    """A figure with one plot."""
    from matplotlib.figure import Figure

    fig = Figure(figsize=(8, 3.2), layout="constrained")
    return fig, fig.subplots()
