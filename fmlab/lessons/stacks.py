"""Stacks of neighbouring slices with one box for a whole structure, and a nano SAM with MA-SAM's adapters that learns from them.

    data = Stacks(bodies, ("liver", "spleen"))           item: image (S, size, size), labels (S, size, size), box (4,)
    model = VolumeSam(sam)
    train(model, stack_loss, data, config, folder)
    found = slice_by_slice(model, boxed(body, "liver"))

The frozen encoder was trained on pictures with ImageNet's mean and deviation, so the stacks come with these, and not in [0, 1].
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from fmlab.errors import DataError
from fmlab.interactive import losses
from fmlab.interactive import sam as plain
from fmlab.interactive.boxes import tight_box
from fmlab.interactive.ma_sam import is_trained, sam_name, slice_block
from fmlab.interactive.preprocess_ma_sam import ct_normalised
from fmlab.interactive.preprocess_sam import MEAN, STD
from fmlab.interactive.sam import Sam
from fmlab.interactive.tuning import take_over, train_only
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


class VolumeSam(nn.Module):
    """The nano SAM with MA-SAM's changes in its encoder, and its own prompt encoder and decoder. At first it *is* that SAM.

    sam: whose weights it begins with. slices: S. between: width of the adapters. rank: of U and V. MA-SAM's own decoder, which
    begins anew and draws all organs without a prompt, takes longer to learn than a lesson has time.
    """

    def __init__(self, sam: Sam, slices: int = 3, between: int = 32, rank: int = 8):
        super().__init__()
        channels = sam.image_encoder.pos_embed.shape[-1]
        self.FacTu, self.FacTv = nn.Linear(channels, rank, bias=False), nn.Linear(rank, channels, bias=False)
        nn.init.zeros_(self.FacTv.weight)
        block = partial(slice_block, slices=slices, between=between, shared=(self.FacTu, self.FacTv), scale=1.0)
        self.sam, self.slices = plain.sam("nano", block=block), slices
        self.report = take_over(self, sam.state_dict(), sam_name, new=("*FacT*", "*.adapter_*"), quiet=True)
        train_only(self, is_trained)

    def encode(self, images: Tensor) -> Tensor:
        """Features (B S, C, H, W) of stacks (B, S, size, size)."""
        return self.sam.image_encoder(images.flatten(0, 1)[:, None].expand(-1, 3, -1, -1))

    def forward(self, images: Tensor, boxes: Tensor) -> Tensor:
        """Logits (B, S, size/4, size/4) of stacks (B, S, size, size), and a box (B, 4) for each."""
        boxes = boxes.repeat_interleave(self.slices, dim=0)
        return self.sam.decode(self.encode(images), boxes=boxes, multimask=False)[0].unflatten(0, (-1, self.slices))[:, :, 0]


def stack_loss(model: VolumeSam, batch: dict) -> Tensor:
    """Dice and cross-entropy of each slice, for a batch of stacks with their boxes."""
    size = batch["labels"].shape[-2:]
    logits = F.interpolate(model(batch["image"], batch["box"]), size, mode="bilinear").flatten(0, 1)[:, None]
    return losses.medsam(logits, batch["labels"].flatten(0, 1)[:, None].to(logits.dtype))


@torch.no_grad()
def slice_by_slice(model: VolumeSam, thing: Boxed, neighbours: bool = True, together: int = 8) -> Tensor:
    """Masks (N, size, size) bool: each slice as the middle of a stack of its neighbours, the ends repeated, with the one box.

    neighbours: False gives a slice S times, as its own neighbours.
    """
    count, reach = len(thing.slices), torch.arange(model.slices) - model.slices // 2
    which = (torch.arange(count)[:, None] + reach * neighbours).clamp(0, count - 1)
    place = model.FacTu.weight
    low = [model(thing.slices[some].to(place), thing.box.to(place).expand(len(some), -1))[:, model.slices // 2]
           for some in which.split(together)]
    large = F.interpolate(torch.cat(low)[:, None], thing.mask.shape[1:], mode="bilinear")[:, 0]
    return (large > 0).to(thing.mask.device)
