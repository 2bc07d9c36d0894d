"""What a click changes: the piece that SAM sees under it, and no more than a click can mean.

SAM is asked what lies under the click. Of its answer only the piece around the click is taken that a structure lacks (or, for a
click that says "not this", that it has too much), up to ``REACH`` mm away, and nearer to this click than to any of the other
sign. So a click never undoes what another one said, and a few settle. Asked for the whole structure instead, a small SAM
replaces masks that were better than its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from fmlab import hub
from fmlab.errors import ScanError
from fmlab.interactive.pictures import drawn, grey
from fmlab.interactive.predictor import SamPredictor
from fmlab.interactive.preprocessing import Frame
from fmlab.interactive.prompts import Prompts
from fmlab.own_scan.carrying import FADE, carried
from fmlab.own_scan.clicks import Click
from fmlab.viewer.cuts import Cuts
from fmlab.viewer.planes import plane_named
from fmlab.viewer.prompts import Answer, Request
from fmlab.vocabulary import ID, region
from fmlab.volume import Volume

REACH = 30.0  # mm, as far as a click can change anything
TIP = 5.0  # mm, what it changes where SAM sees nothing
Place = tuple[tuple[int, int], int]  # (row, column) of the upright picture, and 1 or 0
Encoded = tuple[Tensor, Frame]


class Corrector:
    """Labels of a model and a SAM that helps to mend them, slice by slice; ``Canvas(scan, corrector.ask, structures,
    prepare=corrector.prepare)``.

    found: the scan with the labels to mend. predictor: by default the course's nano SAM. Answers depend on the clicks of a slice
    and their order alone, so a replayed recording gives the same masks.
    """

    def __init__(self, found: Volume, predictor: SamPredictor | None = None):
        if found.labels is None:
            raise ScanError(f"{found.name or 'The scan'} has no labels to correct; segment it first.")
        self.found, self.predictor = found, predictor or SamPredictor(hub.load("sam", "nano"))
        self._encoded: dict[tuple[str, int], Encoded] = {}

    def prepare(self, axis: str, index: int) -> Encoded:
        """A slice as SAM knows it, encoded once."""
        if (axis, index) not in self._encoded:
            self.predictor.set_image(grey(self.found, axis, index))
            self._encoded[axis, index] = self.predictor.features, self.predictor.frame
        return self._encoded[axis, index]

    def ask(self, request: Request) -> Answer:
        """What a canvas shows of a structure on a slice: the model's mask as the clicks leave it. A box is not read."""
        clicks = [(tuple(place), int(label)) for place, label in zip(request.points.tolist(), request.labels)]
        return Answer(self.slice(request.name, request.axis, request.index, clicks))

    def slice(self, name: str, axis: str, index: int, clicks: Sequence[Place]) -> np.ndarray:
        """The mask (H, W) bool, upright, of a structure on a slice after these clicks."""
        plane, spacing = plane_named(axis), self.found.spacing
        mask = drawn(self.found, name, axis, index)
        if not clicks:
            return mask
        self.predictor.features, self.predictor.frame = self.prepare(axis, index)
        return mended(mask, clicks, self._under, (spacing[plane.v], spacing[plane.u]))

    def _under(self, place: tuple[int, int]) -> np.ndarray:
        return self.predictor.predict(Prompts.of(2).click(place[::-1])).mask.numpy()


def mended(mask: np.ndarray, clicks: Sequence[Place], under: Callable[[tuple[int, int]], np.ndarray],
           spacing: tuple[float, float]) -> np.ndarray:
    """A mask (H, W) bool after clicks, in their order; the mask itself is not changed.

    clicks: ((row, column), 1 or 0): this belongs to it, or does not. under: what lies at a place, (H, W) bool. spacing: of rows
    and columns, mm.
    """
    mask, before = mask.copy(), []
    for place, label in clicks:
        away = distance(mask.shape, place, spacing)
        near = away <= REACH
        for other, sign in before:
            if sign != label:
                near &= away <= distance(mask.shape, other, spacing)
        wrong = ~mask if label else mask
        piece = around(under(place) & wrong & near, place)
        if not piece.any():
            piece = wrong & near & (away <= TIP)
        mask[piece] = bool(label)
        mask[place] = bool(label)
        before.append((place, label))
    return mask


def distance(shape: tuple[int, int], place: tuple[int, int], spacing: tuple[float, float]) -> np.ndarray:
    """(H, W): mm from each pixel to a place."""
    rows, columns = np.ogrid[:shape[0], :shape[1]]
    return np.hypot((rows - place[0]) * spacing[0], (columns - place[1]) * spacing[1])


def around(mask: np.ndarray, place: tuple[int, int]) -> np.ndarray:
    """The connected piece of a bool mask (H, W) that holds the place; nothing where the place is not in it."""
    pieces, _ = ndimage.label(mask)
    return pieces == pieces[place] if pieces[place] else np.zeros_like(mask)


def correct(found: Volume, clicks: Sequence[Click], corrector: Corrector | None = None, fade: float = FADE) -> Volume:
    """The scan with labels after the clicks: each clicked slice as it was mended, its neighbours by what changed there.

    found: with labels; they are not changed. fade: mm over which a change is carried on (``carried``). Voxels that a structure
    gains are taken from others, and those that it loses are nobody's. PromptError for a click outside the scan.
    """
    corrector = corrector or Corrector(found)
    cuts, by_slice = Cuts(found.shape), {}
    for click in clicks:
        voxel = click.voxel(found)
        index = voxel[plane_named(click.axis).axis]
        by_slice.setdefault((click.structure, click.axis), {}).setdefault(index, []).append(
            (cuts.place(click.axis, voxel), int(click.inside)))
    labels = found.labels[0].clone()
    for (name, axis), slices in by_slice.items():
        new = {index: corrector.slice(name, axis, index, places) for index, places in slices.items()}
        before = found.mask(name).numpy()
        after = carried(before, new, axis, found.spacing, fade)
        labels[torch.from_numpy(before & ~after) & torch.isin(labels, torch.tensor(region(name), dtype=torch.uint8))] = 0
        labels[torch.from_numpy(after & ~before)] = ID[name]
    names = None if found.annotated is None else found.annotated | {name for name, _ in by_slice}
    return replace(found, labels=labels[None], annotated=names)
