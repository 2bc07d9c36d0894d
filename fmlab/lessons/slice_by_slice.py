"""A flat SAM on a volume, with a fixed number of clicks for a structure: which slices get them, and what the others get.

    flat = SliceBySlice(predictor, volume)
    mask = flat.segment(truth, 10, rng)                        ten clicks, in ten slices
    mask = flat.segment(truth, 10, rng, carried=True)          the same, and each other slice the click of its neighbours

Whoever clicks knows in which slices the structure begins and ends: she has looked through the scan. A slice's own click lies in
the inner half of what is wrong there; a carried one on the line between the next clicks below and above, beyond the last ones at
their place. Without carrying, a slice without a click stays empty: a flat model forgets from slice to slice.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch

from fmlab.errors import PromptWarning
from fmlab.interactive.clicking import AskSam
from fmlab.interactive.clicks import Clicks, foreground, largest_error, random_foreground
from fmlab.interactive.pictures import grey
from fmlab.interactive.predictor import SamPredictor
from fmlab.interactive.prompts import Prompts
from fmlab.interactive.slices import upright
from fmlab.volume import Volume


class SliceBySlice:
    """A ``SamPredictor`` and a volume, of which each axial slice is encoded once, when it is first needed."""

    def __init__(self, predictor: SamPredictor, volume: Volume):
        self.predictor, self.volume, self._encoded = predictor, volume, {}

    def segment(self, truth: np.ndarray, count: int, rng: np.random.Generator, carried: bool = False) -> np.ndarray:
        """The mask (X, Y, Z) bool after ``count`` clicks on a structure (X, Y, Z) bool, shared out evenly over its slices.

        More clicks than slices go as corrections, round by round. PromptError for an empty structure.
        """
        truth = foreground(truth)
        shown, found, first = np.flatnonzero(truth.any((0, 1))), np.zeros_like(truth), {}
        rounds, rest = divmod(count, len(shown))
        more = set(spread(shown, rest).tolist())
        for index in shown.tolist():
            if own := rounds + (index in more):
                first[index], found[:, :, index] = self._clicked(index, upright(truth[:, :, index]), own, rng)
        for index in shown.tolist() if carried else ():
            if index not in first:
                found[:, :, index] = self._asked(index, between(first, index))
        return found

    def _clicked(self, index: int, truth: np.ndarray, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The first click (2,) in a slice, and its mask (X, Y) after all of them."""
        self._look_at(index)
        ask, prompts, mask = AskSam(self.predictor), Prompts.of(2), np.zeros_like(truth)
        for _ in range(count):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PromptWarning)  # the same pixel clicked as both: the newer click counts
                prompts = prompts.add(inner_half(mask, truth, rng))
            mask = ask(prompts)
        return prompts.points[0].numpy(), mask[::-1].T

    def _asked(self, index: int, point: np.ndarray) -> np.ndarray:
        self._look_at(index)
        return AskSam(self.predictor)(Prompts.of(2).click(torch.from_numpy(point)))[::-1].T

    def _look_at(self, index: int) -> None:
        if index not in self._encoded:
            self.predictor.set_image(grey(self.volume, "axial", index))
            self._encoded[index] = self.predictor.features, self.predictor.frame
        self.predictor.features, self.predictor.frame = self._encoded[index]


def inner_half(prediction: np.ndarray, truth: np.ndarray, rng: np.random.Generator) -> Clicks:
    """A click in the inner half of the largest error, as a person aims; anywhere in the structure where nothing is wrong."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PromptWarning)  # nothing is wrong any more
        found = largest_error(prediction, truth, rng)
    return found if len(found.labels) else random_foreground(truth, rng)


def spread(places: np.ndarray, count: int) -> np.ndarray:
    """``count`` of these places, in the middles of as many equal parts."""
    return places[((np.arange(count) + 0.5) / max(count, 1) * len(places)).astype(int)]


def between(first: dict[int, np.ndarray], index: int) -> np.ndarray:
    """The click (2,) of a slice that has none, on the line between its neighbours' clicks."""
    known = sorted(first)
    return np.array([np.interp(index, known, [first[k][axis] for k in known]) for axis in (0, 1)], dtype=np.float32)
