"""For lesson 13: a trained CLIP-driven model with other texts, a dictionary for them, and what is near to what in a table."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
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


def cosine_pictures(tables: Mapping[str, Tensor], names: Sequence[str]) -> Figure:
    """The cosines of each table as a picture, side by side. The figure belongs to the caller, who shows it with its alt text."""
    from matplotlib.figure import Figure

    fig = Figure(figsize=(3 * len(tables), 3.9), layout="constrained")
    axes = fig.subplots(1, len(tables), squeeze=False)[0]
    for ax, (kind, table) in zip(axes, tables.items()):
        picture = ax.imshow(cosines(table), cmap="viridis", vmin=0, vmax=1)
        ax.set_title(f"{kind}: mean cosine {round(mean_cosine(table), 2) + 0.0:.2f}", fontsize=9)
        ax.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
        ax.set_yticks(range(len(names)), names if ax is axes[0] else [""] * len(names), fontsize=6)
    fig.colorbar(picture, ax=axes, shrink=0.6, label="cosine")
    return fig


def drawn_in(mask: Tensor, volume: Volume, names: Sequence[str]) -> str:
    """Where a mask (X, Y, Z) lies: the structure with most of it, and its share; or that the mask is empty."""
    size = int(mask.sum())
    if not size:
        return "nothing is drawn"
    shares = {name: int((mask & volume.mask(name)).sum()) / size for name in names}
    most = max(shares, key=shares.get)
    return f"{size * volume.voxel_ml:.0f} ml, mostly in {most} ({shares[most]:.0%})"
