"""What lesson 17 measures and draws of models that were adapted to new organs.

    drawn(people, shots)                  the support set of the few-shot protocol
    scores(model, people)                 person -> one Score a structure
    result(trained, scored, shots)        a line of the few-shot protocol's tables
    old_head_on(backbone, base)           the base model's head on another theta_f
    settled(model, z, expected, shots)    the transductive steps of the size prior
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from fmlab import metrics
from fmlab.adaptation.adapting import Trained
from fmlab.adaptation.black_box import Features
from fmlab.adaptation.results import Result
from fmlab.adaptation.sampling import support
from fmlab.adaptation.shots import Shots
from fmlab.adaptation.size_prior import WEIGHT, penalty, predicted_share
from fmlab.backbones.segmenter import Segmenter
from fmlab.cohorts import Cohort
from fmlab.hardware import hardware
from fmlab.inference import segment
from fmlab.lessons import claims
from fmlab.pretraining import nano
from fmlab.pretraining.masked import masked_bce_dice
from fmlab.training.order import seeded
from fmlab.viewer import row
from fmlab.volume import Volume
from fmlab.windows import WIDE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Scores = Mapping[str, Sequence[metrics.Score]]
_LOOKS = (("o", "#595959"), ("s", "#D55E00"), ("^", "#009E73"), ("D", "#0072B2"))  # Okabe-Ito


def drawn(people: Cohort, shots: int, seed: int = 0) -> Cohort:
    """Those of the people whom the few-shot protocol draws with this seed."""
    return Cohort(f"{shots} of {people.name}", tuple(people.cases[index] for index in support(people.patients, shots, seed)))


def parts(model: nn.Module) -> str:
    """How many numbers of each part of a Swin UNETR are trained and how many are frozen, as text."""
    count: dict[str, list[int]] = {}
    for name, weight in model.named_parameters():
        part = "head" if name.startswith("head") else re.sub(r"\d+", "", name.split(".")[1])
        count.setdefault(part, [0, 0])[not weight.requires_grad] += weight.numel()
    lines = [f"{part:8s} {trained:10,} {frozen:10,}" for part, (trained, frozen) in count.items()]
    return "\n".join([f"{'part':8s} {'trained':>10s} {'frozen':>10s}", *lines])


def found_in(model: nn.Module, volume: Volume) -> Volume:
    """A scan as a model of the course's small pre-trainings labels it, crumbs and all."""
    return segment(model, volume, spacing=nano.SPACING, side=nano.SIDE, overlap=0.25, crumb_ml=0)


def scores(model: nn.Module, people: Cohort) -> dict[str, list[metrics.Score]]:
    """Person -> the scores of what the model knows."""
    return {body.name: metrics.evaluate(found_in(model, body), body, model.structures) for body in people}


def mean_dice(scored: Scores) -> dict[str, float]:
    """Structure -> mean Dice over the people who have it."""
    found: dict[str, list[float]] = {}
    for person in scored.values():
        for score in person:
            if score.scored:
                found.setdefault(score.structure, []).append(score.dice)
    return {structure: float(np.mean(values)) for structure, values in found.items()}


def result(trained: Trained, scored: Scores, shots: int, seed: int = 0) -> Result:
    """The adaptation as a ``Result``, for ``results.table``; a person's value is the mean over the structures that are there."""
    adapter = trained.adapter
    dice = {person: float(np.mean([score.dice for score in own if score.volume_ml > 0])) for person, own in scored.items()}
    task = {"method": adapter.method, "options": {}, "decoder": adapter.decoder, "shots": shots, "seed": seed}
    return Result(task, dice, adapter.count, trained.seconds, max(trained.kept), hardware())


def old_head_on(backbone: nn.Module, base: Segmenter) -> Segmenter:
    """The base model's own head, with its names, on a theta_f that may have been tuned since. Nothing is copied."""
    model = Segmenter(backbone, base.head)
    model.structures = base.structures
    return model.eval()


@dataclass(frozen=True)
class Settled:
    """head: after the steps. shares: predicted before each step, and at the end."""

    head: nn.Module
    shares: list[float]


