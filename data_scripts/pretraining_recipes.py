"""How the course's pre-trained models are trained: all on one set of bodies, most with one budget (``pretraining.nano``)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from data_scripts.recipe import Plan
from fmlab import hub
from fmlab.pretraining import nano
from fmlab.settings import data_folder
from fmlab.training import curve


def trained(name: str, plan: Plan) -> Path:
    """Train one of ``nano.METHODS`` and save it with its notes; the path of the weights."""
    steps = plan.steps or nano.METHODS[name].steps
    folder = data_folder() / "trainings" / f"{name}-nano-seed{plan.seed}-{steps}"
    model, log = nano.trained(name, plan.seed, folder, steps, plan.precision)
    curve(log).savefig(folder / "curve.png", dpi=120)
    labels = "partially labelled" if name in nano.SUPERVISED else "no labels read"
    notes = {**plan.notes(name, steps, log), "precision": nano.METHODS[name].precision or plan.precision,
             "data": f"{sum(nano.COUNTS.values())} phantoms of the hospitals A to D, {labels}, {nano.SPACING:g} mm"}
    return hub.save(model, plan.weights(name), **notes)


RECIPES: dict[str, Callable[[Plan], Path]] = {name: partial(trained, name) for name in nano.METHODS}
