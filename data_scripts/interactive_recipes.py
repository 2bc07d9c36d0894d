"""How the course's promptable models are trained: a nano SAM on slices, a nano SAM-Med3D on cubes, by simulated interaction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn
from torch.utils.data import Dataset

from data_scripts.recipe import Plan
from fmlab import hub
from fmlab.interactive import nano
from fmlab.interactive.learning import look_where_it_points, sam_loss, sam_med3d_loss
from fmlab.settings import data_folder
from fmlab.training import TrainConfig, curve, train
from fmlab.training.order import seeded

STEPS = {"sam": 3000, "sam_med3d": 2600}


def sam(plan: Plan) -> Path:
    """SAM, nano, on pictures of bodies."""
    return trained(plan, "sam", sam_loss, nano.slices())


def sam_med3d(plan: Plan) -> Path:
    """SAM-Med3D, nano, on cubes of bodies."""
    return trained(plan, "sam_med3d", sam_med3d_loss, nano.cubes())


def trained(plan: Plan, name: str, loss: Callable, data: Dataset) -> Path:
    """Train a model from its seed and save it with its notes; the path of the weights."""
    model, log = learned(plan, name, loss, data)
    notes = {
        **plan.notes(name, plan.steps or STEPS[name], log),
        "data": f"{len(data.scans)} phantoms of the hospitals A to D; never pointed at: {', '.join(nano.HELD_OUT)}",
    }
    return hub.save(model, plan.weights(name), **notes)


def learned(plan: Plan, name: str, loss: Callable, data: Dataset) -> tuple[nn.Module, list[dict]]:
    """The model after its training, in eval mode, and the log."""
    steps = plan.steps or STEPS[name]
    folder = data_folder() / "trainings" / f"{name}-nano-seed{plan.seed}-{steps}"
    with seeded(plan.seed):
        model = hub.build(name, size="nano")
    look_where_it_points(model)
    settings = TrainConfig(steps, lr=1e-3, weight_decay=0.01, warmup=min(100, steps // 2), batch=2, seed=plan.seed,
                           precision=plan.precision)
    log = train(model, loss, data, settings, folder).log
    curve(log).savefig(folder / "curve.png", dpi=120)
    return model.eval(), log


RECIPES: dict[str, Callable[[Plan], Path]] = {"sam": sam, "sam_med3d": sam_med3d}
