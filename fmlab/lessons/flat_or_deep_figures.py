"""The figures of lesson 03, each with its words for who does not see it.

    by_arm(points)                     Dice of large and of long structures, a row an arm
    by_structure(points)               four arms, structure by structure: Dice, and jaggedness
    by_thickness(points)               thin slices, thick ones, thick ones resampled
    first_steps(went, dice)            the loss of short trainings
    coronal(values, maps)              classes over the same coronal slice, side by side
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from fmlab.lessons.flat_or_deep import LARGE, LONG, STRUCTURES
from fmlab.lessons.flat_or_deep_runs import PAIRS, Point
from fmlab.lessons.show import panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {"2-D": "#D55E00", "2.5-D": "#E69F00", "2-D, three axes": "#CC79A7", "3-D": "#0072B2"}  # Okabe-Ito
MARKS = {"2-D": "o", "2.5-D": "s", "2-D, three axes": "D", "3-D": "^"}
_SHOWN = ("#0072B2", "#E69F00", "#D55E00", "#CC79A7", "#F0E442", "#56B4E9", "#009E73", "#FFFFFF")  # one a structure
_SIZES = (("large", LARGE, "o", "#0072B2", -0.14), ("long", LONG, "^", "#D55E00", 0.14))
_BUDGET = {"voxels": "", "compute": ", as much compute as 3-D", "longer": ", three times as long"}


def named(structure: str) -> str:
    """A structure in words."""
    return structure.replace("_", " ").replace("inferior vena cava", "vena cava")


def of(points: Sequence[Point], arm: str, budget: str = "voxels") -> list[Point]:
    """The runs of one arm and budget."""
    return [point for point in points if (point.arm, point.budget) == (arm, budget)]


def by_arm(points: Sequence[Point]) -> tuple[Figure, str]:
    """Mean Dice on thin slices: a dot a seed, a bar for their mean; large structures and long ones; and the same in words."""
    pairs = [pair for pair in PAIRS if of(points, *pair)]
    fig, ax = panels((7.5, 0.9 + 0.36 * len(pairs)))
    told = []
    for place, (arm, budget) in enumerate(pairs):
        means = []
        for size, structures, mark, colour, lift in _SIZES:
            values = [point.mean("thin", structures) for point in of(points, arm, budget)]
            ax.plot(values, [place + lift] * len(values), mark, color=colour, markersize=6, alpha=0.8,
                    label=None if place else f"{size}: {', '.join(map(named, structures))}")
            ax.plot([np.mean(values)] * 2, [place + lift - 0.14, place + lift + 0.14], color=colour, linewidth=2)
            means.append(float(np.mean(values)))
        told.append(f"{arm}{_BUDGET[budget]}: large {means[0]:.2f}, long {means[1]:.2f}")
    ax.set_yticks(range(len(pairs)), [arm + _BUDGET[budget] for arm, budget in pairs])
    ax.invert_yaxis()
    ax.grid(axis="x", color="#dddddd")
    ax.set_axisbelow(True)
    ax.set(xlabel="mean Dice on new people, a mark for each seed", xlim=(0, 1))
    ax.legend(fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(-0.35, 1.0), ncols=1)
    return fig, "Mean Dice by arm. " + "; ".join(told) + "."


def by_structure(points: Sequence[Point], arms: Sequence[str] = tuple(COLOURS)) -> tuple[Figure, str]:
    """Mean over people and seeds of Dice, and of jaggedness, structure by structure; and the same in words."""
    fig, axes = panels((9, 3.6), 2)
    told = []
    for ax, (what, title) in zip(axes, (("thin", "Dice"), ("jagged", "jaggedness across slices"))):
        for arm in arms:
            runs = of(points, arm)
            values = [np.mean([value for run in runs if np.isfinite(value := _mean(run, what, name))]) for name in STRUCTURES]
            ax.plot(values, range(len(STRUCTURES)), MARKS[arm], color=COLOURS[arm], label=arm, markersize=6)
            told.append(f"{title}, {arm}: " + ", ".join(f"{named(n)} {v:.2f}" for n, v in zip(STRUCTURES, values)))
        ax.set_yticks(range(len(STRUCTURES)), [named(name) for name in STRUCTURES])
        ax.axhline(len(LARGE) - 0.5, color="#999999", linewidth=0.8)
        ax.grid(axis="x", color="#dddddd")
        ax.set_axisbelow(True)
        ax.invert_yaxis()
        ax.set_title(title, fontsize=10)
    axes[0].set(xlim=(0, 1), xlabel="mean over people and seeds")
    axes[1].set(xlabel="1: as smooth as the truth (log axis)", xscale="log")
    axes[1].set_xticks([0.5, 1, 2, 4], ["0.5", "1", "2", "4"])
    axes[1].minorticks_off()
    axes[1].axvline(1, color="#595959", linewidth=1, linestyle=":")
    axes[1].legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return fig, ". ".join(told) + "."


def by_thickness(points: Sequence[Point], arms: Sequence[str] = tuple(COLOURS)) -> tuple[Figure, str]:
    """Mean Dice of each arm on slices of 8 mm, of 24 mm, and of 24 mm resampled to 8; and the same in words."""
    fig, ax = panels((5.8, 3.2))
    ways, told = {"thin": "8 mm", "thick": "24 mm,\nas they are", "resampled": "24 mm,\nresampled to 8"}, []
    for arm in arms:
        means = [float(np.mean([run.mean(what, STRUCTURES) for run in of(points, arm)])) for what in ways]
        ax.plot(range(3), means, MARKS[arm] + "-", color=COLOURS[arm], label=arm)
        told.append(f"{arm}: " + ", ".join(f"{label} {value:.2f}" for label, value in zip(ways.values(), means)))
    ax.set_xticks(range(3), list(ways.values()))
    ax.set(ylabel="mean Dice on new people", ylim=(0, 0.8), xlim=(-0.2, 2.2))
    ax.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return fig, ("Mean Dice on thin slices, on thick ones and on thick ones "
                 "resampled. " + "; ".join(told) + ".").replace("\n", " ")


def first_steps(went: Mapping[str, Sequence[Mapping]], dice: Mapping[str, float]) -> tuple[Figure, str]:
    """The loss of some short trainings, arm -> log, a dot a step, and each arm's Dice in the legend; and the same in words."""
    fig, ax = panels((7.5, 3.2))
    for (arm, log), (mark, colour) in zip(went.items(), (("o", "#595959"), ("s", "#E69F00"), ("^", "#0072B2"), ("v", "#D55E00"))):
        ax.plot([line["step"] for line in log], [line["loss"] for line in log], mark + "-", color=colour, markersize=3.5,
                linewidth=1, label=f"{arm}:\nDice {dice[arm]:.2f} on a new person")
    ax.set(xlabel="step", ylabel="loss of the step's two cubes")
    ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return fig, "Loss over the first steps; at the last of them " + "; ".join(
        f"{arm} {log[-1]['loss']:.2f}, Dice {dice[arm]:.2f}" for arm, log in went.items()) + "."


