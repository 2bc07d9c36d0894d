"""C02: a SAM trained on medical images beats a SAM that was trained on other ones.

Two nano SAMs of the same architecture, trained equally long in the same way: one on slices of bodies, one on pictures of textured
shapes. Both are given the same boxes and the same first clicks, on people whom neither has seen, of six hospitals, two of which
had no part in any training. Half of the structures were never pointed at in training either. The claim is only as good as the
smaller of its two differences: by boxes and by clicks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch

from fmlab import hub, metrics
from fmlab.held_out import HELD_OUT
from fmlab.interactive import nano
from fmlab.interactive.boxes import jittered_box
from fmlab.interactive.clicks import random_foreground
from fmlab.interactive.pictures import Scene
from fmlab.interactive.predictor import SamPredictor
from fmlab.interactive.prompts import Prompts
from fmlab.interactive.scenes import body_scenes, real_scenes
from fmlab.interactive.textures import Textures
from fmlab.lessons import claims
from fmlab.lessons.experiments.c08 import STRUCTURES, UNSEEN

MODELS = {"bodies": "nano", "textures": "textures"}
"""What a SAM was trained on -> its weights."""
WAYS = ("a box", "a click")
Row = dict[str, dict[str, float]]  # what the model was trained on -> way of asking -> Dice


@dataclass(frozen=True)
class Setting:
    """What a run costs. people: of each hospital A to F. pictures: of textured shapes. real: ask about real material too."""

    people: int = 2
    pictures: int = 20
    real: bool = True
    structures: tuple[str, ...] = (*STRUCTURES, *HELD_OUT)


def models() -> dict[str, SamPredictor]:
    """The two, by what they were trained on."""
    return {what: SamPredictor(hub.load("sam", label)) for what, label in MODELS.items()}


def prompts(one: Scene, seed: int) -> dict[str, Prompts]:
    """The same for every model: a box drawn by a hand that trembles, a click anywhere in the object."""
    rng, nothing = np.random.default_rng(seed), Prompts.of(2)
    return {"a box": replace(nothing, box=jittered_box(one.mask, rng)), "a click": nothing.add(random_foreground(one.mask, rng))}


def dices(predictors: Mapping[str, SamPredictor], one: Scene, seed: int) -> Row:
    """Dice of each model's most trusted mask for each prompt."""
    told = prompts(one, seed)
    found: Row = {}
    for what, predictor in predictors.items():
        predictor.set_image(one.image)
        found[what] = {way: metrics.dice(predictor.predict(asked).mask.numpy(), one.mask) for way, asked in told.items()}
    return found


def of_scenes(predictors: Mapping[str, SamPredictor], scenes: Iterable[Scene], seed: int) -> list[Row]:
    return [dices(predictors, one, 1000 * seed + number) for number, one in enumerate(scenes)]


def texture_scenes(number: int, seed: int = 5000, size: int = nano.SIZE) -> list[Scene]:
    """An object in each of so many pictures of textured shapes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        items = [Textures(size, objects=1)[n] for n in range(number)]
    return [Scene((255 * item["image"][0]).round().byte().numpy(), item["masks"][0].bool().numpy(), "shape", f"picture {n}")
            for n, item in enumerate(items)]


def mean(rows: Sequence[Row]) -> Row:
    """Over objects."""
    return {what: {way: float(np.mean([row[what][way] for row in rows])) for way in WAYS} for what in MODELS}


def effect(rows: Sequence[Row]) -> float:
    """The smaller of two mean differences, by boxes and by clicks: trained on bodies less trained on textures."""
    both = mean(rows)
    return min(both["bodies"][way] - both["textures"][way] for way in WAYS)


def run(seed: int, setting: Setting | None = None, command: str = "") -> claims.Run:
    """The experiment with one seed, as a run for the ledger. The seed draws boxes and clicks."""
    setting = setting or Setting()
    predictors, people, groups = models(), {}, {}
    for hospitals in ("ABCD", "EF"):
        scenes = body_scenes(nano.bodies(dict.fromkeys(hospitals, setting.people), nano.FINE, UNSEEN), setting.structures)
        for one, row in zip(scenes, of_scenes(predictors, scenes, seed)):
            people.setdefault(one.person, []).append(row)
            groups.setdefault(f"{'never' if one.name in HELD_OUT else 'often'} pointed at, {hospitals}", []).append(row)
    groups["textured shapes"] = of_scenes(predictors, texture_scenes(setting.pictures), seed)
    for name, scenes in real_scenes().items() if setting.real else ():
        groups[name] = of_scenes(predictors, scenes, seed)
    details = {"mean": {name: mean(rows) for name, rows in groups.items()},
               "objects": {name: len(rows) for name, rows in groups.items()}, "setting": asdict(setting)}
    return claims.Run.now("C02", seed, {name: effect(rows) for name, rows in people.items()}, command=command, details=details)
