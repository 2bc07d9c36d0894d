"""Lesson 19: parameter-efficient tuning where there is no attention, on the course's universal U-Net, on cubes of two people.

    tried = [try_out(name, *people_cubes(), steps=40) for name in VARIANTS]
    print(table(tried))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.data import default_collate

from fmlab import cohorts, hub
from fmlab.adaptation.adapting import Budget, adapt
from fmlab.adaptation.attach import attach
from fmlab.adaptation.fewshot import POOL_SEED, TEST_SEED
from fmlab.adaptation.shots import Shots
from fmlab.lessons.five_scans import CENTRE, KNOWN, upper_abdomen

VARIANTS: dict[str, tuple[str, dict[str, object]]] = {
    "adapter, begins at zero": ("cnn_adapter", {}),
    "adapter, begins at random": ("cnn_adapter", {"begin": "random"}),
    "the same, and norms": ("cnn_adapter", {"begin": "random", "norms": True}),
    "LoRA, rank 4": ("lora", {"rank": 4}),
    "affine": ("affine", {}),
}
SPACING = 4.0  # mm, the universal model's


@dataclass(frozen=True)
class Tried:
    """count, dead: numbers that are trained, and those of them that no gradient reaches. away: of the logits from the base
    model's before any step, in their deviations. dice: on the other person's cubes, before the first step and after the last."""

    name: str
    count: int
    dead: int
    away: float
    dice: tuple[float, float]


def people_cubes(cubes: int = 12) -> tuple[Shots, Shots]:
    """Cubes of a person of hospital F to adapt to, and of another one."""
    both = (cohorts.phantoms(1, CENTRE, SPACING, seed, 1, False, upper_abdomen) for seed in (POOL_SEED, TEST_SEED))
    return tuple(Shots(one, KNOWN, cubes, 32, shift=False) for one in both)


def try_out(name: str, train: Shots, test: Shots, steps: int, seed: int = 0) -> Tried:
    """One variant: what it is, and what some steps make of it."""
    method, options = VARIANTS[name]
    adapter = attach(hub.load("universal", "nano"), method, KNOWN, seed=seed, **options)
    said, before = adapter.report(16), cube_dice(adapter.model, test)
    adapt(adapter, train, Budget(steps=steps, marks=1), seed)
    return Tried(name, said.count, sum(said.dead.values()), said.away, (before, cube_dice(adapter.model, test)))


@torch.no_grad()
def cube_dice(model: nn.Module, cubes: Shots) -> float:
    """Mean over structures of the Dice of all cubes' voxels together; structures that no cube shows are left out."""
    model.eval()
    both = torch.zeros(3, len(cubes.structures))
    for start in range(0, len(cubes), 4):
        batch = default_collate(cubes.items[start:start + 4])
        found, truth = model(batch["image"]) > 0, batch["target"].bool()
        both += torch.stack([each.sum((0, 2, 3, 4)).float() for each in (found & truth, found, truth)])
    shown = both[2] > 0
    return float((2 * both[0] / (both[1] + both[2]).clamp(min=1))[shown].mean())


def table(tried: Sequence[Tried]) -> str:
    """A line a variant."""
    lines = [f"{'on a U-Net':28s}{'trained':>9s}{'dead':>6s}{'logits moved':>14s}{'Dice before':>13s}{'after':>8s}"]
    lines += [f"{one.name:28s}{one.count:9,}{one.dead:6,}{one.away:14.2f}{one.dice[0]:13.3f}{one.dice[1]:8.3f}" for one in tried]
    return "\n".join(lines)
