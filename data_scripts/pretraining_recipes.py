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


def trained(name: str, plan: Plan, method: nano.Method | None = None, recipe: str = "") -> Path:
    """Train one of ``nano.METHODS``, or a variant of it, and save it with its notes; the path of the weights."""
    recipe, method = recipe or name, method or nano.METHODS[name]
    steps = plan.steps or method.steps
    folder = data_folder() / "trainings" / f"{recipe}-nano-seed{plan.seed}-{steps}"
    model, log = nano.trained(name, plan.seed, folder, steps, plan.precision, method=method)
    curve(log).savefig(folder / "curve.png", dpi=120)
    labels = "partially labelled" if name in nano.SUPERVISED else "no labels read"
    notes = {**plan.notes(recipe, steps, log), "precision": method.precision or plan.precision,
             "data": f"{sum(nano.COUNTS.values())} phantoms of the hospitals A to D, {labels}, {nano.SPACING:g} mm"}
    return hub.save(model, plan.weights(recipe), **notes)


RECIPES: dict[str, Callable[[Plan], Path]] = {name: partial(trained, name) for name in nano.METHODS} | {
    "fseft_swapped": partial(trained, "fseft", method=nano.FSEFT_SWAPPED, recipe="fseft_swapped")}
