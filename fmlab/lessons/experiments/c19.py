"""C19: with box prompts people without medical training annotate well.

Simulated people (``fmlab.interactive.crowd``) draw boxes on bodies that nobody trained on; the nano SAM makes masks of them.
"Well" is nine tenths of what an expert's boxes give, in Dice of whole volumes. The crowd leaves out about as many slices as that
of the study did, and the verdict depends on it: the details have the effect by the share of slices left out, and with remedies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from torch import nn

from fmlab import hub
from fmlab.interactive import nano
from fmlab.interactive.coverage import slice_scores
from fmlab.interactive.crowd import CROWD, EXPERT, ORGANS, Person, SliceBoxes, interpolated, merged
from fmlab.interactive.sliced import SlicedVolume
from fmlab.lessons import claims
from fmlab.settings import device
from fmlab.volume import Volume

UNSEEN = 7000  # seeds of people whom no training saw
WELL = 0.9  # of the expert's Dice
MISSED = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)


@dataclass(frozen=True)
class Setting:
    """What a run costs. people: of each hospital A to D. least: slices of a structure. noise: of those who differ in missed."""

    people: int = 2
    least: int = 5
    noise: float = 0.1
    structures: tuple[str, ...] = ORGANS


Scores = dict[str, list[float]]  # way of annotating -> [coverage, mean Dice of the slices with an answer, Dice of the volume]


def scores(sliced: SlicedVolume, name: str, rng: np.random.Generator, noise: float = 0.1) -> Scores:
    """One structure of one volume, annotated in every way."""
    volume, truth = sliced.volume, sliced.volume.mask(name).numpy()
    each = {who.name: who.boxes(volume, name, rng, ORGANS) for who in (EXPERT, *CROWD)}
    crowd = [each[who.name] for who in CROWD]
    ways: dict[str, SliceBoxes] = dict(each)
    ways |= {f"{who.name}, interpolated": interpolated(each[who.name]) for who in CROWD}
    ways |= {"merged": merged(crowd), "merged, interpolated": interpolated(merged(crowd))}
    ways |= {f"missed {share}": Person("", noise, share).boxes(volume, name, rng) for share in MISSED}
    found = {}
    for way, boxes in ways.items():
        row = slice_scores(sliced.mask(boxes), truth)
        found[way] = np.nan_to_num([row.coverage, row.answered_dice, row.volume_dice]).tolist()  # NaN: no answer met the truth
    return found


def run(seed: int, setting: Setting | None = None, command: str = "") -> claims.Run:
    """The experiment with one seed, as a run for the ledger. The seed draws the crowd's mistakes."""
    setting = setting or Setting()
    model: nn.Module = hub.load("sam", "nano").to(device())
    rng, found = np.random.default_rng(seed), {}
    for volume in nano.bodies(dict.fromkeys("ABCD", setting.people), nano.FINE, UNSEEN):
        sliced = SlicedVolume(model, volume)
        rows = [scores(sliced, name, rng, setting.noise) for name in setting.structures if shown(volume, name, setting.least)]
        if rows:
            found[volume.name] = {way: np.mean([row[way] for row in rows], axis=0).tolist() for way in rows[0]}
    means = {way: np.mean([each[way] for each in found.values()], axis=0).tolist() for way in next(iter(found.values()))}
    details = {"mean": means, "effect": summary(means), "setting": asdict(setting)}
    return claims.Run.now("C19", seed, effects(found), command=command, details=details)


def shown(volume: Volume, name: str, least: int) -> bool:
    """Whether a volume shows a structure in at least so many slices."""
    return int(volume.mask(name).any(0).any(0).sum()) >= least


def effects(found: Mapping[str, Scores]) -> dict[str, float]:
    """Person -> mean Dice of the crowd's masks, whole volumes as they come, less nine tenths of the expert's."""
    return {name: _effect(each, [who.name for who in CROWD]) for name, each in found.items()}


def summary(means: Scores) -> dict[str, float]:
    """The same of the means, for the crowd, with its remedies, and by the share of slices left out."""
    ways = {"as they come": [who.name for who in CROWD], "interpolated": [f"{who.name}, interpolated" for who in CROWD],
            "merged": ["merged"], "merged, interpolated": ["merged, interpolated"]}
    ways |= {f"missed {share}": [f"missed {share}"] for share in MISSED}
    return {what: _effect(means, chosen) for what, chosen in ways.items()}


def _effect(each: Scores, ways: list[str]) -> float:
    return float(np.mean([each[way][2] for way in ways]) - WELL * each[EXPERT.name][2])
