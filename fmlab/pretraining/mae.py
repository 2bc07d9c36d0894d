"""A masked autoencoder for volumes, the dense way: hide three blocks of four, and let an ordinary U-Net fill them in.

    m = visible blocks, exactly floor(0.75 n) of n are hidden
    L = sum over hidden voxels (theta(m x)_v - x_v)^2 / number of hidden voxels

Source: He et al. 2022, doi:10.1109/CVPR52688.2022.01553; in 3-D on a CNN: Wald et al. 2025 (CVPR), arXiv:2410.23132.
Published setting: cubes of 160^3 at 1 mm, z-scored, blocks of 16^3 (750 of 1000 hidden), a residual U-Net of six stages, SGD with
Nesterov momentum 0.99 at 0.01, weight decay 3e-5, 1000 x 250 steps of batch 8. The course: 48^3 or 64^3, blocks of 8^3.

There is no mask token: a hidden voxel is 0 after the z-score, the mean. Said without the z-score: it gets the cube's mean, and
the target is in deviations. So the network reads the values that it will read in its task.

What a CNN makes of it: a convolution cannot leave a voxel out. Hidden voxels are computed with like others, they take part in the
norms' statistics, and their features reach visible ones. ``sparse_mae`` is the remedy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fmlab.backbones import by_name
from fmlab.errors import ScanError
from fmlab.pretraining.transfer import COURSE, Transfers

BLOCK, RATIO = 8, 0.75
TRANSFERS = Transfers(("encoder", "decoder"), COURSE)
"""The decoder goes along where the task's network has the same one; the head begins anew."""


def mae(**config) -> nn.Module:
    """The nano U-Net with a head of one channel, and no word of masks in it; ``hub.build("mae")``."""
    return by_name.nano(classes=1, **config)


def loss(model: nn.Module, batch: dict, block: int = BLOCK, ratio: float = RATIO) -> Tensor:
    """Of batch["image"] (B, C, X, Y, Z), whose sides are multiples of ``block``. Random numbers are torch's."""
    x = batch["image"]
    visible = grown(visible_blocks(len(x), x.shape[2:], block, ratio, x.device), x.shape[2:])
    return hidden_mse(model(hidden_as_mean(x, visible)), x, visible)


def visible_blocks(count: int, sides: Sequence[int], block: int = BLOCK, ratio: float = RATIO,
                   device: torch.device | str = "cpu") -> Tensor:
    """m on the grid of blocks, (count, 1, *sides / block) bool: True is visible. Each sample hides floor(ratio n) of its n
    blocks.

    Raises ScanError where blocks do not fit the sides, or where nothing or everything would be hidden.
    """
    if any(side % block or side < block for side in sides):
        raise ScanError(f"Blocks of {block} voxels do not fit a volume of {tuple(sides)}; give sides that are multiples of it.")
    grid = [side // block for side in sides]
    n = math.prod(grid)
    hidden = math.floor(ratio * n)
    if not 0 < hidden < n:
        raise ScanError(f"A ratio of {ratio} hides {hidden} of {n} blocks; choose one that hides some and shows some.")
    order = torch.rand(count, n, device=device).argsort(1).argsort(1)  # ranks: a permutation for each sample
    return (order >= hidden).view(count, 1, *grid)


def grown(visible: Tensor, sides: Sequence[int]) -> Tensor:
    """m at another resolution, (B, 1, *sides): each block spread over its voxels, or all True where ``sides`` are coarser than m.

    Coarser: a position then mixes visible and hidden blocks, and what it knows of the hidden ones is nothing already.
    """
    grid = visible.shape[2:]
    if any(side < n for side, n in zip(sides, grid)):
        return torch.ones(len(visible), 1, *sides, dtype=torch.bool, device=visible.device)
    for axis, (side, n) in enumerate(zip(sides, grid), start=2):
        visible = visible.repeat_interleave(side // n, axis)
    return visible


def hidden_as_mean(x: Tensor, visible: Tensor) -> Tensor:
    """x (B, C, X, Y, Z) where m is True, and the cube's mean elsewhere: 0, after a z-score."""
    return torch.where(visible, x, moments(x)[0])


def hidden_mse(prediction: Tensor, x: Tensor, visible: Tensor) -> Tensor:
    """L of a prediction in deviations from the cube's mean; what is visible has no part in it, nor any gradient."""
    mean, deviation = moments(x.float())
    wrong = (prediction.float() - (x.float() - mean) / deviation).square()
    hidden = (~visible).expand_as(wrong)
    return wrong[hidden].sum() / hidden.sum()


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each cube, (B, C, 1, 1, 1); ``prediction * deviation + mean`` is an image again."""
    axes = tuple(range(2, x.ndim))
    deviation, mean = torch.std_mean(x, axes, correction=0, keepdim=True)
    return mean, deviation.clamp(min=1e-6)
