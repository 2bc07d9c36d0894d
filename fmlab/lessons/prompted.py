"""For lessons on promptable models: pictures with the clicks and boxes that a model was given, and what it made of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from torch import Tensor

from fmlab import metrics
from fmlab.errors import PromptWarning
from fmlab.interactive.clicks import centre_of_largest_error
from fmlab.interactive.pictures import Scene
from fmlab.interactive.predictor import Masks, SamPredictor
from fmlab.interactive.prompts import Prompts
from fmlab.viewer import row
from fmlab.viewer.scene import OKABE_ITO

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POSITIVE, NEGATIVE = "#009E73", "#D55E00"  # Okabe and Ito's green and vermilion


def pointed_at(mask: np.ndarray) -> Prompts:
    """One positive click in the middle of a mask (H, W). Raises PromptError for an empty one."""
    return Prompts.of(2).add(centre_of_largest_error(np.zeros_like(mask), mask))


class Step(NamedTuple):
    """What came of some clicks: the mask (H, W) bool, the clicks, Dice."""

    mask: Tensor
    prompts: Prompts
    dice: float


def corrected(predictor: SamPredictor, thing: Scene, number: int, again: Callable[[Masks], Tensor | None]) -> list[Step]:
    """What came of 1, 2, ... ``number`` clicks, each in the middle of the largest error. again: what of an answer goes in with
    the next click, a mask prompt or None."""
    predictor.set_image(thing.image)
    prompts, steps, told = pointed_at(thing.mask), [], None
    for _ in range(number):
        found = predictor.predict(prompts, told)
        steps.append(Step(found.mask, prompts, metrics.dice(found.mask, thing.mask)))
        told = again(found)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PromptWarning)  # nothing left to click on, or the same place again
            prompts = prompts.add(centre_of_largest_error(found.mask, thing.mask))
    return steps


def prompted(images: Sequence[np.ndarray], found: Sequence, prompts: Sequence[Prompts | None], truth: Sequence | None = None,
             titles: Sequence[str] = (), inches: float = 2.4, margin: int | None = None, sides: str = "LR",
             columns: int | None = None) -> Figure:
    """``viewer.row`` of pictures (H, W) uint8 with each one's prompts: + a positive click, x a negative one, a dotted box.

    margin: a square about each truth with so many pixels around it is shown, not the whole picture. sides, columns: of ``row``.
    """
    from matplotlib.patches import Rectangle

    fig = row([image / 255 for image in images], found, truth, titles, inches, sides, columns)
    for number, (ax, told) in enumerate(zip(fig.axes, prompts)):
        for label, mark, colour in ((1, "P", POSITIVE), (0, "X", NEGATIVE)):
            places = told.points[told.labels == label] if told is not None else np.zeros((0, 2))
            ax.plot(*places.T, mark, color=colour, markersize=8, markeredgecolor="white", linestyle="none")
        if told is not None and told.box is not None:
            x0, y0, x1, y1 = told.box.tolist()
            ax.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], ":", color=POSITIVE, linewidth=1.5)
        if margin is not None:
            places = np.argwhere(truth[number])
            middle, half = (places.min(0) + places.max(0)) / 2, np.ptp(places, axis=0).max() / 2 + margin
            ax.set(xlim=(middle[1] - half, middle[1] + half), ylim=(middle[0] + half, middle[0] - half))
            ax.add_patch(Rectangle((0, 0), 1, 1, transform=ax.transAxes, color="black", zorder=-1))  # beyond the picture
    return fig


def coloured(image: np.ndarray, labels: np.ndarray, inches: float = 4.0) -> Figure:
    """A picture (H, W) uint8, and beside it the same with a colour and an outline for each number of labels (H, W) above 0."""
    fig = row([image / 255] * 2, inches=inches)
    numbers = [number for number in np.unique(labels) if number]
    paint = np.zeros((*labels.shape, 4))
    for number in numbers:
        paint[labels == number] = (*(np.array(OKABE_ITO[number % len(OKABE_ITO)]) / 255), 0.55)
    fig.axes[1].imshow(paint)
    for number in numbers:
        fig.axes[1].contour(labels == number, [0.5], colors="white", linewidths=0.6)
    return fig
