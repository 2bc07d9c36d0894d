"""Gates on their own, for lesson 18: what a step and a threshold make of them, when we decide what their gradients look like.

    path("proximal", pull=0.3)          one gate of a lasso, step by step
    available(5, 1e-3)                  how far the published schedule can shrink a gate
    after([0, 0.2, 0.6])                many gates under Adam and the threshold, for gradients of a given signal
    survival({...}, signals)            the share of closed gates over that signal, drawn
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from fmlab.adaptation.arena import LAMBDA, soft_threshold
from fmlab.adaptation.stopping import learning_rate
from fmlab.errors import SettingsError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EPOCHS = 199  # of the published training, whose counter runs from 1 to 199
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8  # Adam's defaults
STYLES = (("o-", "#0072B2"), ("s--", "#D55E00"), ("^:", "#009E73"), ("D-.", "#CC79A7"))  # Okabe-Ito, and a shape each


def path(way: Literal["gradient", "proximal"], pull: float = 0.3, lam: float = LAMBDA, lr: float = 0.2, steps: int = 30,
         start: float = 1.0) -> list[float]:
    """A gate that minimises (v - pull)^2 / 2 + lam |v|, after 0, 1, ... steps. Where |pull| <= lam the minimum is at 0.

    way: "gradient" steps down the whole sum; "proximal" down the square alone, and then soft-thresholds by lam lr.
    """
    v, passed = torch.tensor(float(start)), [float(start)]
    for _ in range(steps):
        slope = v - pull
        v = v - lr * (slope + lam * v.sign()) if way == "gradient" else soft_threshold(v - lr * slope, lam * lr)
        passed.append(float(v))
    return passed


def available(shots: int, lr: float, epochs: int = EPOCHS, lam: float = LAMBDA) -> float:
    """lambda x the sum of the rates of all steps, in FSEFT's schedule with one step a shot and epoch: all that the threshold can
    take off a gate. Gates begin as U(-1, 1), so of those without any gradient the share min(1, this) is closed."""
    return lam * shots * sum(learning_rate(epoch, lr) for epoch in range(epochs))


def limit(lam: float = LAMBDA) -> float:
    """The gradient's mean over its standard deviation at which Adam's step is as large as the threshold.

    Adam's mean step is about lr m / sqrt(m^2 + s^2), the threshold lambda lr. SettingsError unless lambda is in [0, 1): from 1
    on no gate survives.
    """
    if not 0 <= lam < 1:
        raise SettingsError(f"With a lambda of {lam!r} there is no such limit; give 0 or more, and less than 1.")
    return lam / math.sqrt(1 - lam * lam)


@torch.no_grad()
def after(signals: Sequence[float], steps: int = 6000, lr: float = 1e-3, lam: float = LAMBDA, size: float = 1.0,
          gates: int = 400, way: Literal["adam", "momentum"] = "adam", seed: int = 0) -> Tensor:
    """Gates (signals, gates) after so many steps and thresholds of one rate, begun as U(-1, 1).

    A gate's gradient is size x N(signal, 1) at each step, so signal is its mean over its standard deviation. way: "momentum" is
    Adam without the division by the root of the mean square, and nothing else changed. Signals share their random numbers.
    """
    if way not in ("adam", "momentum"):
        raise SettingsError(f"There is no way {way!r} to step; choose adam or momentum.")
    random = torch.Generator().manual_seed(seed)
    v = (2 * torch.rand(gates, generator=random) - 1).repeat(len(signals), 1)
    mean, square = torch.zeros_like(v), torch.zeros_like(v)
    signal = torch.tensor(signals, dtype=v.dtype)[:, None]
    for step in range(1, steps + 1):
        gradient = size * (signal + torch.randn(gates, generator=random))
        mean.lerp_(gradient, 1 - BETA1)
        square.lerp_(gradient.square(), 1 - BETA2)
        move = mean / (1 - BETA1 ** step)
        if way == "adam":
            move = move / ((square / (1 - BETA2 ** step)).sqrt() + EPS)
        v = soft_threshold(v - lr * move, lam * lr)
    return v


def closed(v: Tensor) -> list[float]:
    """The share of gates that are exactly 0, of each row (..., gates)."""
    return (v == 0).double().mean(-1).tolist()


def two_paths(ways: Mapping[str, Sequence[float]]) -> tuple[Figure, str]:
    """Paths of a gate over its steps, in full and near 0; and the same in words."""
    fig = _figure((7.2, 2.8))
    for ax, part in zip(fig.subplots(1, 2), ("the whole way", "near 0")):
        for (name, passed), (style, colour) in zip(ways.items(), STYLES):
            ax.plot(passed, style, color=colour, label=name, markersize=4, linewidth=1)
        ax.axhline(0, color="#595959", linewidth=0.8)
        ax.set(title=part, xlabel="step", ylabel="v")
    ax.set(ylim=(-0.09, 0.09))
    fig.axes[0].legend(frameon=False, fontsize=8)
    told = "; ".join(f"{name}: exactly 0 after {sum(value == 0 for value in passed)} of {len(passed) - 1} steps, at the end "
                     f"{passed[-1]:.3g}" for name, passed in ways.items())
    return fig, f"A gate that begins at 1 and whose minimum is at 0, over the steps. {told}."


def survival(shares: Mapping[str, Sequence[float]], signals: Sequence[float], lam: float = LAMBDA) -> tuple[Figure, str]:
    """Share of closed gates over the signal of their gradients, a line each; dotted, Adam's limit. And the same in words."""
    fig = _figure((6.4, 3.2))
    ax = fig.subplots()
    for (name, share), (style, colour) in zip(shares.items(), STYLES):
        hollow = "none" if style.startswith("s") else colour  # two lines that lie on each other are both to be seen
        ax.plot(signals, share, style, color=colour, label=name, markersize=8 if hollow == "none" else 5,
                markerfacecolor=hollow, linewidth=1.2)
    ax.axvline(limit(lam), color="#595959", linestyle=":", linewidth=1)
    ax.text(limit(lam) + 0.01, 1.02, f"{limit(lam):.3f}", fontsize=8, color="#595959")
    ax.set(xlabel="mean of a gate's gradient over its standard deviation", ylabel="closed gates", ylim=(-0.05, 1.1))
    ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    told = "; ".join(f"{name}: " + ", ".join(f"{share:.0%} at {signal:g}" for share, signal in zip(each, signals))
                     for name, each in shares.items())
    return fig, f"Share of closed gates over the signal of their gradients. {told}."


def _figure(inches: tuple[float, float]) -> Figure:
    from matplotlib.figure import Figure  # takes a while to import; and no pyplot, so that nothing is shown twice

    return Figure(figsize=inches, layout="constrained")
