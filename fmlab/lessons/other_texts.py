"""For lesson 13: a trained CLIP-driven model with other texts, a dictionary for them, and pictures of heads and of tables."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.pretraining.clip_driven import ClipDriven
from fmlab.volume import Volume

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def with_texts(model: ClipDriven, table: Tensor) -> ClipDriven:
    """A copy of the model with another table (K, T), and nothing else changed. ModelError where the table does not fit."""
    other = copy.deepcopy(model)
    other.set_texts(table)
    return other


@torch.no_grad()
def translated(model: ClipDriven, table: Tensor) -> ClipDriven:
    """A copy with any table (K, T), and a text_to_vision that takes its rows to where the old rows went. Nothing is trained.

    One matrix can send K linearly independent rows anywhere, so the copy then says what the model says.
    """
    other, old = copy.deepcopy(model), model.text_to_vision
    went = old(model.organ_embedding) - old.bias
    other.text_to_vision = nn.Linear(table.shape[1], old.out_features)
    other.text_to_vision.weight.copy_(torch.linalg.lstsq(table, went).solution.T)
    other.text_to_vision.bias.copy_(old.bias)
    other.set_texts(table)
    return other


def cosines(table: Tensor) -> Tensor:
    """(K, K) of a table (K, T)."""
    rows = F.normalize(table, dim=1)
    return rows @ rows.T


def mean_cosine(table: Tensor) -> float:
    """Of all pairs of different rows."""
    values = cosines(table)
    return float(values[~torch.eye(len(values), dtype=torch.bool)].mean())


def head_picture(theta: Tensor, names: Sequence[str], channels: int) -> Figure:
    """Rows of a dynamic head's numbers theta (K, P), cut into its weights and biases; blue is above 0, red below."""
    from matplotlib.figure import Figure

    sizes = [channels * channels, channels * channels, channels, channels, channels, 1]
    fig = Figure(figsize=(9, 2.6), layout="constrained")
    ax, limit = fig.subplots(), float(theta.abs().quantile(0.95))
    picture = ax.imshow(theta.numpy(), aspect="auto", cmap="RdBu", vmin=-limit, vmax=limit, interpolation="nearest")
    ends = [sum(sizes[:n + 1]) - 0.5 for n in range(len(sizes))]
    ax.vlines(ends[:-1], -0.5, len(names) - 0.5, color="black", linewidth=1.5)
    ax.set_yticks(range(len(names)), names, fontsize=9)
    ax.set_xticks([end - size / 2 for end, size in zip(ends, sizes)], ["w1", "w2", "w3", "b1", "b2", "b3"], fontsize=9)
    fig.colorbar(picture, ax=ax, extend="both", pad=0.01)
    return fig


def cosine_pictures(tables: Mapping[str, Tensor], names: Sequence[str]) -> Figure:
    """The cosines of each table as a picture, side by side. The figure belongs to the caller, who shows it with its alt text."""
    from matplotlib.figure import Figure

    fig = Figure(figsize=(3.6 * len(tables) + 0.8, 4.6), layout="constrained")
    axes = fig.subplots(1, len(tables), squeeze=False)[0]
    for ax, (kind, table) in zip(axes, tables.items()):
        picture = ax.imshow(cosines(table), cmap="viridis", vmin=0, vmax=1)
        ax.set_title(f"{kind}: mean cosine {round(mean_cosine(table), 2) + 0.0:.2f}", fontsize=11)
        ax.set_xticks(range(len(names)), names, rotation=90, fontsize=9)
        ax.set_yticks(range(len(names)), names if ax is axes[0] else [""] * len(names), fontsize=9)
    fig.colorbar(picture, ax=axes, shrink=0.6, label="cosine")
    return fig


def several_a_line(items: Iterable[str], most: int = 4, width: int = 26) -> str:
    """Short texts in columns, so that no line is longer than a notebook is wide."""
    items = list(items)
    rows = [items[n:n + most] for n in range(0, len(items), most)]
    return "\n".join("".join(f"{item:{width}s}" for item in row).rstrip() for row in rows)


def drawn_in(mask: Tensor, volume: Volume, names: Sequence[str]) -> str:
    """Where a mask (X, Y, Z) lies: the structure with most of it, and its share; or that the mask is empty."""
    size = int(mask.sum())
    if not size:
        return "nothing is drawn"
    shares = {name: int((mask & volume.mask(name)).sum()) / size for name in names}
    most = max(shares, key=shares.get)
    return f"{size * volume.voxel_ml:.0f} ml, mostly in {most} ({shares[most]:.0%})"
