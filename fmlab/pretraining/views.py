"""Two looks at one cube: what distillation (``desd``, ``unimiss``) takes for the same.

As in both methods a view is mirrored, scaled within the slices, blurred, made noisy, and changed in brightness, contrast and
gamma; how far is the course's own choice, for cubes that were cut and windowed already.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

MIRROR, CHANGE = 0.8, 0.5  # how probable a view is mirrored at all, and each other change
SCALE = (0.8, 1.2)


def view(images: Tensor) -> Tensor:
    """Another look at each of (B, C, X, Y, Z), values in [0, 1] before and after. Random numbers are torch's."""
    return torch.stack([_lit(_moved(image)) for image in images])


def _moved(image: Tensor) -> Tensor:
    if happens(MIRROR):
        axes = [axis for axis in (1, 2, 3) if happens(0.5)]
        image = image.flip(axes) if axes else image
    factor, sides = _between(*SCALE), image.shape[1:]
    theta = torch.zeros(1, 3, 4)
    theta[0, 0, 0], theta[0, 1, 1], theta[0, 2, 2] = 1, 1 / factor, 1 / factor  # grid_sample has the last axis first: Z, Y, X
    for row in (1, 2):
        theta[0, row, 3] = _between(-0.2, 0.2)
    grid = F.affine_grid(theta.to(image), [1, len(image), *sides], align_corners=False)
    return F.grid_sample(image[None], grid, padding_mode="border", align_corners=False)[0]


def _lit(image: Tensor) -> Tensor:
    if happens(CHANGE):
        middle = F.avg_pool3d(F.pad(image[None], [1] * 6, mode="replicate"), 3, stride=1)[0]
        image = torch.lerp(image, middle, _between(0, 1))
    if happens(CHANGE):
        image = (image - 0.5) * _between(0.75, 1.25) + 0.5 + _between(-0.1, 0.1)
    if happens(CHANGE):
        image = image.clamp(0, 1) ** _between(0.7, 1.4)
    if happens(CHANGE):
        image = image + torch.randn_like(image) * _between(0, 0.08)
    return image.clamp(0, 1)


def happens(chance: float) -> bool:
    """True so often, by torch's generator."""
    return bool(torch.rand(()) < chance)


def _between(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))