def coronal(values: Tensor, maps: Mapping[str, Tensor], tall: float = 1.0) -> Figure:
    """A coronal slice through the middle of what a network read (X, Y, Z), plain and under maps of classes (X, Y, Z).

    tall: height of a voxel over its width, 3 where slices are thick. Head up, the patient's left at the left.
    """
    from matplotlib.colors import ListedColormap, to_rgba
    from matplotlib.patches import Patch

    colours = ListedColormap([(0, 0, 0, 0), *(to_rgba(colour, 0.75) for colour in _SHOWN)])
    middle = values.shape[1] // 2
    fig, axes = panels((1.75 * (1 + len(maps)) + 1.2, 3.3), 1 + len(maps))
    shown: set[int] = set()
    for ax, (title, classes) in zip(axes, (("what is read", None), *maps.items())):
        ax.imshow(values[:, middle].T.flip(0), cmap="gray", vmin=0, vmax=1, aspect=tall)
        if classes is not None:
            part = classes[:, middle].T.flip(0)
            ax.imshow(part, cmap=colours, vmin=0, vmax=len(_SHOWN), aspect=tall, interpolation="nearest")
            shown |= set(part.unique().tolist()) - {0}
        ax.set_title(title, fontsize=9)
        ax.set_axis_off()
    axes[0].text(0.02, 0.5, "L", transform=axes[0].transAxes, color="white", fontsize=8)
    axes[0].text(0.98, 0.5, "R", transform=axes[0].transAxes, color="white", fontsize=8, ha="right")
    patches = [Patch(facecolor=_SHOWN[k - 1], edgecolor="#595959", label=named(STRUCTURES[k - 1])) for k in sorted(shown)]
    axes[-1].legend(handles=patches, fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return fig


def _mean(point: Point, what: str, name: str) -> float:
    values = [row[name] for row in getattr(point, what).values() if name in row]
    return float(np.mean(values)) if values else float("nan")
