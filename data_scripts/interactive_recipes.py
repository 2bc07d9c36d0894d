"""How the course's promptable models are trained: a nano SAM on slices, a nano SAM-Med3D on cubes, by simulated interaction."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import Dataset

from data_scripts.recipe import Plan
from fmlab import hub
from fmlab.interactive import nano
from fmlab.interactive.cubes import Cubes
from fmlab.interactive.glance import begin_as_glance, begin_with_places
from fmlab.interactive.learning import (
    MOST,
    begin_with_masks,
    begin_with_opposites,
    look_where_it_points,
    sam_loss,
    sam_med3d_loss,
)
from fmlab.interactive.slices import Slices
from fmlab.interactive.textures import Textures
from fmlab.settings import data_folder
from fmlab.training import TrainConfig, curve, train
from fmlab.training.order import seeded

STEPS = {"sam": (5000, 2000, 3500), "sam_textures": (5000, 2000, 3500), "sam_med3d": (5000, 1000, 2800, 2600)}
"""Of the stages: without the decoder's transformer (``glance``), one prompt an object, several; in 3-D the decoder alone
first, and then everything again."""

STAGES = {"sam": ((2e-3, 0), (1e-3, 1), (1e-3, MOST)), "sam_textures": ((2e-3, 0), (1e-3, 1), (1e-3, MOST)),
          "sam_med3d": ((2e-3, 0), (5e-4, 1), (8e-4, MOST), (6e-4, MOST))}
"""Learning rate, most prompts."""


def sam(plan: Plan) -> Path:
    """SAM, nano, on pictures of bodies."""
    return trained(plan, "sam", sam_loss, nano.slices(objects=10), (10, 8, 5))


def sam_textures(plan: Plan) -> Path:
    """The same SAM, as long, on textured shapes: what a SAM for photographs is to medicine (claim C02)."""
    return trained(plan, "sam_textures", sam_loss, Textures(nano.SIZE, objects=10), (10, 8, 5))


def sam_med3d(plan: Plan) -> Path:
    """SAM-Med3D, nano, on cubes of bodies."""
    return trained(plan, "sam_med3d", sam_med3d_loss, nano.cubes(objects=12), (12, 6, 6, 5))


def trained(plan: Plan, name: str, loss: Callable, data: Slices | Cubes | Textures, objects: Sequence[int]) -> Path:
    """Train a model from its seed and save it with its notes; the path of the weights. objects: of an item, by stage."""
    model, log = learned(plan, name, loss, [with_objects(data, number) for number in objects])
    seen = f"{len(data.scans)} phantoms of the hospitals A to D; never pointed at: {', '.join(nano.HELD_OUT)}"
    notes = {
        **plan.notes(name, plan.steps or sum(STEPS[name]), log),
        "data": seen if data.scans else "textured shapes without end, no body among them",
    }
    return hub.save(model, plan.weights(name), **notes)


def with_objects(data: Slices | Cubes | Textures, number: int) -> Dataset:
    """The same data with another number of objects in an item."""
    changed = copy.copy(data)
    changed.objects = number
    return changed


def learned(plan: Plan, name: str, loss: Callable, data: Sequence[Dataset]) -> tuple[nn.Module, list[dict]]:
    """The model after all stages, in eval mode, and the log. Fewer steps are shared out as the shipped weights' were."""
    steps = plan.steps or sum(STEPS[name])
    counts = shared_out(steps, STEPS[name])
    with seeded(plan.seed):
        model = hub.build(name.removesuffix("_textures"), size="nano")
        begin_with_places(model.image_encoder)
    look_where_it_points(model)
    folder, log = data_folder() / "trainings" / f"{name}-nano-seed{plan.seed}-{steps}", []
    for number, (count, (lr, most), items) in enumerate(zip(counts, STAGES[name], data), start=1):
        if most == 1 and name == "sam_med3d":
            with seeded(plan.seed):
                begin_as_glance(model, torch.stack([items[n]["image"] for n in range(8)]))
        if number == 3:
            begin_with_masks(model)
        if name == "sam_med3d" and number == 3:  # a step of the decoder alone costs half
            begin_with_opposites(model)
        model.image_encoder.requires_grad_(not (name == "sam_med3d" and number == 3))
        if count:
            settings = TrainConfig(count, lr=lr, weight_decay=0.01, optimiser="muon", warmup=min(50, count // 2), batch=2,
                                   seed=len(counts) * plan.seed + number - 1, precision=plan.precision,
                                   unused_parameters=True)
            log += train(model, partial(loss, most=most), items, settings, folder / f"stage{number}").log
    curve(log).savefig(folder / "curve.png", dpi=120)
    return model.eval(), log


def shared_out(steps: int, like: Sequence[int]) -> list[int]:
    """So many steps in the proportions of others."""
    ends = [round(steps * sum(like[:n]) / sum(like)) for n in range(len(like) + 1)]
    return [end - start for start, end in zip(ends, ends[1:])]


RECIPES: dict[str, Callable[[Plan], Path]] = {"sam": sam, "sam_textures": sam_textures, "sam_med3d": sam_med3d}
