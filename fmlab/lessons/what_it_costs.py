"""For lesson 16: what a method trains, what of it is real, and what it costs; and a U-Net that an adapter breaks at its start.

    costs(model, methods, structures, x)      numbers, file, activations and seconds of a step, method by method
    drawn(costs)                              the same as bars
    kinds(adapter)                            how many numbers of each kind of tensor are trained
    unreached(index, tokens)                  rows of a table of relative positions that a small grid never reads
    before_training(models, cubes)            Dice of models on cubes, before anything is trained
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from fmlab.adaptation.attach import METHODS, Adapter, attach
from fmlab.adaptation.black_box import Head
from fmlab.adaptation.report import activation_bytes, kind
from fmlab.backbones.segmenter import Segmenter
from fmlab.lessons.timing import seconds
from fmlab.metrics import dice
from fmlab.metrics.bootstrap import Estimate, estimates

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Cost:
    """trained: numbers. file: bytes of the saved adapter. activations: bytes kept for the backward pass of one cube. seconds: of
    forward and backward of one cube; a black box is given its stored features."""

    method: str
    trained: int
    file: int
    activations: int
    seconds: float


def costs(model: Segmenter, methods: Sequence[str], structures: Sequence[str], x: Tensor, repeats: int = 3) -> list[Cost]:
    """Each method's cost on a cube x (1, 1, S, S, S); the model is left as it is."""
    with torch.no_grad():
        z = model.backbone.features(x)
    found = []
    for method in methods:
        adapter = attach(deepcopy(model), method, structures)
        network, given = (Head(adapter.model), z) if METHODS[method].black_box else (adapter.model, x)
        with tempfile.TemporaryDirectory() as folder:
            size = adapter.save(Path(folder) / "adapter").stat().st_size
        step = seconds(lambda network=network, given=given: network(given).square().mean().backward(), repeats)
        found.append(Cost(method, adapter.count, size, activation_bytes(network, given), step))
    return found


def drawn(found: Sequence[Cost], against: str = "full") -> tuple[Figure, str]:
    """Bars of each method: numbers trained on a logarithmic axis, activations and seconds as shares of one method's; and the same
    in words."""
    from matplotlib.figure import Figure

    whole = next(each for each in found if each.method == against)
    panels = (("numbers trained (log axis)", [each.trained for each in found], "{:,.0f}".format),
              (f"activations, of {against}", [each.activations / whole.activations for each in found], _share),
              (f"time of a step, of {against}", [each.seconds / whole.seconds for each in found], _share))
    fig = Figure(figsize=(9, 0.9 + 0.3 * len(found)), layout="constrained")
    for ax, (title, values, said) in zip(fig.subplots(1, 3, sharey=True), panels):
        ax.barh(range(len(found)), values, color="#0072B2", height=0.6)
        for place, value in enumerate(values):
            ax.annotate(said(value), (value, place), (3, 0), textcoords="offset points", va="center", fontsize=9)
        ax.set_title(title, fontsize=10)
        ax.spines[["top", "right", "bottom"]].set_visible(False)
        logarithmic = said is not _share
        ax.set_xscale("log" if logarithmic else "linear")
        ax.set_xlim((1, max(values) * 60) if logarithmic else (0, max(values) * 1.35))
        ax.xaxis.set_visible(False)
        ax.tick_params(axis="y", length=0)
    fig.axes[0].set_yticks(range(len(found)), [each.method for each in found], fontsize=9)
    fig.axes[0].invert_yaxis()
    told = "; ".join(f"{each.method}: {each.trained:,} numbers, {_share(each.activations / whole.activations)} of the "
                     f"activations, {_share(each.seconds / whole.seconds)} of the time" for each in found)
    return fig, f"What a method trains and what a step of it costs, as shares of {against}. {told}."


def _share(value: float) -> str:
    return "under 1%" if 0 < value < 0.01 else f"{value:.0%}"


def kinds(adapter: Adapter) -> dict[str, int]:
    """Kind of tensor -> how many numbers of it are trained, most first."""
    found: Counter[str] = Counter()
    for name, weight in adapter.trainable.items():
        found[kind(name)] += weight.numel()
    return dict(found.most_common())


def unreached(index: Tensor, tokens: int) -> int:
    """Rows of a table of relative positions that no pair of ``tokens`` tokens reads, and that can never learn.

    index: (N, N), the row that each pair of a full window reads; a smaller grid uses its first tokens x tokens entries.
    """
    return int(index.max()) + 1 - index[:tokens, :tokens].unique().numel()


@torch.no_grad()
def before_training(models: Mapping[str, nn.Module], cubes: Sequence[dict]) -> dict[str, Estimate]:
    """Model -> mean Dice over cubes, with an interval over them; of a cube, the mean over the structures that it shows.

    cubes: of ``Patches``, one of each person; an item has image (1, S, S, S) and target (K, S, S, S).
    """
    found = {}
    for name, model in models.items():
        each = []
        for cube in cubes:
            logits = model(cube["image"][None])[0]
            top, winner = logits.max(0)
            shown = [k for k, truth in enumerate(cube["target"]) if truth.any()]
            each.append(np.mean([float(dice((winner == k) & (top > 0), cube["target"][k] > 0)) for k in shown]))
        values = np.array(each)[:, None]
        found[name] = estimates(values, np.ones_like(values))[1]
    return found
