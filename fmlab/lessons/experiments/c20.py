"""C20: what a promptable model costs in clicks, until it is as good as a model that takes no prompts.

A flat SAM is asked slice by slice, object by object: every connected piece of a structure gets a click, then each a second one,
and so on, until the mean Dice over structures, in 3-D, is that of the shipped universal model on the same scan. The clicks are
placed with the truth, in the inner half of the largest error: somebody who does not know it needs more (C08).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from fmlab import hub, inference, metrics
from fmlab.errors import PromptWarning
from fmlab.interactive import nano
from fmlab.interactive.clicks import Clicks, largest_error, random_foreground
from fmlab.interactive.pictures import grey
from fmlab.interactive.predictor import SamPredictor
from fmlab.interactive.sam import Sam
from fmlab.interactive.simulation import passes
from fmlab.interactive.slices import upright
from fmlab.lessons import claims
from fmlab.pretraining.universal import UNIVERSAL
from fmlab.volume import Volume

STRUCTURES = tuple(name for name in UNIVERSAL if name in nano.TASKS)
"""Those of the universal model that were clicked on in the nano SAM's training, too: all but the kidneys."""
UNSEEN = 7000  # seeds of people whom neither model trained on


@dataclass(frozen=True)
class Setting:
    """What a run costs. people: of each hospital A to D. rounds: at most; in each, every object gets one click more.

    least: voxels of a structure that is counted. crumb: pixels; nobody clicks on a smaller piece.
    """

    people: int = 1
    rounds: int = 5
    least: int = 24
    crumb: int = 4
    structures: tuple[str, ...] = STRUCTURES


@dataclass(frozen=True)
class Clicked:
    """A scan after each round. dices: (rounds, structures). objects: (structures,), pieces in slices: the clicks of a round."""

    dices: np.ndarray
    objects: np.ndarray


def clicked(model: Sam, volume: Volume, names: tuple[str, ...], rounds: int, seed: int, crumb: int = 4) -> Clicked:
    """Every piece of these structures in every axial slice is clicked on, once a round."""
    predictor, rng = SamPredictor(model), np.random.default_rng(seed)
    overlap, found = np.zeros((2, rounds, len(names)))
    objects = np.zeros(len(names), dtype=int)
    truths = [volume.mask(name).numpy() for name in names]
    for index in range(volume.shape[2]):
        flat = [upright(truth[:, :, index]) for truth in truths]
        masks, owners = pieces(flat, crumb)
        if not owners:
            continue
        objects += np.bincount(owners, minlength=len(names))
        for number, answer in enumerate(answers(predictor, squared(grey(volume, "axial", index)), squared(masks), rounds, rng)):
            for k in set(owners):
                mine = answer[[i for i, owner in enumerate(owners) if owner == k]].any(0)
                overlap[number, k] += (mine & squared(flat[k])).sum()
                found[number, k] += mine.sum()
    sizes = np.array([int(truth.sum()) for truth in truths])
    return Clicked(2 * overlap / (found + sizes), objects)


def pieces(structures: Sequence[np.ndarray], crumb: int) -> tuple[np.ndarray, list[int]]:
    """Connected pieces (N, H, W) bool of structures (H, W) in a slice, and whose each is: its structure's number."""
    masks, owners = [], []
    for k, structure in enumerate(structures):
        labels, count = ndimage.label(structure)
        kept = [labels == number for number in range(1, count + 1)]
        kept = [mask for mask in kept if mask.sum() >= crumb]
        masks, owners = masks + kept, owners + [k] * len(kept)
    return np.array(masks), owners


@torch.no_grad()
def answers(predictor: SamPredictor, image: np.ndarray, truth: np.ndarray, rounds: int, rng: np.random.Generator
            ) -> Iterator[np.ndarray]:
    """Masks (N, H, W) bool after each round, of all N objects (N, H, W) of a square picture (H, H) at once."""
    predictor.set_image(image)
    scale = predictor.model.size / len(image)

    def decode(points: Tensor, **others) -> tuple[Tensor, Tensor]:
        return predictor.model.decode(predictor.features, points * scale, **others)

    for answer in passes(decode, torch.from_numpy(truth), rng, rounds, correction=worst,
                         first=lambda t, generator: worst(np.zeros_like(t), t, generator)):
        yield answer.best().numpy()


def worst(prediction: np.ndarray, truth: np.ndarray, rng: np.random.Generator) -> Clicks:
    """A click in the inner half of the largest error; anywhere in the object where nothing is wrong."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PromptWarning)  # nothing is wrong any more
        found = largest_error(prediction, truth, rng)
    return found if len(found.labels) else random_foreground(truth, rng)


def squared(picture: np.ndarray) -> np.ndarray:
    """A picture or masks (..., H, W), filled up with black to a square at the right or below."""
    rows, columns = picture.shape[-2:]
    side = max(rows, columns)
    return np.pad(picture, [(0, 0)] * (picture.ndim - 2) + [(0, side - rows), (0, side - columns)])


def run(seed: int, setting: Setting | None = None, command: str = "") -> claims.Run:
    """The experiment with one seed, as a run for the ledger. The seed draws the clicks.

    details: scan -> Dice of the model without prompts, of SAM after each round, clicks of a round, whether SAM came up to it.
    """
    setting = setting or Setting()
    sam, universal = hub.load("sam", "nano"), hub.load("universal", "nano")
    values, rows = {}, {}
    for number, body in enumerate(nano.bodies(dict.fromkeys("ABCD", setting.people), nano.FINE, UNSEEN)):
        names = tuple(name for name in setting.structures if int(body.mask(name).sum()) >= setting.least)
        scores = metrics.evaluate(inference.segment(universal, body), body, list(names))
        goal = float(np.mean([score.dice for score in scores]))
        after = clicked(sam, body, names, setting.rounds, 1000 * seed + number, setting.crumb)
        means = after.dices.mean(1)
        values[body.name] = needed(means, goal) * int(after.objects.sum()) / len(names)
        rows[body.name] = {"without prompts": goal, "after": means.tolist(), "clicks a round": int(after.objects.sum()),
                           "structures": len(names), "slices": body.shape[2], "reached": bool((means >= goal).any())}
    details = {"scans": rows, "setting": asdict(setting)}
    return claims.Run.now("C20", seed, values, command=command, details=details)


def needed(dices: np.ndarray, goal: float) -> int:
    """Rounds until the mean Dice is the goal; all of them where it never is, so that the clicks are a lower bound."""
    return int(np.argmax(dices >= goal)) + 1 if (dices >= goal).any() else len(dices)
