"""How the course's in-context models are trained: UniverSeg, Tyche and Iris, nano, each from its seed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

from torch import nn
from torch.utils.data import Dataset

from data_scripts.recipe import Plan
from fmlab import hub
from fmlab.incontext import nano
from fmlab.incontext.candidates import several_candidates
from fmlab.incontext.episodes import in_context
from fmlab.incontext.iris import NANO, loss
from fmlab.incontext.iris_features import FirstStage, first_loss
from fmlab.incontext.readers import redrawn
from fmlab.incontext.volume_episodes import MadeUp
from fmlab.settings import data_folder
from fmlab.training import TrainConfig, curve, train
from fmlab.training.order import seeded

STEPS = {"universeg": 3000, "tyche": 1000, "iris": 1400}
FIRST = 800  # steps of Iris' first stage, or as many as the episodes have if these are fewer


def universeg(plan: Plan) -> Path:
    """UniverSeg, four levels, on structures of bodies and synthetic shapes."""
    return trained(plan, "universeg", built(plan, "universeg"), in_context, nano.training_episodes())


def tyche(plan: Plan) -> Path:
    """Tyche-TS on the same tasks, each mask drawn by a reader of its own; four candidates."""
    return trained(plan, "tyche", built(plan, "tyche"), several_candidates, nano.training_episodes(redrawn))


def iris(plan: Plan) -> Path:
    """Iris: first features that tell the training's structures apart, then episodes of two people and four classes."""
    data, steps = nano.volume_episodes(), plan.steps or STEPS["iris"]
    plain = copy.copy(data)
    plain.made_up = MadeUp(mirror=0, union=0, half=0)
    with seeded(plan.seed):
        model = hub.build("iris")
        stage = FirstStage(model.image_encoder, (*NANO[:-2], model.channels), nano.TASKS)
    count = min(FIRST, steps)
    settings = TrainConfig(count, lr=2e-3, weight_decay=1e-4, warmup=min(50, count // 2), batch=1, seed=plan.seed + 1,
                           precision=plan.precision)
    folder = data_folder() / "trainings" / f"iris-nano-seed{plan.seed}-first-{count}"
    first = train(stage, first_loss, plain, settings, folder).log
    return trained(plan, "iris", model, loss, data, batch=1, before=first)


def trained(plan: Plan, name: str, model: nn.Module, loss: Callable, data: Dataset, batch: int = 4, lr: float = 1e-3,
            before: list[dict] | None = None) -> Path:
    """Train a model and save it with its notes; the path of the weights. before: the log of a first stage."""
    steps = plan.steps or STEPS[name]
    folder = data_folder() / "trainings" / f"{name}-nano-seed{plan.seed}-{steps}"
    settings = TrainConfig(steps, lr=lr, weight_decay=1e-4, warmup=min(100, steps // 2), batch=batch, seed=plan.seed,
                           precision=plan.precision)
    log = train(model, loss, data, settings, folder).log
    curve(log).savefig(folder / "curve.png", dpi=120)
    notes = {
        **plan.notes(name, steps, [*(before or []), *log]),
        "data": f"{sum(nano.COUNTS.values())} phantoms, {nano.COUNTS}, {nano.SPACING:g} mm; never as a task: "
                f"{', '.join(nano.HELD_OUT)}",
    }
    return hub.save(model, plan.weights(name), **notes)


def built(plan: Plan, name: str) -> nn.Module:
    """A model of four levels of nano.WIDTHS with the first weights of the plan's seed."""
    with seeded(plan.seed):
        return hub.build(name, encoder_blocks=list(nano.WIDTHS))


RECIPES: dict[str, Callable[[Plan], Path]] = {"universeg": universeg, "tyche": tyche, "iris": iris}
