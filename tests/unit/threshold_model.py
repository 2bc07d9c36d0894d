"""A stand-in for a trained network, whose right answer is known as a structure is a range of HU; and scans to try it on."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from fmlab.volume import Volume
from fmlab.windows import WIDE

RANGES = {"lung_left": (-950, -600), "liver": (100, 250), "spleen": (300, 600)}  # HU
OBLIQUE = np.array([[1.9, -0.4, 0, -40], [0.4, 1.9, 0.1, 30], [0, 0, 3.0, 500], [0, 0, 0, 1]])
BALLS = [((0.3, 0.6, 0.5), 0.2, 170.0), ((0.72, 0.6, 0.5), 0.18, 450.0), ((0.5, 0.25, 0.5), 0.12, -800.0)]


class Thresholds(nn.Module):
    """Logit k is above 0 where the windowed value lies in the range of structure k, by how far it lies inside."""

    def __init__(self, ranges: dict[str, tuple[float, float]] = RANGES):
        super().__init__()
        self.structures = tuple(ranges)
        low, high = WIDE(torch.tensor(list(ranges.values()), dtype=torch.float32)).T
        self.low, self.high = (nn.Parameter(side.view(-1, 1, 1, 1)) for side in (low, high))
        self.sides: list[tuple[int, ...]] = []  # of the cubes that it saw
        self.modes: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        self.sides.append(tuple(x.shape[2:]))
        self.modes.append(self.training)
        return 50 * torch.minimum(x - self.low, self.high - x)


def scan(shape=(30, 26, 22), affine=None, balls=BALLS) -> Volume:
    """Air, a body at 40 HU and balls in it. balls: (centre as shares of the box, radius as share of the first axis, HU)."""
    affine = np.diag([4.0, 4, 4, 1]) if affine is None else affine
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) + 0.5
    image = np.full(shape, -1000.0)
    image[2:-2, 2:-2, :] = 40
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    for centre, radius, hu in balls:
        image[np.linalg.norm((index - np.array(centre) * shape) * sides, axis=-1) < radius * shape[0] * sides[0]] = hu
    return Volume(torch.from_numpy(image)[None], affine, name="balls")
