"""What a plane through the features can find of a structure: the linear probe at its best, with no learning rate to blame.

    z = scan_features(Stages(backbone), volume)             # (C, x, y, z) at the spacing of the course's small models
    plane = fitted(z, y)                                    # logistic regression, and the cut with the best Dice
    plane.dice(other_z, other_y)                            # on another person

Source: Alain and Bengio 2017, arXiv:1610.01644 (linear probes of every layer).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.inference import resampled, sliding_logits
from fmlab.lessons.show import panels
from fmlab.pretraining import nano
from fmlab.pretraining.targets import targets
from fmlab.volume import Volume
from fmlab.windows import WIDE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EVERY = 3  # of so many voxels one is fitted; neighbours say the same
RIDGE, LOOKS = 1e-4, 60
KNOWN, NEW = ("o", "#0072B2"), ("s", "#D55E00")  # marker and Okabe-Ito colour


class Stages(nn.Module):
    """Z and what the decoder's earlier stages give, each brought to the voxels of X: (B, sum of channels, X, Y, Z).

    backbone: with stages called decoder4 to decoder1, the last of which gives Z. channels: of each stage, in order.
    """

    names = ("decoder4", "decoder3", "decoder2", "decoder1")

    def __init__(self, backbone: nn.Module):
        super().__init__()
        self.backbone = backbone
        self.channels = [getattr(backbone, name).conv_block.conv2.conv.out_channels for name in self.names]

    def forward(self, x: Tensor) -> Tensor:
        found: list[Tensor] = []
        hooks = [getattr(self.backbone, name).register_forward_hook(lambda module, given, out: found.append(out))
                 for name in self.names]
        try:
            self.backbone.features(x)
        finally:
            for hook in hooks:
                hook.remove()
        return torch.cat([F.interpolate(h, size=x.shape[2:], mode="trilinear", align_corners=False) for h in found], 1)

    def split(self, z: Tensor) -> dict[str, Tensor]:
        """Stage -> its channels of features (sum of channels, ...)."""
        return dict(zip(self.names, z.split(self.channels)))


def scan_features(network: nn.Module, volume: Volume) -> Tensor:
    """Features (C, x, y, z) of a whole CT at nano.SPACING, put together from overlapping cubes as in inference."""
    return sliding_logits(network, WIDE(resampled(volume, nano.SPACING)[0]), nano.SIDE, 0.25)


def truth(volume: Volume, structures: Sequence[str]) -> Tensor:
    """One mask a structure (K, x, y, z), of a phantom that was made at nano.SPACING."""
    return targets(volume.labels[0], structures, volume.annotated)[0]


@dataclass(frozen=True)
class Plane:
    """One plane a structure: score = weight . z + bias, and "here" above the cut. weight: (C, K), bias, cut: (K,)."""

    weight: Tensor
    bias: Tensor
    cut: Tensor

    def dice(self, z: Tensor, y: Tensor) -> np.ndarray:
        """Dice (K,) on features (C, ...) and masks (K, ...); NaN where a structure is not there."""
        here = self.score(z) > self.cut
        there = y.flatten(1).T > 0
        both = (here & there).sum(0) / (here.sum(0) + there.sum(0)).clamp(min=1)
        return torch.where(there.any(0), 2 * both, torch.nan).numpy()

    def score(self, z: Tensor) -> Tensor:
        """(voxels, K)."""
        return z.flatten(1).T @ self.weight + self.bias


def fitted(z: Tensor, y: Tensor) -> Plane:
    """The planes of logistic regression on one scan's features (C, ...) and masks (K, ...), a convex problem, solved to its end.

    The cut is then the one with the best Dice on the same scan, since a small structure's is not at one half.
    """
    points = z.flatten(1).T
    mean, deviation = points.mean(0), points.std(0).clamp(min=1e-6)
    some = ((points - mean) / deviation)[::EVERY]
    wanted = y.flatten(1).T[::EVERY].float()
    weight, bias = torch.zeros(some.shape[1], wanted.shape[1]), torch.full((wanted.shape[1],), -4.0)
    solver = torch.optim.LBFGS([weight.requires_grad_(), bias.requires_grad_()], max_iter=LOOKS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        bce = F.binary_cross_entropy_with_logits(some @ weight + bias, wanted, reduction="none")
        value = bce.mean(0).sum() + RIDGE * weight.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        solver.step(loss)
    raw = weight.detach() / deviation[:, None]
    plane = Plane(raw, bias.detach() - mean @ raw, torch.zeros(len(bias)))
    return Plane(plane.weight, plane.bias, best_cut(plane.score(z), y.flatten(1).T))


def best_cut(score: Tensor, y: Tensor) -> Tensor:
    """(K,) where to cut scores (voxels, K) so that Dice with the masks is highest."""
    ordered, index = score.sort(0, descending=True)
    hits = torch.gather(y.float(), 0, index).cumsum(0)
    dice = 2 * hits / (torch.arange(1, len(y) + 1)[:, None] + hits[-1])
    last = dice.argmax(0)
    below = (last + 1).clamp(max=len(y) - 1)
    columns = torch.arange(score.shape[1])
    return (ordered[last, columns] + ordered[below, columns]) / 2


def by_structure(dice: Mapping[str, np.ndarray], structures: Sequence[str], new: Sequence[str]) -> tuple[Figure, str]:
    """The Dice of each structure for some networks' features (name -> (K,)), known and new ones apart; and the same in words."""
    fig, ax = panels((6.5, 0.24 * len(structures) + 0.9))
    first, *others = dice
    for name in (first, *others):
        for row, (structure, value) in enumerate(zip(structures, dice[name])):
            marker, colour = NEW if structure in new else KNOWN
            ax.plot(value, row, marker, color=colour, markersize=7, markerfacecolor=colour if name == first else "none")
    ax.set_yticks(range(len(structures)), [structure.replace("_", " ") for structure in structures], fontsize=8)
    ax.invert_yaxis()
    ax.grid(axis="y", alpha=0.3)
    ax.set(xlabel="Dice of the best plane on a new person", xlim=(-0.03, 1))
    for (marker, colour), what in ((KNOWN, "known"), (NEW, "new")):
        ax.plot([], [], marker, color=colour, label=f"{what}, {first} features")
        for name in others:
            ax.plot([], [], marker, color=colour, markerfacecolor="none", label=f"{what}, {name} features")
    ax.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    told = "; ".join(f"{structure} " + ", ".join(f"{name} {dice[name][k]:.2f}" for name in dice)
                     for k, structure in enumerate(structures))
    return fig, f"Dice of the best plane through the features on a new person, by structure. {told}."


def along_the_way(dice: Mapping[str, np.ndarray], structures: Sequence[str], new: Sequence[str],
                  labels: Sequence[str]) -> tuple[Figure, str]:
    """Mean Dice of known and of new structures over the stages (stage -> (K,)); and the same in words."""
    fig, ax = panels((5.5, 3))
    is_new = np.isin(structures, new)
    told = []
    for (marker, colour), chosen, what in ((KNOWN, ~is_new, "known"), (NEW, is_new, "new")):
        means = [float(np.nanmean(values[chosen])) for values in dice.values()]
        ax.plot(range(len(means)), means, marker + "-", color=colour, label=f"{what} structures")
        told.append(f"{what} " + ", ".join(f"{label} {mean:.2f}" for label, mean in zip(labels, means)))
    ax.set_xticks(range(len(labels)), labels)
    ax.set(ylabel="mean Dice of the best plane", ylim=(0, 1))
    ax.legend(fontsize=8, frameon=False)
    return fig, f"Mean Dice of the best plane over the decoder's stages: {'; '.join(told)}."
