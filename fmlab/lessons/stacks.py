"""Stacks of neighbouring slices with the masks of a few structures: what MA-SAM learns from, in lesson 09.

    data = Stacks(bodies, ("liver", "spleen"))           item: image (S, size, size), labels (S, size, size)
    train(model, stack_loss, data, config, folder)

The frozen encoder was trained on pictures with ImageNet's mean and deviation, so the stacks come with these, and not in [0, 1].
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from fmlab.errors import DataError
from fmlab.interactive import losses
from fmlab.interactive.ma_sam import MaSam
from fmlab.interactive.preprocess_ma_sam import ct_normalised
from fmlab.interactive.preprocess_sam import MEAN, STD
from fmlab.volume import Volume

MARGIN = 2  # slices beyond a structure's ends that a stack may still begin at


class Stacks(Dataset):
    """Endless stacks for ``training.train``; item n is another one at each call. slices: S. length: what counts as an epoch.

    Items: image (S, size, size) float32, labels (S, size, size) int64, k + 1 where structure k lies. Half of them are turned
    upside down: head first or feet first. Random numbers come from torch's global generator. DataError without volumes.
    """

    def __init__(self, volumes: Iterable[Volume], structures: Sequence[str], size: int = 128, slices: int = 5,
                 length: int = 1000):
        self.scans = [(axial(volume, size), labelled(volume, structures, size)) for volume in volumes]
        self.scans = [scan for scan in self.scans if len(scan[0]) >= slices and bool(scan[1].any())]
        if not self.scans:
            raise DataError(f"No volume shows {', '.join(structures)} in {slices} slices or more; give others.")
        self.slices, self.length = slices, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict:
        rng = np.random.default_rng(int(torch.randint(2**31, ())))
        image, labels = self.scans[rng.integers(len(self.scans))]
        shown = torch.nonzero(labels.flatten(1).any(1)).flatten().tolist()
        first = int(rng.integers(shown[0] - self.slices - MARGIN, shown[-1] + MARGIN + 1))
        first = min(max(first, 0), len(image) - self.slices)
        part = slice(first, first + self.slices)
        flip = [0] if rng.random() < 0.5 else []
        return {"image": image[part].flip(flip), "labels": labels[part].flip(flip).long()}


def axial(volume: Volume, size: int = 128) -> Tensor:
    """The slices (N, size, size) of a CT as SAM's grey pictures, front up, filled up to squares with what is black."""
    unit = torch.from_numpy(ct_normalised(volume.image[0].numpy())).float()
    squares = squared(unit)
    unit = F.interpolate(squares[:, None], (size, size), mode="bilinear", align_corners=False)[:, 0]
    return (255 * unit - float(np.mean(MEAN))) / float(np.mean(STD))


def labelled(volume: Volume, structures: Sequence[str], size: int = 128) -> Tensor:
    """Of the same slices which structure lies where: (N, size, size) uint8, k + 1 for number k, the later one on top."""
    labels = torch.zeros(volume.shape, dtype=torch.uint8)
    for k, name in enumerate(structures, 1):
        labels[volume.mask(name)] = k
    return F.interpolate(squared(labels)[:, None].float(), (size, size), mode="nearest-exact")[:, 0].to(torch.uint8)


def squared(values: Tensor) -> Tensor:
    """(X, Y, Z) as slices (Z, side, side), rows from front to back, in the middle of a square of 0."""
    flat = values.permute(2, 1, 0).flip(1)
    spare = [max(flat.shape[1:]) - n for n in flat.shape[1:]]
    (top, left) = (n // 2 for n in spare)
    return F.pad(flat, (left, spare[1] - left, top, spare[0] - top))


def stack_loss(model: MaSam, batch: dict) -> Tensor:
    """MA-SAM's own, 0.2 cross-entropy + 0.8 Dice, of a batch of stacks."""
    return losses.ma_sam(model(batch["image"]).flatten(0, 1), batch["labels"].flatten(0, 1))


@torch.no_grad()
def read_alone(model: MaSam, slices: Tensor, together: int = 8) -> Tensor:
    """Labels (N, size, size) of slices (N, size, size), each of which is given S times, as its own neighbours; see
    ``predict_volume``."""
    found = []
    for some in slices.to(model.FacTu.weight).split(together):
        stacks = some[:, None].expand(-1, model.slices, -1, -1)
        found.append(model(stacks)[:, model.slices // 2].argmax(1))
    return torch.cat(found).to(slices.device)
