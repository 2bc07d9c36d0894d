"""For lesson 05: a short fine-tuning for each way to begin, with its loss and its Dice on a new person as it goes; and pictures.

    exam = cubes(unseen)
    curves = {arm: fine_tuned(network, Patches(labelled, NOVEL, SIDE), exam, steps) for arm, network in networks.items()}
    drawn(curves)
"""

from __future__ import annotations

import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils.data import Dataset, default_collate

from fmlab import randomise
from fmlab.cohorts import Cohort
from fmlab.lessons import claims
from fmlab.pretraining import nano, universal
from fmlab.pretraining.patches import Patches
from fmlab.training import train
from fmlab.training.order import seeded

LOOKS = 4  # how often the exam is taken on the way
STYLES = (("-", "#999999"), ("-", "#0072B2"), ("--", "#E69F00"), (":", "#D55E00"))


@dataclass(frozen=True)
class Curve:
    """What a fine-tuning looked like. losses: one a step. dice: (steps done, Dice in the exam), the last one at the end."""

    losses: list[float]
    dice: list[tuple[int, float]]


def cubes(people: Cohort, count: int = 8, seed: int = 5) -> dict:
    """A batch of cubes of people with nothing randomised but their place: always the same ones, for an exam."""
    patches = Patches(people, nano.NOVEL, nano.SIDE, randomise.NONE)
    with seeded(seed):
        return default_collate([patches[i % len(patches)] for i in range(count)])


@torch.no_grad()
def exam_dice(network: nn.Module, exam: Mapping[str, Tensor]) -> float:
    """Mean over structures of the Dice of all cubes together. exam: image (B, 1, X, Y, Z) and target (B, K, X, Y, Z)."""
    device = next(network.parameters()).device
    answers = torch.cat([network(cube[None].to(device)).cpu() > 0 for cube in exam["image"]])
    found, truth = (part.movedim(1, 0).flatten(1) for part in (answers, exam["target"] > 0))
    return float((2 * (found & truth).sum(1) / (found.sum(1) + truth.sum(1)).clamp(min=1)).mean())


def fine_tuned(network: nn.Module, data: Dataset, exam: Mapping[str, Tensor], steps: int, seed: int = 0) -> Curve:
    """Train the network in place with the masked loss and the budget of all the course's small trainings."""
    calls, dice = 0, []

    def watched(net: nn.Module, batch: dict) -> Tensor:
        nonlocal calls
        if calls % max(1, steps // LOOKS) == 0:
            dice.append((calls, exam_dice(net, exam)))
        calls += 1
        return universal.masked(net, batch)

    with tempfile.TemporaryDirectory() as folder:
        log = train(network, watched, data, nano.budget(steps, seed, "float32"), folder, progress=False).log
    return Curve([line["loss"] for line in log], [*dice, (steps, exam_dice(network, exam))])


def drawn(curves: Mapping[str, Curve], smooth: int = 8) -> Figure:
    """Loss and Dice over the steps, side by side; at most four curves. smooth: steps of which the loss is a mean; fewer where the
    training is short."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    smooth = max(1, min(smooth, *(len(curve.losses) // 4 for curve in curves.values())))
    for (name, curve), (style, colour) in zip(curves.items(), STYLES):
        means = np.convolve(curve.losses, np.ones(smooth) / smooth, mode="valid")
        left.plot(np.arange(len(means)) + smooth, means, style, color=colour, label=name)
        right.plot(*zip(*curve.dice), style, color=colour, marker="o", markersize=4, label=name)
    top = max(0.2, 1.15 * max(dice for curve in curves.values() for _, dice in curve.dice))
    left.set(xlabel="step", ylabel=f"loss, mean of {smooth} steps" if smooth > 1 else "loss")
    right.set(xlabel="step", ylabel="Dice on a new person", ylim=(-0.03 * top, top))
    for ax in (left, right):
        ax.xaxis.get_major_locator().set_params(integer=True)
    right.legend(frameon=False, fontsize=8)
    return figure


def told(curves: Mapping[str, Curve]) -> str:
    """The picture in words: Dice at the beginning and at the end of each curve."""
    return "Loss and Dice over the steps. Dice at first and at last: " + "; ".join(
        f"{name} {curve.dice[0][1]:.2f}, {curve.dice[-1][1]:.2f}" for name, curve in curves.items()) + "."


def by_structure(scores: Mapping[str, Mapping[str, float]], shared: Sequence[str]) -> tuple[Figure, str]:
    """Dice of each of the shared structures wherever it was scored: scan -> structure -> Dice; at most four scans. And the same
    in words."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    ax = figure.subplots()
    for (where, there), marker, (_, colour) in zip(scores.items(), "os^D", STYLES):
        ax.plot(range(len(shared)), [there[name] for name in shared], marker, color=colour, label=where, alpha=0.8)
    ax.set_xticks(range(len(shared)), shared, rotation=90, fontsize=8)
    ax.set(ylabel="Dice", ylim=(-0.03, 1.03))
    ax.grid(axis="x", alpha=0.3)
    figure.legend(frameon=False, fontsize=9, ncol=4, loc="outside upper center")
    return figure, f"Dice of each of {len(shared)} structures, zero-shot in the first meaning. Means: " + "; ".join(
        f"{where} {np.mean([there[name] for name in shared]):.2f}" for where, there in scores.items()) + "."


def quoted(*ids: str, width: int = 110) -> str:
    """The published numbers that claims quote, a paragraph each, as text of ``width`` columns."""
    lines = []
    for claim in map(claims.find, ids):
        lines.append(f"{claim.id} {claim.title}")
        lines += [textwrap.fill(str(quote), width, initial_indent="  ", subsequent_indent="    ") for quote in claim.quoted]
    return "\n".join(lines)
