"""How the course's promptable models are trained: a nano SAM on slices, a nano SAM-Med3D on cubes, by simulated interaction."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path

from torch import nn
from torch.utils.data import Dataset

from data_scripts.recipe import Plan
from fmlab import hub
from fmlab.interactive import nano
from fmlab.interactive.cubes import Cubes
from fmlab.interactive.learning import MOST, begin_with_masks, look_where_it_points, sam_loss, sam_med3d_loss
from fmlab.interactive.slices import Slices
from fmlab.interactive.textures import Textures
from fmlab.settings import data_folder
from fmlab.training import TrainConfig, curve, train
from fmlab.training.order import seeded

STEPS = {"sam": (2000, 1500), "sam_textures": (2000, 1500), "sam_med3d": (1500, 1000)}
"""Of the first stage, with one prompt an object, and of the second, with several."""


def sam(plan: Plan) -> Path:
    """SAM, nano, on pictures of bodies."""
    return trained(plan, "sam", sam_loss, fewer(nano.slices(objects=10), 6))


def sam_textures(plan: Plan) -> Path:
    """The same SAM, as long, on textured shapes: what a SAM for photographs is to medicine (claim C02)."""
    return trained(plan, "sam_textures", sam_loss, fewer(Textures(nano.SIZE, objects=10), 6))


def sam_med3d(plan: Plan) -> Path:
    """SAM-Med3D, nano, on cubes of bodies."""
    return trained(plan, "sam_med3d", sam_med3d_loss, fewer(nano.cubes(objects=6), 4))


def fewer(data: Slices | Cubes | Textures, objects: int) -> tuple[Dataset, Dataset]:
    """The data of the first stage, and the same with fewer objects in an item for the second."""
    second = copy.copy(data)
    second.objects = objects
    return data, second


def trained(plan: Plan, name: str, loss: Callable, data: tuple[Dataset, Dataset]) -> Path:
    """Train a model from its seed and save it with its notes; the path of the weights."""
    model, log = learned(plan, name, loss, data)
    seen = f"{len(data[0].scans)} phantoms of the hospitals A to D; never pointed at: {', '.join(nano.HELD_OUT)}"
    notes = {
        **plan.notes(name, plan.steps or sum(STEPS[name]), log),
        "data": seen if data[0].scans else "textured shapes without end, no body among them",
    }
    return hub.save(model, plan.weights(name), **notes)


def learned(plan: Plan, name: str, loss: Callable, data: tuple[Dataset, Dataset]) -> tuple[nn.Module, list[dict]]:
    """The model after both stages, in eval mode, and the log. Fewer steps are shared out as the shipped weights' were."""
    first, second = STEPS[name]
    steps = plan.steps or first + second
    first = round(steps * first / (first + second))
    with seeded(plan.seed):
        model = hub.build(name.removesuffix("_textures"), size="nano")
    look_where_it_points(model)
    folder, log = data_folder() / "trainings" / f"{name}-nano-seed{plan.seed}-{steps}", []
    stages = ((first, 1e-3, 1, data[0]), (steps - first, 5e-4, MOST, data[1]))
    for number, (count, lr, most, items) in enumerate(stages, start=1):
        if count:
            settings = TrainConfig(count, lr=lr, weight_decay=0.01, warmup=min(50, count // 2), batch=2,
                                   seed=2 * plan.seed + number - 1, precision=plan.precision)
            log += train(model, partial(loss, most=most), items, settings, folder / f"stage{number}").log
        if number == 1:
            begin_with_masks(model)
    curve(log).savefig(folder / "curve.png", dpi=120)
    return model.eval(), log


RECIPES: dict[str, Callable[[Plan], Path]] = {"sam": sam, "sam_textures": sam_textures, "sam_med3d": sam_med3d}
