"""How the course's promptable models are trained: a nano SAM on slices, a nano SAM-Med3D on cubes, by simulated interaction."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import Dataset

from data_scripts.recipe import Plan
from fmlab import hub
from fmlab.interactive import nano
from fmlab.interactive.cubes import Cubes
from fmlab.interactive.learning import MOST, sam_loss, sam_med3d_loss
from fmlab.interactive.slices import Slices
from fmlab.interactive.starts import (
    begin_as_glance,
    begin_with_masks,
    begin_with_opposites,
    begin_with_places,
    look_where_it_points,
)
from fmlab.interactive.textures import Textures
from fmlab.settings import data_folder
from fmlab.training import TrainConfig, curve, train
from fmlab.training.order import seeded

Data = Slices | Cubes | Textures


@dataclass(frozen=True)
class Stage:
    """A part of a training. most: prompts of an object at most; 0 to glance, without the decoder's transformer. objects: of an
    item. before: what is done to the model first, with the stage's data. decoder_alone: the encoder stays, a step costs half."""

    steps: int
    lr: float
    most: int
    objects: int
    before: tuple[Callable[[nn.Module, Data], None], ...] = ()
    decoder_alone: bool = False


def mask_prompts(model: nn.Module, data: Data) -> None:
    """Several prompts come with the logits of the answer before, which none did so far."""
    begin_with_masks(model)


def opposites(model: nn.Module, data: Data) -> None:
    """And with negative clicks."""
    begin_with_opposites(model)


def as_glance(model: nn.Module, data: Data) -> None:
    """From 8 cubes it is learned how to tell codes of places from features."""
    begin_as_glance(model, torch.stack([data[n]["image"] for n in range(8)]))


FLAT = (Stage(5000, 2e-3, 0, 10), Stage(2000, 1e-3, 1, 8), Stage(3500, 1e-3, MOST, 5, (mask_prompts,)))
SOLID = (Stage(5000, 2e-3, 0, 12), Stage(1000, 5e-4, 1, 6, (as_glance,)),
         Stage(2800, 8e-4, MOST, 6, (mask_prompts, opposites), decoder_alone=True), Stage(2600, 6e-4, MOST, 5))
"""The stages of the shipped weights in 2-D and in 3-D."""


def sam(plan: Plan) -> Path:
    """SAM, nano, on pictures of bodies."""
    return trained(plan, "sam", sam_loss, nano.slices(), FLAT)


def sam_textures(plan: Plan) -> Path:
    """The same SAM, as long, on textured shapes: what a SAM for photographs is to medicine (claim C02)."""
    return trained(plan, "sam_textures", sam_loss, Textures(nano.SIZE), FLAT)


def sam_med3d(plan: Plan) -> Path:
    """SAM-Med3D, nano, on cubes of bodies."""
    return trained(plan, "sam_med3d", sam_med3d_loss, nano.cubes(), SOLID)


def trained(plan: Plan, name: str, loss: Callable, data: Data, stages: Sequence[Stage]) -> Path:
    """Train a model from its seed and save it with its notes; the path of the weights."""
    model, log = learned(plan, name, loss, data, stages)
    seen = f"{len(data.scans)} phantoms of the hospitals A to D; never pointed at: {', '.join(nano.HELD_OUT)}"
    notes = {
        **plan.notes(name, plan.steps or sum(stage.steps for stage in stages), log),
        "data": seen if data.scans else "textured shapes without end, no body among them",
    }
    return hub.save(model, plan.weights(name), **notes)


def learned(plan: Plan, name: str, loss: Callable, data: Data, stages: Sequence[Stage]) -> tuple[nn.Module, list[dict]]:
    """The model after all stages, in eval mode, and the log. Fewer steps are shared out as the shipped weights' were."""
    full = [stage.steps for stage in stages]
    steps = plan.steps or sum(full)
    with seeded(plan.seed):
        model = hub.build(name.removesuffix("_textures"), size="nano")
        begin_with_places(model.image_encoder)
    look_where_it_points(model)
    folder, log = data_folder() / "trainings" / f"{name}-nano-seed{plan.seed}-{steps}", []
    for number, (count, stage) in enumerate(zip(shared_out(steps, full), stages), start=1):
        items = with_objects(data, stage.objects)
        with seeded(plan.seed):
            for begin in stage.before:
                begin(model, items)
        model.image_encoder.requires_grad_(not stage.decoder_alone)
        if count:
            settings = TrainConfig(count, lr=stage.lr, weight_decay=0.01, optimiser="muon", warmup=min(50, count // 2), batch=2,
                                   seed=len(stages) * plan.seed + number - 1, precision=plan.precision,
                                   unused_parameters=True)
            log += train(model, partial(loss, most=stage.most), items, settings, folder / f"stage{number}").log
    curve(log).savefig(folder / "curve.png", dpi=120)
    return model.requires_grad_(True).eval(), log


def with_objects(data: Data, number: int) -> Dataset:
    """The same data with another number of objects in an item."""
    changed = copy.copy(data)
    changed.objects = number
    return changed


def shared_out(steps: int, like: Sequence[int]) -> list[int]:
    """So many steps in the proportions of others."""
    ends = [round(steps * sum(like[:n]) / sum(like)) for n in range(len(like) + 1)]
    return [end - start for start, end in zip(ends, ends[1:])]


RECIPES: dict[str, Callable[[Plan], Path]] = {"sam": sam, "sam_textures": sam_textures, "sam_med3d": sam_med3d}
