"""For lesson 14: the same scan asked by several hospitals, where in a network their question arrives, and what one more costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from fmlab import hub, inference, metrics
from fmlab.pretraining import nano
from fmlab.pretraining.dodnet import DoDNet
from fmlab.pretraining.hermes_resunet import HermesR
from fmlab.pretraining.hospitals import ASKED, HOSPITALS, TOKENS, Prompted
from fmlab.pretraining.uniseg import UniSeg
from fmlab.volume import Volume

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Model = DoDNet | UniSeg | HermesR

STAGES = ("down 1", "down 2", "down 3", "down 4", "deepest", "up 4", "up 3", "up 2", "up 1", "logits")
"""Five levels going down, four going up, and what is said at the end; every one of the three networks has them."""

_UP = [f"conv_blocks_localization.{level}" for level in range(4)]
_MODULES: dict[type, list[str]] = {
    DoDNet: ["layer0", "layer1", "layer2", "layer3", "fusionConv", "x8_resb", "x4_resb", "x2_resb", "x1_resb"],
    UniSeg: [*(f"conv_blocks_context.{level}" for level in range(5)), *_UP],
    HermesR: ["inc", "down1", "prior_init_fuse_2", "prior_init_fuse_3", "prior_init_fuse_4", "prior_fuse_5", "prior_fuse_6",
              "up3", "up4"],
}
"""The module that ends each stage but the last."""


def answer(model: Model, x: Tensor, hospital: str) -> Tensor:
    """Logits (B, K, X, Y, Z) of the structures that a hospital asks for, of cubes x (B, 1, X, Y, Z), each network asked in its
    own way. UniSeg's softmax over them and background becomes log(p / (1 - p)), as in ``hospitals.Prompted``."""
    if isinstance(model, HermesR):
        return model(x, list(TOKENS[hospital]))
    logits, k = model(x, HOSPITALS.index(hospital)), len(ASKED[hospital])
    if isinstance(model, UniSeg):
        return logits[:, :1 + k].softmax(1)[:, 1:].clamp(1e-6, 1 - 1e-6).logit()
    return logits[:, :k]


class Asked(nn.Module):
    """A network that one hospital asks, and nobody else, as ``inference.segment`` wants it; so UniSeg's decoder runs once."""

    def __init__(self, model: Model, hospital: str):
        super().__init__()
        self.model, self.hospital, self.structures, self.crumb_ml = model, hospital, ASKED[hospital], 10.0

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K, X, Y, Z)."""
        return answer(self.model, x, self.hospital)


def everybody(model: Model, x: Tensor) -> Tensor:
    """All questions of all hospitals in one call, as cheaply as the network allows."""
    return model(x, list(range(model.tasks))) if isinstance(model, HermesR) else model.every_task(x)


@torch.no_grad()
def stages(model: Model, x: Tensor, hospital: str, structure: str = "liver") -> list[Tensor]:
    """What the network holds at each of STAGES, for the question of a hospital; at the last its logits of one structure."""
    seen, hooks = [], []
    for name in _MODULES[type(model)]:
        hook = lambda _, __, out: seen.append(out[0] if isinstance(out, tuple) else out)  # noqa: E731
        hooks.append(model.get_submodule(name).register_forward_hook(hook))
    try:
        logits = answer(model, x, hospital)
    finally:
        for handle in hooks:
            handle.remove()
    return [*seen, logits[:, ASKED[hospital].index(structure)]]


def differences(model: Model, x: Tensor, one: str, other: str, structure: str = "liver") -> list[float]:
    """At each of STAGES how far the questions of two hospitals are apart, as a share of what is there; 0 where they share it."""
    pairs = zip(stages(model, x, one, structure), stages(model, x, other, structure))
    return [float((a - b).norm() / a.norm().clamp(min=1e-12)) for a, b in pairs]


def operations(call: Callable[[], object]) -> int:
    """Floating point operations of the convolutions and matrix products of a call."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def segment(model: Model, volume: Volume, asked: str | Mapping[str, str], overlap: float = 0.25) -> Volume:
    """Labels by a hospital's whole question, or by a table of who is asked for what (``hospitals.asks``)."""
    network = Asked(model, asked) if isinstance(asked, str) else Prompted(model, asked)
    return inference.segment(network, volume, spacing=nano.SPACING, side=nano.SIDE, overlap=overlap)


