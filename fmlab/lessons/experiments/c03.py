"""C03: with the same number of clicks on a structure of a scan, a model of volumes gives better masks than a model of slices.

The course's nano SAM-Med3D and nano SAM, on people whom neither trained on, scored in 3-D on the scan's own voxels. The flat
model's clicks are shared out over slices; of its two ways (slices without a click stay empty, or get a click carried over from
their neighbours) the better one counts, person by person. All clicks lie in the inner half of the largest error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from fmlab import hub, metrics
from fmlab.interactive import nano
from fmlab.interactive.clicking import AskVolume, dice_after
from fmlab.interactive.predictor import SamPredictor
from fmlab.interactive.sam import Sam
from fmlab.interactive.sam_med3d import SamMed3D
from fmlab.lessons import claims
from fmlab.lessons.experiments.c08 import STRUCTURES, UNSEEN
from fmlab.lessons.slice_by_slice import SliceBySlice, inner_half
from fmlab.volume import Volume

FLAT = ("2-D, clicked slices alone", "2-D, clicks carried on")
WAYS = (*FLAT, "3-D")
EVERY = "2-D, every slice"


@dataclass(frozen=True)
class Setting:
    """What a run costs. people: of each hospital A to D. clicks: on a structure; the last number counts. least: voxels of one."""

    people: int = 1
    clicks: tuple[int, ...] = (1, 3, 5, 10)
    least: int = 200
    structures: tuple[str, ...] = STRUCTURES


Curves = dict[str, list[float]]  # way -> Dice after each number of clicks; EVERY: Dice, and how many slices


def curves(flat: SliceBySlice, solid: AskVolume, truth: np.ndarray, counts: tuple[int, ...], seed: int) -> Curves:
    """Dice in 3-D of one structure (X, Y, Z) bool, by way; the last entry is the flat model with a click in every slice."""
    found = {way: [metrics.dice(flat.segment(truth, count, np.random.default_rng(seed), carried), truth) for count in counts]
             for way, carried in zip(FLAT, (False, True))}
    found["3-D"] = dice_after(solid, truth, counts[-1], inner_half, seed)[np.array(counts) - 1].tolist()
    slices = int(truth.any((0, 1)).sum())
    found[EVERY] = [metrics.dice(flat.segment(truth, slices, np.random.default_rng(seed)), truth), slices]
    return found


def of_person(sam: Sam, med3d: SamMed3D, person: Volume, setting: Setting, seed: int) -> dict[str, Curves]:
    """Structure -> curves, of those that the scan shows in enough voxels."""
    flat, solid = SliceBySlice(SamPredictor(sam), person), AskVolume(nano.clickable(med3d, person))
    masks = {name: person.mask(name).numpy() for name in setting.structures}
    return {name: curves(flat, solid, mask, setting.clicks, seed + number)
            for number, (name, mask) in enumerate(masks.items()) if mask.sum() >= setting.least}


def run(seed: int, setting: Setting | None = None, command: str = "") -> claims.Run:
    """The experiment with one seed, as a run for the ledger. The seed draws the clicks."""
    setting = setting or Setting()
    sam, med3d = (hub.load(name, "nano").eval() for name in ("sam", "sam_med3d"))
    people = nano.bodies(dict.fromkeys("ABCD", setting.people), nano.FINE, UNSEEN)
    found = {person.name: of_person(sam, med3d, person, setting, 1000 * seed) for person in people}
    every = [row for rows in found.values() for row in rows.values()]
    details = {"mean": {way: np.mean([row[way] for row in every], axis=0).tolist() for way in (*WAYS, EVERY)},
               "structures": {name: last(found, name) for name in dict.fromkeys(k for rows in found.values() for k in rows)},
               "objects": len(every), "setting": asdict(setting)}
    return claims.Run.now("C03", seed, effects(found), command=command, details=details)


def last(found: Mapping[str, Mapping[str, Curves]], name: str) -> dict[str, float]:
    """Way -> Dice of a structure at the largest number of clicks, mean over persons."""
    rows = [rows[name] for rows in found.values() if name in rows]
    return {way: float(np.mean([row[way][-1] for row in rows])) for way in WAYS}


def effects(found: Mapping[str, Mapping[str, Curves]]) -> dict[str, float]:
    """Person -> Dice of the 3-D model less that of the better flat way, at the largest number of clicks, mean over structures."""
    end = {person: {way: np.mean([row[way][-1] for row in rows.values()]) for way in WAYS} for person, rows in found.items()}
    return {person: float(dice["3-D"] - max(dice[way] for way in FLAT)) for person, dice in end.items()}
