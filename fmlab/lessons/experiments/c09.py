"""C09: a box drawn tightly around a structure gives a better mask than a relaxed one.

The nano SAM and people whom it never saw, on slices; one box an object, nothing else. Relaxed means MedSAM's rule: each side
moved outward by its own 0 to 20 pixels of a picture of 1024 (8 mm or so of a body here). Boxes relaxed by more, and boxes of a
hand that trembles, SAM's own rule, are measured beside it. The nano SAM was trained with trembling boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
from torch import Tensor

from fmlab import hub
from fmlab.interactive import nano
from fmlab.interactive.boxes import jittered_box, relaxed_box, tight_box
from fmlab.interactive.clicking import box_dice
from fmlab.interactive.pictures import Scene
from fmlab.interactive.predictor import SamPredictor
from fmlab.interactive.scenes import body_scenes
from fmlab.lessons import claims
from fmlab.lessons.experiments.c08 import STRUCTURES, UNSEEN

PICTURE = 1024  # pixels of the longest side, in which SAM and MedSAM count
RELAXED = 20

Policy = Callable[[np.ndarray, np.random.Generator], Tensor]


def relaxed(most: int) -> Policy:
    """A box with each side moved outward by up to ``most`` pixels of a picture of 1024, a whole pixel at least."""
    return lambda mask, rng: relaxed_box(mask, rng, max(1, round(most * max(mask.shape) / PICTURE)))


BOXES: Mapping[str, Policy] = {"tight": lambda mask, rng: tight_box(mask)} | {
    f"relaxed by up to {most}": relaxed(most) for most in (RELAXED, 50, 100, 200)} | {"trembling": jittered_box}
"""How a box is drawn; the first two are compared."""


@dataclass(frozen=True)
class Setting:
    """What a run costs. people: of each hospital A to F."""

    people: int = 2
    structures: tuple[str, ...] = STRUCTURES


def dices(predictor: SamPredictor, scenes: Iterable[Scene], policies: Mapping[str, Policy] = BOXES, seed: int = 0
          ) -> list[dict[str, float]]:
    """For each object the Dice of a box alone, by how it was drawn."""
    found = []
    for number, one in enumerate(scenes):
        predictor.set_image(one.image)
        found.append({way: box_dice(predictor, one.mask, draw(one.mask, np.random.default_rng(1000 * seed + number)))
                      for way, draw in policies.items()})
    return found


def run(seed: int, setting: Setting | None = None, command: str = "") -> claims.Run:
    """The experiment with one seed, as a run for the ledger. The seed draws the boxes."""
    setting = setting or Setting()
    scenes = body_scenes(nano.bodies(dict.fromkeys("ABCDEF", setting.people), nano.FINE, UNSEEN), setting.structures)
    rows = dices(SamPredictor(hub.load("sam", "nano")), scenes, BOXES, seed)
    people: dict[str, list[float]] = {}
    for one, row in zip(scenes, rows):
        people.setdefault(one.person, []).append(effect(row))
    details = {"mean": {way: float(np.mean([row[way] for row in rows])) for way in BOXES}, "objects": len(rows),
               "setting": asdict(setting)}
    return claims.Run.now("C09", seed, {name: float(np.mean(each)) for name, each in people.items()}, command=command,
                          details=details)


def effect(row: Mapping[str, float]) -> float:
    """Dice with the tight less Dice with the relaxed box."""
    return row["tight"] - row[f"relaxed by up to {RELAXED}"]
