"""For lesson 04: slices of unseen people and the embeddings that zero-shot by paired prompts needs, as they were recorded.

Two models learned slices with reports: ``states`` from reports that also say what is not there, ``omits`` from reports that only
say what is. Made by data_scripts/record_pairs.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from fmlab.contrastive.paired import auroc

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STORED = Path(__file__).parent / "recordings" / "04_pairs.npz"
FINDINGS = ("liver", "spleen", "kidney_left", "kidney_right", "stomach", "pancreas", "heart", "lung_left", "lung_right",
            "urinary_bladder", "hip_left", "hip_right")
ARMS = ("states", "omits")
BLUE, RED, GREY = "#0072B2", "#D55E00", "#595959"  # Okabe-Ito


@dataclass(frozen=True)
class Pairs:
    """What a model makes of N slices and K findings. images: (N, D), present, absent: (K, D), all of length 1. scale: exp(t)."""

    images: Tensor
    present: Tensor
    absent: Tensor
    scale: float


def spoken(name: str) -> str:
    """A structure as a report calls it: "left kidney"."""
    parts = name.split("_")
    return " ".join([parts[-1], *parts[:-1]] if parts[-1] in ("left", "right") else parts)


@cache
def stored() -> tuple[Tensor, Tensor, Mapping[str, Pairs]]:
    """Slices (N, 48, 48) of [0, 1], what each shows (N, K) bool, and the two models' embeddings."""
    with np.load(STORED) as kept:
        slices, truth = torch.from_numpy(kept["slices"]).float() / 255, torch.from_numpy(kept["truth"])
        models = {}
        for arm in ARMS:
            parts = (torch.from_numpy(kept[f"{arm}_{name}"].astype(np.float32)) for name in ("images", "present", "absent"))
            models[arm] = Pairs(*(torch.nn.functional.normalize(part, dim=1) for part in parts), float(kept[f"{arm}_scale"]))
    return slices, truth, models


def aurocs(scores: Tensor, truth: Tensor) -> list[float]:
    """Of each finding; scores, truth: (N, K)."""
    return [auroc(scores[:, k], truth[:, k]) for k in range(truth.shape[1])]


def with_reports(slices: Tensor, truth: Tensor, chosen: Sequence[int]) -> tuple[Figure, str]:
    """Some slices, each with what it shows, and the alt text."""
    from matplotlib.figure import Figure

    fig = Figure(figsize=(2.3 * len(chosen), 3.1), layout="constrained")
    said = []
    for ax, n in zip(fig.subplots(1, len(chosen)), chosen):
        there = [spoken(name) for name, shows in zip(FINDINGS, truth[n]) if shows]
        ax.imshow(slices[n].flip(1), cmap="gray", vmin=0, vmax=1)  # seen from the feet, as radiologists do
        for x, side in ((0.04, "R"), (0.9, "L")):
            ax.text(x, 0.05, side, transform=ax.transAxes, color="white", fontsize=8)
        ax.set_title("\n".join(there) or "none of them", fontsize=7, va="bottom")
        ax.set_axis_off()
        said.append(", ".join(there) or "none of them")
    return fig, f"{len(chosen)} axial slices with what they show: {'; '.join(said)}."


def compared(rows: Mapping[str, Sequence[float]]) -> tuple[Figure, str]:
    """AUROC of each finding by way of asking, as points in a row, and the alt text."""
    from matplotlib.figure import Figure

    fig = Figure(figsize=(7.5, 3.6), layout="constrained")
    ax = fig.subplots()
    ax.axvline(0.5, color=GREY, linewidth=0.8)
    for (way, values), (marker, colour) in zip(rows.items(), (("o", BLUE), ("s", RED), ("D", GREY), ("^", "#009E73"))):
        ax.plot(values, range(len(values)), marker, color=colour, markersize=6, label=f"{way}: mean {np.nanmean(values):.2f}")
    ax.set_yticks(range(len(FINDINGS)), map(spoken, FINDINGS), fontsize=8)
    ax.invert_yaxis()
    ax.set_xlim(-0.02, 1.02)
    ax.set_xlabel("AUROC, 0.5 is guessing")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    said = "; ".join(f"{way}: mean {np.nanmean(values):.2f}, from {np.nanmin(values):.2f} to {np.nanmax(values):.2f}"
                     for way, values in rows.items())
    return fig, f"AUROC of {len(FINDINGS)} findings by way of asking. {said}."
