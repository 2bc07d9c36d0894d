"""How good the universal model is, on people it never saw: its own four hospitals, two others, and one real CT."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import nn

from fmlab import cohorts, metrics
from fmlab.errors import DataError
from fmlab.inference import segment
from fmlab.pretraining.universal import SIDE, SPACING

HELD_OUT_SEED = 7000  # training takes the seeds 0 to 64 of each hospital, and the hospitals are 10000 apart
REAL = "totalsegmentator-ct"


@dataclass(frozen=True)
class Evaluation:
    """Summaries by group of bodies, each with all structures annotated; the real CT's scores; largest: the 20 largest structures.

    real is empty where that scan is not in the cache and cannot be fetched.
    """

    groups: Mapping[str, metrics.Summary]
    real: Mapping[str, float]
    largest: tuple[str, ...]

    def mean(self, group: str, structures: tuple[str, ...] | None = None) -> float:
        """Mean Dice over structures (by default the 20 largest) of their means over cases."""
        rows = {row.structure: row.dice.mean for row in self.groups[group].rows}
        values = [rows[name] for name in structures or self.largest if name in rows]
        return float(np.nanmean(values))


def evaluate(model: nn.Module, bodies: int = 4, workers: int | None = None, spacing: float = SPACING, side: int = SIDE
             ) -> Evaluation:
    """Segment ``bodies`` held-out bodies of each hospital A to D, and of E and F, and the real CT on its own grid.

    All are scored against every structure that the model knows, whatever the hospital annotates in its training cohort. spacing:
    mm, of the bodies and of what the model reads; side: of its cubes.
    """
    groups, volumes = {}, {name: [] for name in model.structures}
    for group, centres in (("A-D", "ABCD"), ("E", "E"), ("F", "F")):
        cases = {}
        for centre in centres:
            first = HELD_OUT_SEED + 10_000 * cohorts.CENTRES.index(centre)
            for body in cohorts.phantoms(bodies, centre, spacing, first, workers):
                cut = segment(model, body, spacing=spacing, side=side)
                cases[body.name] = metrics.evaluate(cut, body, model.structures)
                if group == "A-D":
                    for score in cases[body.name]:
                        volumes[score.structure].append(score.volume_ml)
        groups[group] = metrics.summarise(cases)
    by_volume = sorted(volumes, key=lambda name: -np.max(volumes[name]))  # the view cuts many: the largest seen is the whole one
    return Evaluation(groups, real_ct(model, spacing, side), tuple(by_volume[:20]))


def real_ct(model: nn.Module, spacing: float = SPACING, side: int = SIDE) -> dict[str, float]:
    """Dice per structure on the real CT; {} where it is neither in the cache nor to be had."""
    try:
        scan = cohorts.load(REAL, confirm=False)
    except DataError:
        return {}
    scores = metrics.evaluate(segment(model, scan, spacing=spacing, side=side), scan, model.structures)
    return {score.structure: score.dice for score in scores if score.scored}
