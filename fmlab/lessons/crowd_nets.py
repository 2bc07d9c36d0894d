"""A net trained on labels that a crowd and SAM made, and one trained on the truth: same slices, same net, same test."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from fmlab import metrics
from fmlab.incontext.examples import Examples
from fmlab.incontext.material import masks, picture, pictures
from fmlab.incontext.task_net import task_net
from fmlab.interactive.crowd import slices_of
from fmlab.settings import profile
from fmlab.volume import Volume

SIZE = 64


def pairs(volumes: Sequence[Volume], labels: Sequence[np.ndarray], name: str, count: int = 8, beyond: int = 2, size: int = SIZE
          ) -> Examples:
    """``count`` axial slices of each volume, evenly spaced over the structure and ``beyond`` slices further at both ends, with
    the masks of ``labels`` (X, Y, Z) bool. A slice that the labels miss teaches "nothing here"."""
    images, drawn = [], []
    for volume, label in zip(volumes, labels):
        there = within(volume, name, beyond)
        chosen = np.linspace(there[0], there[-1], count).round().astype(int).tolist()
        images.append(pictures(volume, "axial", chosen, size))
        values = torch.from_numpy(label)
        drawn += [picture(volume, values, "axial", index, size, labels=True).float()[None] for index in chosen]
    return Examples(torch.cat(images), torch.stack(drawn))


def within(volume: Volume, name: str, beyond: int) -> list[int]:
    """The axial slices from the first to the last that shows a structure, and ``beyond`` further ones at both ends."""
    there = slices_of(volume, name)
    return list(range(max(0, there[0] - beyond), min(volume.shape[2], there[-1] + beyond + 1)))


def trained(volumes: Sequence[Volume], labels: Sequence[np.ndarray], name: str, seed: int = 0) -> nn.Module:
    """A small U-Net trained on ``pairs``: the same start and draws whatever the labels are.

    For the profile's time, but so long at least that it has learned something: before that all nets are equally bad.
    """
    return task_net(pairs(volumes, labels, name), steps=max(80, 4 * profile().steps), seed=seed)


@torch.no_grad()
def net_dice(net: nn.Module, volume: Volume, name: str, beyond: int = 2, size: int = SIZE) -> float:
    """Dice of a volume's axial slices, of those that ``pairs`` draws from, as pictures, together, against the truth."""
    chosen = within(volume, name, beyond)
    images, truth = pictures(volume, "axial", chosen, size), masks(volume, [name], "axial", chosen, size)
    weight = next(net.parameters())
    found = torch.cat([net(chunk.to(weight)).cpu() for chunk in images.split(32)]) > 0
    return metrics.dice(found[:, 0], truth[:, 0] > 0)
