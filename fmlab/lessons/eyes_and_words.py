"""What lesson 02 draws: photographs, words against pictures, probes over labels, and the tables of claim C01.

    photographs(pictures, titles)     colour pictures in a grid
    agreement(logits, ...)            pictures by texts, as shades with their numbers
    pushes(...)                       what two losses want of a batch's logits
    losses(logs)                      the contrastive loss of some trainings
    probe_curves(curves, zero)        accuracy over labels, with zero-shot as levels
    two_tables(runs)                  zero-shot and linear probe of the stored runs, a row an examination

Each gives a figure and what it shows in words.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from fmlab.lessons import claims
from fmlab.metrics.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLES = {"specialist": ("o-", "#0072B2"), "generalist": ("s--", "#D55E00"), "few fundus pictures": ("^-.", "#009E73"),
          "untrained": ("D:", "#595959")}  # Okabe-Ito, and a shape of its own


def photographs(pictures: Sequence, titles: Sequence[str] = (), columns: int = 6, inches: float = 1.55) -> Figure:
    """Pictures (3, H, W) in [0, 1], row by row."""
    rows = -(-len(pictures) // columns)
    titles = [textwrap.fill(title, round(13 * inches)) for title in titles]
    high = inches * (1.3 if titles else 1.02)
    fig, axes = _figure((inches * columns, high * rows), rows, columns)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, picture in zip(axes.flat, pictures):
        ax.imshow(np.asarray(picture).transpose(1, 2, 0), interpolation="bicubic")
    for ax, title in zip(axes.flat, titles):
        ax.set_title(title, fontsize=8, pad=3)
    return fig


def agreement(logits: Tensor, pictures: Sequence, texts: Sequence[str]) -> tuple[Figure, str]:
    """Logits (N, K) as shades and numbers, the pictures on top, the texts at the left."""
    n, k = logits.shape
    fig, axes = _figure((1.0 * n + 3.4, 0.42 * k + 1.1), 2, n, height_ratios=(1.1, 0.42 * k))
    for ax, picture in zip(axes[0], pictures):
        ax.imshow(np.asarray(picture).transpose(1, 2, 0), interpolation="bicubic")
        ax.set_axis_off()
    grid = axes[1, 0].get_gridspec()
    for ax in axes[1]:
        ax.remove()
    ax = fig.add_subplot(grid[1, :])
    values = logits.T.numpy()
    ax.imshow(values, cmap="Greys", aspect="auto", vmin=values.min(), vmax=values.max() + 0.4 * np.ptp(values))
    for row, column in np.ndindex(values.shape):
        best = values[row, column] == values[:, column].max()
        ax.text(column, row, f"{values[row, column]:.1f}", ha="center", va="center", fontsize=8,
                weight="bold" if best else "normal")
    ax.set_xticks([])
    ax.set_yticks(range(k), texts, fontsize=8)
    right = sum(int(values[:, c].argmax() == c) for c in range(min(n, k)))
    return fig, (f"{n} fundus photographs over a table of their logits with {k} texts; the largest of a column is bold. "
                 f"For {right} of the pictures it is their own text.")


def pushes(categories: Sequence[str], gradients: Mapping[str, Tensor]) -> tuple[Figure, str]:
    """Loss -> its gradient on the logits (B, B): red asks for less, blue for more."""
    fig, axes = _figure((3.1 * len(gradients) + 1.2, 3.0), 1, len(gradients))
    most = max(float(g.abs().max()) for g in gradients.values()) or 1.0
    for ax, (name, gradient) in zip(axes[0], gradients.items()):
        ax.imshow(gradient.numpy(), cmap="RdBu_r", vmin=-most, vmax=most)
        for row, column in np.ndindex(tuple(gradient.shape)):
            value = float(gradient[row, column])
            ax.text(column, row, "less" if value > 0.02 else "more" if value < -0.02 else "", ha="center", va="center",
                    fontsize=8, color="white" if abs(value) > 0.6 * most else "black")
        ax.set_title(f"{name}: largest {float(gradient.abs().max()):.2f}", fontsize=9)
        ax.set_xticks(range(len(categories)), categories, rotation=30, ha="right", fontsize=7)
        ax.set_yticks(range(len(categories)), categories, fontsize=7)
        ax.set_xlabel("caption of", fontsize=8)
    axes[0, 0].set_ylabel("picture of", fontsize=8)
    return fig, "What two losses want of the logits of a model that knows the categories already. " + "; ".join(
        f"{name} pushes by up to {float(gradient.abs().max()):.2f}" for name, gradient in gradients.items())


def losses(logs: Mapping[str, Sequence[Mapping]]) -> tuple[Figure, str]:
    """Arm -> log of ``train``: its contrastive loss over the steps."""
    fig, axes = _figure((5.4, 2.8))
    told = []
    for arm, log in logs.items():
        style, colour = STYLES[arm]
        values = [line["loss"] for line in log]
        width = max(1, len(values) // 10)
        mean = np.convolve(values, np.ones(width) / width, mode="valid")
        axes[0, 0].plot(np.arange(len(mean)) + width, mean, style[1:], color=colour, label=arm)
        told.append(f"{arm} from {values[0]:.2f} to {mean[-1]:.2f}")
    axes[0, 0].set(xlabel="step", ylabel=f"contrastive loss, mean of {width}")
    axes[0, 0].legend(frameon=False, fontsize=8)
    return fig, f"Contrastive loss over {len(values)} steps: " + "; ".join(told) + "."


def probe_curves(curves: Mapping[str, Mapping[int, float]], zero: Mapping[str, float], chance: float) -> tuple[Figure, str]:
    """Arm -> labels a class -> accuracy of a probe; arm -> zero-shot accuracy, a level line."""
    fig, axes = _figure((7.2, 3.2))
    ax, told = axes[0, 0], []
    for arm, curve in curves.items():
        style, colour = STYLES[arm]
        ax.plot(list(curve), list(curve.values()), style, color=colour, label=f"{arm}, probe")
        told.append(f"{arm}, probe: " + ", ".join(f"{value:.2f} with {n}" for n, value in curve.items()))
    for arm, value in zero.items():
        ax.axhline(value, color=STYLES[arm][1], linestyle=STYLES[arm][0][1:], linewidth=1)
        ax.text(0.99, value, f"{arm}, zero-shot", transform=ax.get_yaxis_transform(), ha="right", va="bottom", fontsize=7,
                color=STYLES[arm][1])
        told.append(f"{arm}, zero-shot: {value:.2f}")
    ax.axhline(chance, color="#595959", linewidth=0.8)
    ax.text(0.01, chance, "chance", transform=ax.get_yaxis_transform(), ha="left", va="top", fontsize=7, color="#595959")
    ax.set_xscale("log", base=2)
    ticks = list(next(iter(curves.values())))
    ax.set_xticks(ticks, [str(n) for n in ticks])
    ax.set(xlabel="labelled pictures a class", ylabel="balanced accuracy", ylim=(0, 1.02))
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return fig, "Balanced accuracy over labelled pictures a class. " + "; ".join(told) + f"; chance {chance:.2f}."


def two_tables(source: claims.Source = "shipped") -> list[Table]:
    """FLAIR's two tables with the numbers of our stored runs: zero-shot and linear probe, means over seeds. [] without a run."""
    runs = claims.runs("C01", source)
    if not runs:
        return []
    found = [run.details["accuracy"] for run in runs]
    tables = []
    for title, arms, ways in (
        ("Zero-shot", ("generalist", "few fundus pictures", "specialist"), ("names", "knowledge")),
        ("Linear probe", ("untrained", "generalist", "few fundus pictures", "specialist"), ("linear probe",)),
    ):
        rows = [(name if len(ways) == 1 else f"{name}: by {way}", f"{runs[0].details['chance'][name]:.2f}",
                 *(f"{np.mean([each[arm][name][way] for each in found]):.2f}" for arm in arms))
                for name in found[0]["specialist"] for way in ways]
        caption = f"{title}, balanced accuracy, mean of {len(runs)} seed{'s' * (len(runs) != 1)}"
        tables.append(Table(caption, ("examination", "chance", *arms), rows))
    return tables


def _figure(inches: tuple[float, float], rows: int = 1, columns: int = 1, **grid: object) -> tuple:
    from matplotlib.figure import Figure  # takes a while to import; and no pyplot, so that nothing is shown twice

    fig = Figure(figsize=inches, layout="constrained")
    return fig, fig.subplots(rows, columns, squeeze=False, **grid)