def settled(model: Segmenter, z: Tensor, expected: float, shots: Shots, steps: int, weights: Sequence[float] = (0, WEIGHT),
            lr: float = 1e-2, seed: int = 0) -> dict[float, Settled]:
    """Weight -> a copy of the model's head, trained further on the support set's loss plus so much of the query's size penalty.

    z: the query's features (1, C, X, Y, Z). As published, but with the course's loss and rate, and in fewer steps.
    """
    features, found = Features(model, shots), {}
    with seeded(seed):
        batches = [torch.randint(len(features), (2,)).tolist() for _ in range(steps)]
    for weight in weights:
        head, shares = copy.deepcopy(model.head), []
        optimiser = torch.optim.Adam(head.parameters(), lr=lr)
        for chosen in batches:
            batch = default_collate([features[index] for index in chosen])
            share = predicted_share(head, [z])
            loss = masked_bce_dice(head(batch["image"].float()), batch["target"], batch["w"])
            optimiser.zero_grad()
            (loss + weight * penalty(share, expected)).backward()
            optimiser.step()
            shares.append(float(share.detach()))
        with torch.no_grad():
            found[weight] = Settled(head, [*shares, float(predicted_share(head, [z]))])
    return found


def pictures(models: Mapping[str, nn.Module], volume: Volume, structure: str) -> tuple[Figure, str]:
    """What each model finds of a structure (solid) and what is there (dashed), on the coronal slice that shows most of it."""
    there = volume.mask(structure)
    y = int(there.sum((0, 2)).argmax())
    masks = {name: found_in(model, volume).mask(structure) for name, model in models.items()}
    flat = [mask[:, y].T.flip(0).float() for mask in masks.values()]
    scan = WIDE(volume.image[0][:, y]).T.flip(0)
    dice = {name: metrics.dice(mask, there) for name, mask in masks.items()}
    titles = [f"{name}: Dice {value:.2f}" for name, value in dice.items()]
    fig = row([scan] * len(flat), flat, [there[:, y].T.flip(0).float()] * len(flat), titles, 2.6)
    told = ", ".join(f"{value:.2f} for {name}" for name, value in dice.items())
    return fig, f"A coronal slice with the {structure.replace('_', ' ')} outlined, as drawn (dashed) and as found; Dice {told}."


def dumbbells(by_name: Mapping[str, Mapping[str, float]]) -> tuple[Figure, str]:
    """Dice of each structure under some names (name -> structure -> Dice), joined by a line; and the same in words."""
    from matplotlib.figure import Figure  # takes a while to import; and no pyplot, so that nothing is shown twice

    structures = list(next(iter(by_name.values())))
    fig = Figure(figsize=(6.5, 0.24 * len(structures) + 0.9), layout="constrained")
    ax = fig.add_subplot()
    for k, structure in enumerate(structures):
        values = [each[structure] for each in by_name.values()]
        ax.plot([min(values), max(values)], [k, k], color="#BBBBBB", linewidth=1.5, zorder=1)
    for (name, each), (marker, colour) in zip(by_name.items(), _LOOKS):
        ax.plot([each[structure] for structure in structures], range(len(structures)), marker, color=colour, label=name)
    ax.set_yticks(range(len(structures)), [structure.replace("_", " ") for structure in structures], fontsize=8)
    ax.invert_yaxis()
    ax.set(xlabel="Dice on new people", xlim=(-0.03, 1))
    ax.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    told = "; ".join(f"{name}: mean {np.mean(list(each.values())):.2f}" for name, each in by_name.items())
    return fig, f"Dice of each structure that the base model knows. {told}."


def means_of_runs(claim: str, what: str = "mean") -> str:
    """Mean Dice by method of a claim's shipped runs, a line a method, with each seed's. what: which of their details."""
    runs = [run.details[what] for run in claims.runs(claim) if what in run.details]
    if not runs:
        return f"{claim} has no run yet."
    lines = [f"{method:22s} {np.mean([run[method] for run in runs]):.3f}   seeds: "
             + ", ".join(f"{run[method]:.3f}" for run in runs) for method in runs[0]]
    return "\n".join(lines)
