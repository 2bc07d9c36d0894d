"""A crowd that draws boxes: people who are not experts, each with mistakes of her own; and what heals the mistakes.

    person.boxes(volume, "liver", rng)     a box in each slice that she draws in: {slice: box (4,)}
    merged([hers, his, theirs])            one box a slice out of several people's
    interpolated(boxes)                    boxes for the slices in between

Three mistakes, each a number of a person: boxes that do not fit, slices left out, another organ taken for this one. In the crowd
study the slices left out cost most: Dice of a whole volume was about 0.87 of the mean Dice of the slices that had an answer
(0.68 to 0.79 against 0.79 to 0.89). The people of ``CROWD`` leave out about as much; how they do so is our assumption.

Source: Kulkarni et al. 2024, MIDL, arXiv:2403.15218; noise of boxes: Kirillov et al. 2023, arXiv:2304.02643, appendix A.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fmlab.errors import PromptError
from fmlab.interactive.boxes import jittered_box
from fmlab.interactive.pictures import AXES
from fmlab.interactive.slices import largest_object, upright
from fmlab.volume import Volume

ORGANS = ("liver", "spleen", "kidney_left", "kidney_right")
"""What the crowd study had annotated, without the aorta: 24 pixels of our slices are too few for a small SAM."""

SliceBoxes = dict[int, Tensor]  # slice -> box (4,), as in ``boxes``


@dataclass(frozen=True)
class Person:
    """Who draws. noise: by which each side of a box is off, of the box's side (sd). missed: chance of leaving a slice out.

    ends: share of the structure's slices, at its upper and at its lower end each, where she does not recognise it any more.
    wrong: chance of drawing another organ instead, in slices that show one. Raises PromptError for shares outside of 0 to 1.
    """

    name: str
    noise: float = 0.0
    missed: float = 0.0
    ends: float = 0.0
    wrong: float = 0.0

    def __post_init__(self) -> None:
        for what in ("noise", "missed", "ends", "wrong"):
            if not 0 <= getattr(self, what) <= 1:
                raise PromptError(f"{self.name}: {what}={getattr(self, what)} is no share; give a number from 0 to 1.")

    def boxes(self, volume: Volume, name: str, rng: np.random.Generator, others: Sequence[str] = (), axis: str = "axial"
              ) -> SliceBoxes:
        """Her box around the largest piece of a structure, in each slice along an axis that she draws in.

        others: what she may take for it. The same seed gives the same boxes. PromptError where the volume does not show it.
        """
        slices = slices_of(volume, name, axis)
        flat = {one: np.moveaxis(volume.mask(one).numpy(), AXES[axis], 0) for one in {name, *others}}  # once, not in each slice
        tail = min(round(self.ends * len(slices)), (len(slices) - 1) // 2)
        found = {}
        for index in slices[tail:len(slices) - tail]:
            missed, wrong, which = rng.random(3)
            if missed < self.missed:
                continue
            there = [other for other in others if other != name and flat[other][index].any()]
            taken = there[int(which * len(there))] if there and wrong < self.wrong else name
            piece = largest_object(upright(flat[taken][index]))
            found[index] = jittered_box(piece, rng, self.noise, most=np.inf)
        return found


EXPERT = Person("expert", noise=0.03)
CAREFUL = Person("careful", noise=0.08, missed=0.1, ends=0.05)
HURRIED = Person("hurried", noise=0.15, missed=0.35, ends=0.1)
UNSURE = Person("unsure", noise=0.1, missed=0.2, ends=0.1, wrong=0.1)
CROWD = (CAREFUL, HURRIED, UNSURE)


def slices_of(volume: Volume, name: str, axis: str = "axial") -> list[int]:
    """The slices along an axis that show a structure. Raises PromptError where there are none."""
    if axis not in AXES:
        raise PromptError(f"There is no axis {axis!r} to cut along; choose one of {', '.join(AXES)}.")
    shown = volume.mask(name).numpy().any(tuple(i for i in range(3) if i != AXES[axis]))
    if not shown.any():
        raise PromptError(f"{volume.name!r} does not show {name}; ask for a structure that it shows.")
    return np.flatnonzero(shown).tolist()


def median_box(boxes: np.ndarray) -> np.ndarray:
    """(A, 4) boxes of A people, a row of NaN where one drew nothing, to the median (4,) of those who drew; NaN where nobody did.

    A person who leaves a slice out has no vote in it, and one of three who boxes another organ is outvoted.
    """
    there = boxes[~np.isnan(boxes).any(1)]
    return np.median(there, axis=0) if len(there) else np.full(4, np.nan)


def merged(people: Sequence[Mapping[int, Tensor]]) -> SliceBoxes:
    """Several people's boxes of one structure as one's: the median in each slice in which somebody drew."""
    nothing = torch.full((4,), torch.nan)
    slices = sorted({index for boxes in people for index in boxes})
    return {index: torch.from_numpy(median_box(np.stack([boxes.get(index, nothing).numpy() for boxes in people]))).float()
            for index in slices}


def interpolated(boxes: Mapping[int, Tensor]) -> SliceBoxes:
    """Boxes for all slices from the first to the last one drawn: those in between by the line from neighbour to neighbour.

    Beyond the first and the last nothing is known, and nothing is added. No boxes give no boxes.
    """
    if not boxes:
        return {}
    known = sorted(boxes)
    corners = np.stack([boxes[index].numpy() for index in known])
    between = np.arange(known[0], known[-1] + 1)
    filled = np.stack([np.interp(between, known, side) for side in corners.T], axis=1)
    return {int(index): torch.from_numpy(box).float() for index, box in zip(between, filled)}
