"""C08: more clicks help SAM, with falling returns; clicks that are placed by looking at the ground truth flatter it.

Objects on slices of people that nobody trained on. The first click is in the middle of the object: to point at something is what
a prompt is. Further ones are placed with the truth, in the middle of the largest error, or without it, by what the person sees of
the answer: on its outline, or in its middle. What she clicks on she always judges rightly, which flatters a little, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
from scipy import ndimage
from torch import nn

from fmlab import hub
from fmlab.interactive import nano
from fmlab.interactive.clicking import AskSam, Policy, dice_after, in_the_middle
from fmlab.interactive.clicks import Clicks, centre_of_largest_error, clicks, depth, drawn
from fmlab.interactive.pictures import Scene, scene
from fmlab.interactive.predictor import SamPredictor
from fmlab.lessons import claims
from fmlab.volume import Volume

STRUCTURES = ("liver", "spleen", "pancreas", "stomach", "aorta", "urinary_bladder", "lung_left", "heart", "iliopsoas_left",
              "femur_left", "hip_right", "colon")
UNSEEN = 7000  # seeds of people whom no training saw


@dataclass(frozen=True)
class Setting:
    """What a run costs. people: of each hospital A to D. clicks: many. least: pixels of an object."""

    people: int = 2
    clicks: int = 10
    least: int = 40
    structures: tuple[str, ...] = STRUCTURES


def on_the_outline(prediction: np.ndarray, truth: np.ndarray, rng: np.random.Generator, width: int = 2) -> Clicks:
    """A click without the truth: anywhere within ``width`` pixels of the answer's outline, where an error is most likely.

    truth: says whether that place is inside, as the person sees it; it has no part in where she clicks.
    """
    if not prediction.any():
        return centre_of_largest_error(prediction, truth)
    wide, narrow = (change(prediction, iterations=width) for change in (ndimage.binary_dilation, ndimage.binary_erosion))
    place = drawn(wide & ~narrow, rng, 1)
    return clicks(place, truth[tuple(place.T)])


def in_its_own_middle(prediction: np.ndarray, truth: np.ndarray, rng: np.random.Generator) -> Clicks:
    """A click without the truth: in the inner half of the answer itself, as if to confirm it. truth: as above."""
    if not prediction.any():
        return centre_of_largest_error(prediction, truth)
    inside = depth(prediction)
    place = drawn(inside > inside.max() / 2, rng, 1)
    return clicks(place, truth[tuple(place.T)])


WAYS: Mapping[str, Policy] = {"middle of the largest error": in_the_middle, "on the answer's outline": on_the_outline,
                              "in the answer's middle": in_its_own_middle}
"""Where the clicks after the first go; the first of them needs the truth."""

Curves = dict[str, np.ndarray]  # way -> Dice after each click


def scenes(volumes: Iterable[Volume], structures: Iterable[str] = STRUCTURES, least: int = 40) -> list[Scene]:
    """The largest axial object of each structure that a person shows in enough pixels."""
    found = [scene(volume, name) for volume in volumes for name in structures if bool(volume.mask(name).any())]
    return [one for one in found if one.mask.sum() >= least]


def curves(predictor: SamPredictor, one: Scene, count: int, seed: int = 0) -> Curves:
    """Dice after each of ``count`` clicks, by where they go."""
    predictor.set_image(one.image)
    return {way: dice_after(AskSam(predictor), one.mask, count, policy, seed) for way, policy in WAYS.items()}


def run(seed: int, setting: Setting | None = None, command: str = "") -> claims.Run:
    """The experiment with one seed, as a run for the ledger. The seed draws the clicks without truth."""
    setting = setting or Setting()
    model: nn.Module = hub.load("sam", "nano")
    people = nano.bodies(dict.fromkeys("ABCD", setting.people), nano.FINE, UNSEEN)
    predictor, found = SamPredictor(model), {}
    for number, one in enumerate(scenes(people, setting.structures, setting.least)):
        found.setdefault(one.person, []).append(curves(predictor, one, setting.clicks, 1000 * seed + number))
    means = {way: np.mean([each[way] for rows in found.values() for each in rows], axis=0).tolist() for way in WAYS}
    effects, three = differences(found)
    details = {"mean": means, "differences": dict(zip(DIFFERENCES, three)), "objects": sum(map(len, found.values())),
               "setting": asdict(setting)}
    return claims.Run.now("C08", seed, effects, command=command, details=details)


DIFFERENCES = ("many clicks less one", "gain of the first correction less of the last", "with the truth less without")


def differences(found: Mapping[str, list[Curves]]) -> tuple[dict[str, float], list[float]]:
    """Person -> the smallest of the three differences, each a mean over her objects; and the three means over persons.

    Of the two ways without the truth the better one counts.
    """
    three = {}
    for person, rows in found.items():
        informed, *others = (np.mean([row[way] for row in rows], axis=0) for way in WAYS)
        three[person] = [informed[-1] - informed[0], (informed[1] - informed[0]) - (informed[-1] - informed[-2]),
                         informed[-1] - max(other[-1] for other in others)]
    return ({person: float(min(each)) for person, each in three.items()},
            [float(x) for x in np.mean(list(three.values()), axis=0)])