def agreement(found: Mapping[str, Volume], scan: Volume, structures: Sequence[str]) -> list[float]:
    """Mean Dice of each answer with the scan's own labels."""
    return [float(np.mean([metrics.dice(one.mask(name), scan.mask(name)) for name in structures])) for one in found.values()]


def one_more(name: str, **more: object) -> tuple[int, int, int]:
    """Parameters of a published network; how many more with these settings, one task more; and old tensors that do not fit."""
    with torch.device("meta"):
        before, after = (_shapes(hub.build(name, **settings)) for settings in ({}, more))
    old, new = (sum(map(np.prod, shapes.values())) for shapes in (before, after))
    return int(old), int(new - old), sum(after.get(key) != shape for key, shape in before.items())


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in model.named_parameters()}


def who_differs(rows: Mapping[str, Sequence[float]]) -> Figure:
    """``differences`` of several networks over STAGES, on a scale that shows small ones; a hollow mark is exactly 0."""
    from matplotlib.figure import Figure

    fig = Figure(figsize=(8, 3.2), layout="constrained")
    ax = fig.subplots()
    for (name, values), (marker, colour) in zip(rows.items(), (("o", "#0072B2"), ("s", "#D55E00"), ("^", "#009E73"))):
        ax.plot(range(len(values)), values, "-", color=colour, linewidth=1.5)
        for place, value in enumerate(values):
            ax.plot(place, value, marker, color=colour, markerfacecolor=colour if value else "white", markersize=7,
                    label=name if place == len(values) - 1 else None, clip_on=False, zorder=3)
    ax.axvspan(4.5, 8.5, color="#eeeeee", zorder=0)
    ax.set_yscale("symlog", linthresh=0.001)
    ax.set(ylim=(0, None), ylabel="difference / size", title="the same cube, asked by two hospitals (grey: the decoder)")
    ax.set_xticks(range(len(STAGES)), STAGES, fontsize=8)
    ax.legend(frameon=False, fontsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    return fig


def in_words(rows: Mapping[str, Sequence[float]]) -> str:
    """What ``who_differs`` shows: from which stage on each network's two answers part."""
    parts = {name: next((stage for stage, value in zip(STAGES, values) if value), None) for name, values in rows.items()}
    return "; ".join(f"{name} differs from {stage!r} on" if stage else f"{name} never differs" for name, stage in parts.items())


def tables(found: Mapping[str, np.ndarray], scans: Sequence[str], prompts: Sequence[str]) -> Figure:
    """Dice (scans, prompts) of several networks, side by side; each number stands in its field, a row's best in bold."""
    from matplotlib.figure import Figure

    fig = Figure(figsize=(2.7 * len(found), 2.9), layout="constrained")
    for ax, (name, dice) in zip(fig.subplots(1, len(found), squeeze=False)[0], found.items()):
        ax.imshow(dice, cmap="Blues", vmin=0, vmax=1.2)
        for (i, j), value in np.ndenumerate(dice):
            ax.text(j, i, f"{value:.2f}", ha="center", va="center", color="white" if value > 0.7 else "black", fontsize=10,
                    weight="bold" if value.round(2) == dice[i].round(2).max() else "normal")
        ax.set_xticks(range(len(prompts)), prompts)
        ax.set_yticks(range(len(scans)), scans)
        ax.set(title=name, xlabel="prompt of", ylabel="scan and labels of")
    return fig


def best_prompts(found: Mapping[str, np.ndarray], scans: Sequence[str], prompts: Sequence[str]) -> str:
    """Whose prompt is best for which scan, in words, of Dice (scans, prompts) by network; all of those that share the best
    value to two digits."""
    return "; ".join(f"{name}, " + ", ".join(
        f"{scan}'s scan: " + " and ".join(prompt for prompt, value in zip(prompts, row.round(2)) if value == row.round(2).max())
        for scan, row in zip(scans, dice)) for name, dice in found.items())
