"""Train the weights that ship with the course: ``python -m data_scripts.train_course_weights universal sam sam_med3d``.

Everything follows from the seed: bodies, patches, episodes, first weights. Stopped, the same command goes on where it was. The
log and the checkpoints lie in FMLAB_DATA/trainings; weights and card go to fmlab/hub/weights, or to --output.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors import safe_open
from torch import nn

from data_scripts import (
    contrastive_recipes,
    incontext_cards,
    incontext_recipes,
    interactive_cards,
    interactive_recipes,
    pretraining_cards,
    pretraining_recipes,
)
from data_scripts.cards import card
from data_scripts.course_evaluation import evaluate
from data_scripts.recipe import Plan
from fmlab import hub
from fmlab.errors import FmlabError, ModelError
from fmlab.hardware import fast_precision
from fmlab.pretraining import universal as course
from fmlab.pretraining.patches import Patches
from fmlab.settings import data_folder
from fmlab.training import TrainConfig, curve, train
from fmlab.training.order import seeded

STEPS = 4500
RESTART = 0.8  # share of the steps after which the cosine starts again, lower (Loshchilov and Hutter 2017, arXiv:1608.03983)


def universal(plan: Plan) -> Path:
    """Train and save the universal model with one of ``course.LOSSES``; the path of its weights."""
    steps, seed = plan.steps or STEPS, plan.seed
    folder = data_folder() / "trainings" / f"universal-{plan.label}-seed{seed}-{steps}"
    print(f"bodies: {course.COUNTS} of the hospitals, {course.SPACING:g} mm")
    data = Patches(course.training_bodies(), course.UNIVERSAL, course.SIDE)
    with seeded(seed):
        model = hub.build("universal", exclusive=plan.loss == "softmax")
    log, first = [], round(RESTART * steps)
    for stage, (count, lr) in enumerate(((first, 2e-3), (steps - first, 6e-4)), start=1):
        if count == 0:  # a try of one step or two
            continue
        config = TrainConfig(count, lr=lr, weight_decay=1e-4, warmup=min(100, count // 2), batch=2, seed=2 * seed + stage - 1,
                             precision=plan.precision, every=50)
        log += train(model, course.LOSSES[plan.loss], data, config, folder / f"stage{stage}").log
    curve(log).savefig(folder / "curve.png", dpi=120)
    notes = {
        **plan.notes(f"universal --loss {plan.loss}", steps, log),
        "data": f"{sum(course.COUNTS.values())} phantoms, partially labelled: {course.COUNTS}, {course.SPACING:g} mm",
        "loss": plan.loss,
    }
    return hub.save(model, plan.weights("universal"), **notes)


RECIPES: dict[str, Callable[[Plan], Path]] = {"universal": universal, **incontext_recipes.RECIPES,
                                              **interactive_recipes.RECIPES, **pretraining_recipes.RECIPES,
                                              **contrastive_recipes.RECIPES}
CARDS: dict[str, Callable[[Path, Mapping[str, object], nn.Module], str]] = {
    "universal": lambda path, notes, model: card(path, notes, evaluate(model)), **incontext_cards.CARDS,
    **interactive_cards.CARDS, **pretraining_cards.CARDS, **contrastive_recipes.CARDS}


def write_card(name: str, weights: Path) -> None:
    """Evaluate stored weights, and write their card beside them; how they were made is told by the file."""
    if not weights.is_file():
        raise ModelError(f"There are no weights at {weights}, so there is nothing to write a card about; train them first.")
    with safe_open(weights, framework="pt") as file:
        said = json.loads(file.metadata()["fmlab"])
    text = CARDS[name](weights, said["notes"], hub.load(said["name"], weights))
    weights.with_suffix(".md").write_text(text, encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Run the trainings that are named, one after another; 0, or 1 after a sentence on what went wrong."""
    parser = argparse.ArgumentParser(prog="python -m data_scripts.train_course_weights", description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", choices=sorted(RECIPES), metavar="MODEL", help=", ".join(RECIPES))
    parser.add_argument("--loss", choices=sorted(course.LOSSES), default="masked", help="of universal; default: %(default)s")
    parser.add_argument("--steps", type=int, help="default: what the shipped weights took")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", choices=["bf16", "bf16-everywhere", "float32"], help="default: bf16 where it is fast")
    parser.add_argument("--output", type=Path, default=Path(hub.__file__).with_name("weights"), help="default: %(default)s")
    parser.add_argument("--card-only", action="store_true", help="only write the card of stored weights again")
    given = parser.parse_args(arguments)
    plan = Plan(given.steps, given.seed, given.precision or fast_precision(), given.output, given.loss)
    try:
        for name in given.models:
            weights = plan.weights(name) if given.card_only else RECIPES[name](plan)
            write_card(name, weights)
            print(weights)
    except FmlabError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
