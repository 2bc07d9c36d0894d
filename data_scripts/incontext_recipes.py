"""How the course's in-context models are trained: UniverSeg, Tyche and Iris, nano, each from its seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn
from torch.utils.data import Dataset

from data_scripts import incontext_cards
from data_scripts.recipe import Plan
from fmlab import hub
from fmlab.incontext import nano
from fmlab.incontext.candidates import several_candidates
from fmlab.incontext.episodes import in_context
from fmlab.incontext.readers import redrawn
from fmlab.settings import data_folder
from fmlab.training import TrainConfig, curve, train
from fmlab.training.order import seeded

STEPS = {"universeg": 3000, "tyche": 1500, "iris": 1500}


def universeg(plan: Plan) -> Path:
    """UniverSeg, four levels, on structures of bodies and synthetic shapes."""
    return trained(plan, "universeg", {"encoder_blocks": list(nano.WIDTHS)}, in_context, nano.training_episodes())


def tyche(plan: Plan) -> Path:
    """Tyche-TS on the same tasks, each mask drawn by a reader of its own; four candidates."""
    return trained(plan, "tyche", {"encoder_blocks": list(nano.WIDTHS)}, several_candidates, nano.training_episodes(redrawn))


def trained(plan: Plan, name: str, config: dict, loss: Callable, data: Dataset, batch: int = 4, lr: float = 1e-3) -> Path:
    """Train a model of the hub, save it with its notes, and write its card; the path of the weights."""
    steps = plan.steps or STEPS[name]
    folder = data_folder() / "trainings" / f"{name}-nano-seed{plan.seed}-{steps}"
    with seeded(plan.seed):
        model: nn.Module = hub.build(name, **config)
    settings = TrainConfig(steps, lr=lr, weight_decay=1e-4, warmup=min(100, steps // 2), batch=batch, seed=plan.seed,
                           precision=plan.precision)
    log = train(model, loss, data, settings, folder).log
    curve(log).savefig(folder / "curve.png", dpi=120)
    notes = {
        **plan.notes(name, steps, log),
        "data": f"{sum(nano.COUNTS.values())} phantoms, {nano.COUNTS}, {nano.SPACING:g} mm; never as a task: "
                f"{', '.join(nano.HELD_OUT)}",
    }
    path = hub.save(model, plan.output / f"{name}-nano.safetensors", **notes)
    path.with_suffix(".md").write_text(incontext_cards.CARDS[name](path, notes, model.eval()))
    return path


RECIPES: dict[str, Callable[[Plan], Path]] = {"universeg": universeg, "tyche": tyche}
