"""What lesson 15 draws and measures about pre-training.

    slices(cubes, titles)             the middles of cubes, side by side
    cube_of(volume)                   the middle of a CT, as the course's pre-trained networks want it
    moved(encode, one, other, m)      how far features at visible places differ between two cubes
    collapses(watched, every)         whether a teacher goes on telling samples apart
    first_steps(went, dice)           the beginnings of several trainings
    transfer_curves(ids)              Dice over labelled people, from the claims ledger
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fmlab.inference import resampled
from fmlab.lessons import claims
from fmlab.lessons.show import panels
from fmlab.pretraining import nano
from fmlab.pretraining.distillation import Collapse
from fmlab.pretraining.mae import grown
from fmlab.viewer import row
from fmlab.volume import Volume
from fmlab.windows import WIDE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LINES = (("o-", "#595959"), ("s--", "#0072B2"), ("^-.", "#D55E00"), ("D:", "#009E73"), ("v-", "#CC79A7"))  # Okabe-Ito
_OF_ARM = dict(zip(("scratch", "supervised", "supervised on few", "mae", "genesis", "swin_ssl"),
                   (*_LINES[:2], _LINES[1], *_LINES[2:])))  # an arm looks the same in every panel; no panel has both supervised
_MEAN_OF = 4  # steps of a curve that are drawn as one: losses of small batches jitter


def slices(cubes: Sequence[Tensor], titles: Sequence[str] = (), inches: float = 1.6, sides: str = "LR") -> Figure:
    """The axial slice through the middle of each cube (1, X, Y, Z): the front of the body above, its left at the left."""
    return row([cube[0, :, :, cube.shape[3] // 2].T.flip(0) for cube in cubes], titles=titles, inches=inches, sides=sides)


def cube_of(volume: Volume) -> Tensor:
    """The middle of a CT, (1, 1, S, S, S): nano.SIDE voxels of nano.SPACING mm, in the course's window, air beyond the scan."""
    values = WIDE(resampled(volume, nano.SPACING)[0])
    lacking = [nano.SIDE - n for n in values.shape[:0:-1]]  # of the last axis first, as F.pad wants it; below 0 it cuts
    return F.pad(values, [part for n in lacking for part in (n // 2, n - n // 2)])[None]


@torch.no_grad()
def moved(encode: Callable[[Tensor], list[Tensor]], one: Tensor, other: Tensor, visible: Tensor) -> list[float]:
    """By level, how far the features of two cubes (B, 1, X, Y, Z) lie apart at visible places, relative to their size.

    visible: (B, 1, *grid) bool, True is visible.
    """
    apart = []
    for a, b in zip(encode(one), encode(other)):
        m = grown(visible, a.shape[2:]).expand_as(a)
        apart.append(float((a - b)[m].square().mean().sqrt() / a[m].square().mean().sqrt()))
    return apart


def collapses(watched: Mapping[str, Sequence[Collapse]], every: int) -> tuple[Figure, str]:
    """Entropy of the mean answer over the steps of some distillations, seen at first and after each ``every`` steps; the legend
    gives the information at the end. And the same in words."""
    fig, ax = panels((6.5, 3.6))
    for (name, states), (style, colour) in zip(watched.items(), _LINES):
        ax.plot(np.arange(len(states)) * every, [state.together for state in states], style, color=colour,
                label=f"{name}: information {states[-1].information:.2f} at the end")
    ax.set(xlabel="step", ylabel="entropy of the\nmean answer", ylim=(-0.05, 1.05))
    ax.xaxis.get_major_locator().set_params(integer=True)
    fig.legend(frameon=False, fontsize=8, loc="outside upper left")  # beside the curves, which may lie anywhere from 0 to 1
    return fig, "Entropy of the teacher's mean answer, as a share of the largest possible. " + "; ".join(
        f"{name}: {states[0].together:.2f} at first, {states[-1].together:.2f} at the end, information "
        f"{states[-1].information:.2f}" for name, states in watched.items()) + "."


def first_steps(went: Mapping[str, Sequence[Mapping]], dice: Mapping[str, float]) -> tuple[Figure, str]:
    """The loss of some trainings, arm -> log of ``train``, with each arm's Dice in the legend; and the same in words."""
    fig, ax = panels((6, 3))
    for (arm, log), (style, colour) in zip(went.items(), _LINES):
        width = _MEAN_OF if len(log) > _MEAN_OF else 1  # of a mean over all there is, one point would be left: no line
        loss = np.convolve([line["loss"] for line in log], np.ones(width) / width, mode="valid")
        ax.plot(np.arange(len(loss)) + width, loss, style[1:], color=colour, label=f"{arm}: Dice {dice[arm]:.2f} on a new person")
    ax.set(xlabel="step", ylabel=f"loss, mean of {width} steps" if width > 1 else "loss")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(frameon=False, fontsize=8)
    return fig, "Loss over the first steps; at the end " + "; ".join(
        f"{arm} {np.mean([line['loss'] for line in log[-_MEAN_OF:]]):.2f}, Dice {dice[arm]:.2f}" for arm, log in went.items())


def transfer_curves(ids: Sequence[str]) -> tuple[Figure, str]:
    """Mean Dice by arm over the number of labelled people, mean and spread of the shipped runs' seeds, a panel a claim; and the
    same in words. A claim without runs says so."""
    fig, axes = panels((4.5 * len(ids), 3.2), len(ids))
    told = []
    for ax, claim in zip(np.atleast_1d(axes), ids):
        runs = claims.runs(claim)
        means = runs[0].details["mean"] if runs else {}
        for place, arm in enumerate(sorted(means, key=list(_OF_ARM).index)):
            counts, (style, colour) = sorted(means[arm], key=int), _OF_ARM[arm]
            curves = np.array([[run.details["mean"][arm][count] for count in counts] for run in runs])
            x = [int(n) * 1.05 ** (place - (len(means) - 1) / 2) for n in counts]  # side by side, or the spreads hide each other
            ax.errorbar(x, curves.mean(0), curves.std(0), fmt=style, color=colour, label=arm, capsize=3)
            told.append(f"{claim}, {arm}: " + ", ".join(f"{value:.2f} with {n}" for value, n in zip(curves.mean(0), counts)))
        seeds = f"{len(runs)} seed{'s' * (len(runs) != 1)}"
        ax.set(title=f"{claim}, {seeds}" if runs else f"{claim}: not run yet", xlabel="labelled people", ylabel="mean Dice")
        if runs:
            ax.set_xscale("log")
            ax.set_xticks([int(n) for n in counts], counts)
            ax.minorticks_off()
            ax.legend(frameon=False, fontsize=8)
    return fig, "Transfer curves, mean Dice over labelled people. " + ("; ".join(told) or "No run is stored yet.")
