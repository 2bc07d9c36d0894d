"""Model cards of the pre-trained models: what they segment, or how they do their pretext, and what they are worth elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import default_collate

from data_scripts.cards import dice_table
from data_scripts.course_evaluation import HELD_OUT_SEED, evaluate
from data_scripts.incontext_cards import cell, head, parameters, table
from fmlab import cohorts, hub, metrics
from fmlab.inference import segment
from fmlab.lessons import claims
from fmlab.lessons.experiments import pretrainings
from fmlab.lessons.experiments.transfer_curves import SOURCES
from fmlab.pretraining import nano
from fmlab.pretraining.hospitals import ASKED, HOSPITALS, Prompted
from fmlab.templates import SEEDS_APART
from fmlab.training.order import seeded

WHAT = {
    "clip_driven": "A small CLIP-driven model: a 3-D U-Net whose 16 heads follow from sentence embeddings of names.",
    "dodnet": "A small DoDNet: four hospitals are four tasks, told by a one-hot code.",
    "uniseg": "A small UniSeg: four hospitals are four tasks, told by a learned prompt.",
    "hermes": "A small Hermes: each structure is a token that may be asked for.",
    "fseft": "A small Swin UNETR with one sigmoid a structure: the base model of the lessons on few-shot fine-tuning.",
    "fseft_swapped": "The twin of fseft-nano: five of its sixteen structures give way to five that the other does not know.",
    "mae": "A small 3-D U-Net that was trained to fill in hidden blocks (masked autoencoder).",
    "genesis": "A small 3-D U-Net that was trained to undo four corruptions (Models Genesis).",
    "swin_ssl": "A small encoder that was trained as Swin UNETR's is: rotation, contrast, repair.",
}
SEGMENT = (*nano.SUPERVISED, "fseft_swapped")
CONVENTION = """\
A missed structure, and one found where there is none, count as Dice 0 (see fmlab.metrics). One budget for all methods (UniSeg
and the Swin UNETR took more steps), of a laptop's size: these figures say how they compare, not how good such methods can be."""
PROMPTS = """\
Mean Dice on unseen bodies of a hospital (row) when its scans are asked with one hospital's prompt (column), over what both
annotate; on the diagonal the prompt that the hospital was trained with."""
PRETEXT = """\
The pretext's own loss on cubes of people that it never saw, and that of the same network untrained."""
TRANSFER = """\
Mean Dice on new structures after the same fine-tuning on so many labelled people of hospital F (claims C11 and C12, all seeds in
the ledger); scratch is a network that began at random."""
SEEDS_SAY = """\
The course's pre-trainings on the same bodies with one budget, each from three seeds: mean over seeds and, in brackets, the lowest
and the highest. As it is: mean Dice over the 16 structures. New structures: after the same fine-tuning on ten labelled people.
UniSeg took 2000 steps, and 800 in its second row; "scratch" began the fine-tuning at random. Networks differ: DoDNet, UniSeg and
Hermes have their own, the others share a U-Net."""


def card(name: str, weights: Path, notes: Mapping[str, object], model: nn.Module) -> str:
    """The Markdown text of the card of one of ``nano.METHODS``."""
    lines = head(weights, notes, f"{WHAT[name]} {parameters(model)}, cubes of {nano.SIDE} voxels of {nano.SPACING:g} mm.")
    if name in SEGMENT:
        lines += dice_table(evaluate(asked(model), spacing=nano.SPACING, side=nano.SIDE)) + ["", CONVENTION]
    if name in ("dodnet", "uniseg", "hermes"):
        rows = {where: [cell(dice[with_prompt]) for with_prompt in HOSPITALS] for where, dice in by_prompt(model).items()}
        lines += ["", "## Whose prompt", "", PROMPTS, "", *table(["scans of", *HOSPITALS], rows)]
    if name not in SEGMENT:
        with seeded(0):
            fresh = hub.build(name, **nano.METHODS[name].config)
        trained, untrained = pretext(name, [model, fresh.eval()])
        lines += ["", "## Pretext", "", PRETEXT, "", f"- trained {trained:.3f}, untrained {untrained:.3f}"]
    if name in {source for source, _, _ in SOURCES.values()}:
        lines += transfer_section()
    if name in pretrainings.NAMES:
        lines += seeds_section(name)
    return "\n".join(lines) + "\n"


