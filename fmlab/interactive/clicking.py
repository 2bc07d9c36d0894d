"""How good a promptable model is after each click: a simulated person clicks on one image or volume until she has done enough.

    dice_after(ask, truth, 10)[4]                           Dice after five clicks

The person is tireless and knows the truth: each click lies in the middle of the largest error, or uniformly in what is wrong.
A person who only sees picture and mask does worse (lesson 10).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from fmlab import metrics
from fmlab.errors import PromptWarning
from fmlab.interactive.clicks import Clicks, centre_of_largest_error, random_error, random_foreground
from fmlab.interactive.large_volumes import LargeVolume
from fmlab.interactive.predictor import Masks, SamPredictor
from fmlab.interactive.prompts import Prompts

Ask = Callable[[Prompts], np.ndarray]
Policy = Callable[[np.ndarray, np.ndarray, np.random.Generator], Clicks]


def in_the_middle(prediction: np.ndarray, truth: np.ndarray, rng: np.random.Generator) -> Clicks:
    """In the middle of the largest error, the same each time: for evaluation without luck."""
    return centre_of_largest_error(prediction, truth)


def at_random(prediction: np.ndarray, truth: np.ndarray, rng: np.random.Generator) -> Clicks:
    """Anywhere in what is wrong, as in training."""
    return random_error(prediction, truth, rng) if prediction.any() else random_foreground(truth, rng)


def dice_after(ask: Ask, truth: np.ndarray | Tensor, count: int, policy: Policy = in_the_middle, seed: int = 0,
               prompts: Prompts | None = None) -> np.ndarray:
    """Dice after each of ``count`` clicks: (count,) float64. ask: a mask for all prompts so far, of the truth's shape.

    prompts: what was there before the first click, as a box. After a perfect mask nobody clicks, and Dice stays.
    """
    truth = np.asarray(truth, dtype=bool)
    rng, prompts = np.random.default_rng(seed), prompts or Prompts.of(truth.ndim)
    found = np.zeros(truth.shape, dtype=bool) if prompts.empty else np.asarray(ask(prompts))
    dices: list[float] = []
    for _ in range(count):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PromptWarning)  # nothing left to click on, or the same place again
            new = policy(found, truth, rng)
            prompts = prompts.add(new)
        if len(new.labels):
            found = np.asarray(ask(prompts))
        dices.append(metrics.dice(found, truth))
    return np.array(dices)


class AskSam:
    """Asks a ``SamPredictor`` about the image that it looks at, with the logits of the answer before as mask prompt."""

    def __init__(self, predictor: SamPredictor):
        self.predictor, self.last = predictor, None

    def __call__(self, prompts: Prompts) -> np.ndarray:
        """The mask (H, W) bool that the model trusts most."""
        self.last: Masks = self.predictor.predict(prompts, None if self.last is None else self.last.low[self.last.best])
        return self.last.mask.numpy()


class AskVolume:
    """Asks about one structure of a ``LargeVolume``."""

    def __init__(self, volume: LargeVolume):
        self.volume = volume

    def __call__(self, prompts: Prompts) -> np.ndarray:
        """The mask (X, Y, Z) bool on the volume's own grid."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PromptWarning)  # a mask that leaks over many cubes is a bad mask, and scored as such
            return self.volume.predict({"it": prompts}).bool().numpy()


def box_dice(predictor: SamPredictor, truth: np.ndarray, box: Tensor) -> float:
    """Dice of the single mask for a box (4,) alone, which leaves no doubt, on the image that the predictor looks at."""
    empty = Prompts.of(2)
    found = predictor.predict(Prompts(empty.points, empty.labels, torch.as_tensor(box)), multimask=False)
    return metrics.dice(found.mask.numpy(), truth)
