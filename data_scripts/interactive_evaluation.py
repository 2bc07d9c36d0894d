"""How good the promptable models are after 1, 3, 5 and 10 clicks, on people and scans that they never trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from fmlab import cohorts
from fmlab.interactive import nano
from fmlab.interactive.boxes import tight_box
from fmlab.interactive.clicking import AskSam, AskVolume, Policy, at_random, box_dice, dice_after, in_the_middle
from fmlab.interactive.pictures import Scene
from fmlab.interactive.predictor import SamPredictor
from fmlab.interactive.scenes import body_scenes, if_there, real_scenes, tumour
from fmlab.metrics.bootstrap import Estimate, estimates
from fmlab.volume import Volume

CLICKS = (1, 3, 5, 10)
UNSEEN_SEED = 7000  # people whom no training, seeds 0 and on, saw
SEEN = ("liver", "spleen", "pancreas", "stomach", "aorta", "urinary_bladder", "lung_left", "heart", "iliopsoas_left",
        "femur_left", "hip_right", "colon")
LEAST_VOXELS = 24
Asked = tuple[Volume, list[np.ndarray]]  # a volume, and what is clicked on in it


@dataclass(frozen=True)
class Row:
    """Of a group of objects. after: Dice after each of CLICKS; at_random: the same of clicks anywhere in the error; box: of a
    tight box alone, None in 3-D; objects: how many."""

    after: tuple[Estimate, ...]
    at_random: tuple[Estimate, ...]
    box: Estimate | None
    objects: int


def bodies(hospitals: str, spacing: float, number: int, workers: int | None = None) -> cohorts.Cohort:
    """Unseen people of these hospitals."""
    return nano.bodies(dict.fromkeys(hospitals, number), spacing, UNSEEN_SEED, workers)


def slices_row(model: nn.Module, scenes: Iterable[Scene]) -> Row | None:
    """Dice of a ``Sam`` on pictures, on their own pixels; the intervals draw people again. None where there are none."""
    predictor, middle, random, boxes, people = SamPredictor(model), [], [], [], []
    for number, one in enumerate(scenes):
        predictor.set_image(one.image)
        middle.append(after(AskSam(predictor), one.mask, in_the_middle, number))
        random.append(after(AskSam(predictor), one.mask, at_random, number))
        boxes.append([box_dice(predictor, one.mask, tight_box(one.mask))])
        people.append(one.person)
    return _row(middle, random, boxes, people)


def volumes_row(model: nn.Module, asked: Iterable[Asked]) -> Row | None:
    """Dice of a ``SamMed3D`` on whole volumes, on their own grid; the intervals draw volumes again. None where there are none."""
    middle, random, people = [], [], []
    for volume, masks in asked:
        large = nano.clickable(model, volume)
        for truth in masks:
            middle.append(after(AskVolume(large), truth, in_the_middle, len(middle)))
            random.append(after(AskVolume(large), truth, at_random, len(random)))
            people.append(volume.name)
    return _row(middle, random, None, people)


def after(ask: Callable, truth: np.ndarray, policy: Policy, seed: int) -> list[float]:
    """Dice after each of CLICKS."""
    dices = dice_after(ask, truth, CLICKS[-1], policy, seed)
    return [float(dices[count - 1]) for count in CLICKS]


def real_volumes() -> dict[str, list[Asked]]:
    """The same in 3-D."""
    groups = {"real CT": lambda: [drawn_on(cohorts.load("totalsegmentator-ct", confirm=False))],
              "real MR": lambda: [drawn_on(cohorts.load("totalsegmentator-mr", confirm=False))],
              "brain tumour, MR": lambda: [asked_tumour()]}
    return {name: asked for name, make in groups.items() if (asked := if_there(make))}


def drawn_on(volume: Volume, structures: tuple[str, ...] = ()) -> Asked:
    """The masks of these structures, by default of all that are drawn, where they have voxels enough."""
    masks = [volume.mask(name).numpy() for name in structures or tuple(volume.structures)]
    return volume, [mask for mask in masks if mask.sum() >= LEAST_VOXELS]


def _row(middle: list, random: list, boxes: list | None, people: list[str]) -> Row | None:
    if not people:
        return None
    box = None if boxes is None else _estimates(boxes, people)[0]
    return Row(tuple(_estimates(middle, people)), tuple(_estimates(random, people)), box, len(people))


def _estimates(values: list[list[float]], people: list[str]) -> list[Estimate]:
    """Means of the columns over objects; the intervals draw people again."""
    table, names = np.array(values), list(dict.fromkeys(people))
    rows = np.array([names.index(person) for person in people])
    found = []
    for column in table.T:
        totals, counts = (np.bincount(rows, weights=w, minlength=len(names))[:, None] for w in (column, np.ones(len(rows))))
        found.append(estimates(totals, counts)[1])
    return found


def asked_tumour() -> Asked:
    """The brain MR and its tumour."""
    scan, mask = tumour()
    return scan, [mask]


def evaluate_slices(model: nn.Module, number: int = 3) -> Mapping[str, Row]:
    """Group -> Dice of a ``Sam``."""
    groups = {}
    for hospitals in ("ABCD", "E", "F"):
        volumes = list(bodies(hospitals, nano.FINE, number))
        for what, structures in (("seen", SEEN), ("never pointed at", nano.HELD_OUT)):
            groups[f"{what}, {hospitals}"] = slices_row(model, body_scenes(volumes, structures))
    groups |= {name: slices_row(model, scenes) for name, scenes in real_scenes().items()}
    return {name: row for name, row in groups.items() if row}


def evaluate_volumes(model: nn.Module, number: int = 2) -> Mapping[str, Row]:
    """Group -> Dice of a ``SamMed3D``."""
    groups = {}
    with torch.no_grad():
        for hospitals in ("ABCD", "E", "F"):
            volumes = list(bodies(hospitals, nano.COARSE, number))
            for what, structures in (("seen", SEEN), ("never pointed at", nano.HELD_OUT)):
                groups[f"{what}, {hospitals}"] = volumes_row(model, [drawn_on(body, structures) for body in volumes])
        groups |= {name: volumes_row(model, asked) for name, asked in real_volumes().items()}
    return {name: row for name, row in groups.items() if row}