def asked(model: nn.Module) -> nn.Module:
    """The model as one that answers with the 16 structures, each asked by the prompt of a hospital that annotates it."""
    return model if hasattr(model, "structures") else Prompted(model)


def by_prompt(model: nn.Module, people: int = 2) -> dict[str, dict[str, float | None]]:
    """Hospital of the scans -> hospital of the prompt -> mean Dice over structures that both annotate."""
    found: dict[str, dict[str, float | None]] = {}
    for where in HOSPITALS:
        bodies = list(cohorts.phantoms(people, where, nano.SPACING, HELD_OUT_SEED + SEEDS_APART * HOSPITALS.index(where)))
        found[where] = {}
        for prompt in HOSPITALS:
            both = [name for name in ASKED[prompt] if name in ASKED[where]]
            one = Prompted(model, {name: prompt for name in both}) if both else None
            scores = [] if one is None else [
                score.dice for body in bodies for score in metrics.evaluate(
                    segment(one, body, spacing=nano.SPACING, side=nano.SIDE), body, both) if score.volume_ml > 0]
            found[where][prompt] = float(np.mean(scores)) if scores else None
    return found


def pretext(name: str, models: Sequence[nn.Module], batches: int = 10) -> list[float]:
    """Mean loss of a self-supervised method on cubes of unseen people, of each model with the same cubes and draws."""
    method, found = nano.METHODS[name], []
    data = method.data(nano.bodies(dict.fromkeys(HOSPITALS, 2), HELD_OUT_SEED))
    for model in models:
        with seeded(0), torch.no_grad():
            losses = [method.objective(model, default_collate([data[i % len(data)] for i in range(4 * n, 4 * n + 4)]))
                      for n in range(batches)]
        found.append(float(torch.stack(losses).mean()))
    return found


def transfer_section() -> list[str]:
    """The lines about transfer; none where no run is in the ledger."""
    if not (rows := transfer_rows()):
        return []
    counts = sorted({count for row in rows.values() for count in row}, key=int)
    cells = {arm: [f"{row[count]:.2f}" if count in row else "-" for count in counts] for arm, row in rows.items()}
    return ["", "## Transfer", "", TRANSFER, "", *table(["begun with", *[f"{count} labelled" for count in counts]], cells)]


def seeds_section(name: str) -> list[str]:
    """The lines about three seeds of every method, this one's in bold."""
    rows = {}
    for method, row in pretrainings.rows(pretrainings.recorded()).items():
        mark = "**" if method == name else ""
        rows[f"{mark}{method}{mark}"] = [pretrainings.spread(row.get(column, ())) for column in pretrainings.COLUMNS]
    return ["", "## Three seeds", "", SEEDS_SAY, "", *table(["pre-training", *pretrainings.COLUMNS], rows)]


def transfer_rows() -> dict[str, dict[str, float]]:
    """Arm -> labelled people -> mean Dice over all runs of C11 and C12 in the ledger; {} where there are none."""
    values: dict[str, dict[str, list[float]]] = {}
    for run in (*claims.runs("C11"), *claims.runs("C12")):
        for arm, row in run.details["mean"].items():
            for count, dice in row.items():
                values.setdefault(arm, {}).setdefault(count, []).append(dice)
    return {arm: {count: float(np.mean(row[count])) for count in sorted(row, key=int)} for arm, row in values.items()}


CARDS: dict[str, Callable[[Path, Mapping[str, object], nn.Module], str]] = {
    name: partial(card, name) for name in WHAT}
