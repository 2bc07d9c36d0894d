"""How the two small image-text models of lesson 02 are trained, and their cards: accuracy on the examinations of claim C01."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import nn

from data_scripts.incontext_cards import head, parameters, table
from data_scripts.recipe import Plan
from fmlab import hub
from fmlab.contrastive import nano
from fmlab.lessons.experiments import c01
from fmlab.settings import data_folder

EXAMINED = 5000  # seed of the card's pictures
WHAT = {"specialist": "fundus photographs alone",
        "generalist": f"{nano.SHARE:.0%} fundus photographs, slices of bodies, coloured shapes"}
CONVENTION = """\
Balanced accuracy on new pictures, 16 of each class, larger is better. Cameras A to C took the pictures of pre-training, D and E
did not; novel conditions were kept from it. Names: zero-shot by the classes' names. Knowledge: by names and expert descriptions,
averaged and normalised. Linear probe: logistic regression on the features of 8 labelled pictures of each class."""


def trained(kind: str, plan: Plan) -> Path:
    """Train the specialist or the generalist as claim C01 does with this seed; the path of the weights."""
    budget = replace(nano.Budget(), steps=plan.steps or nano.Budget().steps)
    folder = data_folder() / "trainings" / c01.FOLDER / f"{kind}-seed{plan.seed}-{budget.steps}"
    pictures = nano.diet(nano.SHARES[kind], budget, plan.seed)
    name = f"image_text_{kind}"
    model, log = nano.trained(pictures, plan.seed, folder, budget, plan.precision, name=name)
    data = f"{budget.pictures} pictures: {WHAT[kind]}"
    notes = {**plan.notes(name, budget.steps, log), "data": data}
    return hub.save(model, plan.weights(name), **notes)


def card(kind: str, weights: Path, notes: Mapping[str, object], model: nn.Module) -> str:
    """The Markdown text of the card."""
    what = f"A small image-text model in the manner of CLIP and FLAIR, {parameters(model)}, pictures of 64 pixels: {WHAT[kind]}."
    ways = ("names", "knowledge", "linear probe")
    rows = {}
    for name, (classes, camera) in c01.SETS.items():
        found = c01.scores(model, *nano.examined(classes, camera, 24, EXAMINED), classes, 8)
        rows[name] = [f"{1 / len(classes):.2f}", *(f"{found[way]:.2f}" for way in ways)]
    return "\n".join([*head(weights, notes, what), "", CONVENTION, "", *table(["examination", "chance", *ways], rows)]) + "\n"


RECIPES: dict[str, Callable[[Plan], Path]] = {f"image_text_{kind}": partial(trained, kind) for kind in nano.SHARES}
CARDS: dict[str, Callable[[Path, Mapping[str, object], nn.Module], str]] = {
    f"image_text_{kind}": partial(card, kind) for kind in nano.SHARES}
