"""Stacks of neighbouring slices with one box for a whole structure: what MA-SAM learns from, in lesson 09.

    data = Stacks(bodies, ("liver", "spleen"))           item: image (S, size, size), labels (S, size, size), box (4,)
    train(model, stack_loss, data, config, folder)
    found = slice_by_slice(model, axial(body), box)

The frozen encoder was trained on pictures with ImageNet's mean and deviation, so the stacks come with these, and not in [0, 1].
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from fmlab.errors import DataError
from fmlab.interactive import losses
from fmlab.interactive.boxes import tight_box
from fmlab.interactive.ma_sam import MaSam
from fmlab.interactive.preprocess_ma_sam import ct_normalised
from fmlab.interactive.preprocess_sam import MEAN, STD
from fmlab.interactive.sam import Sam
from fmlab.volume import Volume


@dataclass(frozen=True, eq=False)
class Boxed:
    """A structure in a volume, from its first slice to its last. slices: (N, size, size) as SAM sees them. mask: (N, size, size)
    bool. box: (4,), x0 y0 x1 y1, around all of it."""

    slices: Tensor
    mask: Tensor
    box: Tensor


class Stacks(Dataset):
    """Endless stacks for ``training.train``; item n is another one at each call. slices: S. length: what counts as an epoch.

    Items: image (S, size, size) float32, labels (S, size, size) int64, 1 where the structure is, box (4,) float32, the same for
    all slices of its structure. Half of the stacks are turned upside down: head first or feet first. Random numbers come from
    torch's global generator. DataError where no volume shows a structure in S slices.
    """

    def __init__(self, volumes: Iterable[Volume], structures: Sequence[str], size: int = 128, slices: int = 3,
                 length: int = 1000):
        every = [boxed(volume, name, size) for volume in volumes for name in structures if bool(volume.mask(name).any())]
        self.things = [thing for thing in every if len(thing.slices) >= slices]
        if not self.things:
            raise DataError(f"No volume shows {', '.join(structures)} in {slices} slices or more; give others.")
        self.slices, self.length = slices, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict:
        rng = np.random.default_rng(int(torch.randint(2**31, ())))
        thing = self.things[rng.integers(len(self.things))]
        first = int(rng.integers(len(thing.slices) - self.slices + 1))
        part, flip = slice(first, first + self.slices), [0] if rng.random() < 0.5 else []
        return {"image": thing.slices[part].flip(flip), "labels": thing.mask[part].flip(flip).long(), "box": thing.box}


def boxed(volume: Volume, name: str, size: int = 128) -> Boxed:
    """A structure that the volume shows."""
    mask = F.interpolate(squared(volume.mask(name).float())[:, None], (size, size), mode="nearest-exact")[:, 0] > 0
    shown = torch.nonzero(mask.flatten(1).any(1)).flatten()
    part = slice(int(shown[0]), int(shown[-1]) + 1)
    return Boxed(axial(volume, size)[part], mask[part], tight_box(mask.any(0).numpy()))


def axial(volume: Volume, size: int = 128) -> Tensor:
    """The slices (N, size, size) of a CT as SAM's grey pictures, front up, filled up to squares with what is black."""
    unit = torch.from_numpy(ct_normalised(volume.image[0].numpy())).float()
    unit = F.interpolate(squared(unit)[:, None], (size, size), mode="bilinear", align_corners=False)[:, 0]
    return (255 * unit - float(np.mean(MEAN))) / float(np.mean(STD))


def squared(values: Tensor) -> Tensor:
    """(X, Y, Z) as slices (Z, side, side), rows from front to back, in the middle of a square of 0."""
    flat = values.permute(2, 1, 0).flip(1)
    spare = [max(flat.shape[1:]) - n for n in flat.shape[1:]]
    (top, left) = (n // 2 for n in spare)
    return F.pad(flat, (left, spare[1] - left, top, spare[0] - top))


def stack_loss(model: MaSam, batch: dict) -> Tensor:
    """MA-SAM's own, 0.2 cross-entropy + 0.8 Dice, of a batch of stacks with their boxes."""
    return losses.ma_sam(model(batch["image"], batch["box"]).flatten(0, 1), batch["labels"].flatten(0, 1))


@torch.no_grad()
def slice_by_slice(model: MaSam, thing: Boxed, neighbours: bool = True, together: int = 8) -> Tensor:
    """Masks (N, size, size) bool: each slice as the middle of a stack of its neighbours, the ends repeated, with the one box.

    neighbours: False gives a slice S times, as its own neighbours.
    """
    count, reach = len(thing.slices), torch.arange(model.slices) - model.slices // 2
    which = (torch.arange(count)[:, None] + reach * neighbours).clamp(0, count - 1)
    place = model.FacTu.weight
    found = [model(thing.slices[some].to(place), thing.box.to(place).expand(len(some), -1))[:, model.slices // 2].argmax(1) > 0
             for some in which.split(together)]
    return torch.cat(found).to(thing.mask.device)


@torch.no_grad()
def flat_sam(model: Sam, thing: Boxed, together: int = 8) -> Tensor:
    """The same of a plain SAM, that is given the one box in every slice."""
    found = []
    for some in thing.slices.to(model.image_encoder.pos_embed).split(together):
        boxes = thing.box.to(some).expand(len(some), -1)
        low, _ = model(some[:, None].expand(-1, 3, -1, -1), boxes=boxes, multimask=False)
        found.append(F.interpolate(low, thing.mask.shape[1:], mode="bilinear")[:, 0] > 0)
    return torch.cat(found).to(thing.mask.device)
