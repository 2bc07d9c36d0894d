"""Models Genesis: corrupt a cube in four ways, and let a U-Net undo it.

    x = corrupted(y)                    flips (of both), then shuffled, curved, painted
    L = mean over voxels (sigma(theta_c(theta_f(x))) - y)^2

Source: Zhou et al. 2021, doi:10.1016/j.media.2020.101840; probabilities and ranges as in its released code.
Published setting: cubes of 64 x 64 x 32 of LUNA16, -1000 to 1000 HU to [0, 1], batch 6, SGD at a rate of 1 with momentum 0.9,
halved every 40 epochs; the rate works because the loss is small and batch norm bounds the steps. The course: cubes of 64^3, the
nano U-Net.

Almost all cubes are corrupted in several ways at once; one network and one loss undo all of them. The loss counts every voxel,
also those that nothing was done to.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.backbones import by_name
from fmlab.errors import ModelError, ScanError
from fmlab.pretraining.transfer import COURSE, Input, Transfers
from fmlab.pretraining.views import happens

LEAST = 14  # voxels of a side: below, a window that keeps 3 voxels from the border does not fit


@dataclass(frozen=True)
class Chances:
    """flip: of each of up to three flips. shuffle, curve, paint: of each corruption. outer: that painting is outpainting.

    boxes: how many of them are shuffled. All as published.
    """

    flip: float = 0.4
    shuffle: float = 0.5
    curve: float = 0.9
    paint: float = 0.9
    outer: float = 0.8
    boxes: int = 10_000


PUBLISHED = Chances()
TRANSFERS = Transfers(("encoder", "decoder"), COURSE)
"""Segmentation takes encoder and decoder, with a new head; classification the encoder."""
OFFICIAL = Transfers(("encoder", "decoder"), Input("-1000 to 1000 HU to [0, 1]", None))
"""Of ``Genesis_Chest_CT.pt``, into a ``SuPreMUNet``, which is the same network."""


def genesis(backbone: str = "nano", **config) -> nn.Module:
    """A backbone, "nano" or "suprem_unet" (the published one), with a head of one channel; ``hub.build("genesis")``."""
    builders = {"nano": by_name.nano, "suprem_unet": by_name.suprem_unet}
    if backbone not in builders:
        raise ModelError(f"Genesis has no backbone {backbone!r}; choose one of {', '.join(builders)}.")
    return builders[backbone](classes=1, **config)


def loss(model: nn.Module, batch: dict, chances: Chances = PUBLISHED) -> Tensor:
    """Mean squared error over all voxels; batch["image"] (B, C, X, Y, Z) in [0, 1]. Random numbers are torch's."""
    x, y = corrupted(batch["image"], chances)
    return F.mse_loss(model(x).float().sigmoid(), y.float())


def corrupted(images: Tensor, chances: Chances = PUBLISHED) -> tuple[Tensor, Tensor]:
    """(x, y), what the network sees and what it shall give, both as images (B, C, X, Y, Z) in [0, 1].

    Raises ScanError where values leave [0, 1] or a side is too short.
    """
    if images.ndim != 5 or min(images.shape[2:]) < LEAST:
        raise ScanError(f"Genesis was given {tuple(images.shape)}; it takes (B, C, X, Y, Z), sides of {LEAST} voxels or more.")
    if images.min() < 0 or images.max() > 1:
        raise ScanError(f"Genesis was given values from {images.min():g} to {images.max():g}; window the image to [0, 1] first.")
    pairs = [_pair(image, chances) for image in images]
    return torch.stack([x for x, _ in pairs]), torch.stack([y for _, y in pairs])


def _pair(image: Tensor, chances: Chances) -> tuple[Tensor, Tensor]:
    x = y = flipped(image, chances.flip)
    if happens(chances.shuffle):
        x = shuffled(x, chances.boxes)
    if happens(chances.curve):
        x = curved(x)
    if happens(chances.paint):
        x = painted_outside(x) if happens(chances.outer) else painted_inside(x)
    return x, y


def flipped(image: Tensor, chance: float = PUBLISHED.flip) -> Tensor:
    """(C, X, Y, Z) turned over along a random axis, up to three times, each only if the one before happened."""
    for _ in range(3):
        if not happens(chance):
            break
        image = image.flip(1 + _whole(0, 2))
    return image


def shuffled(image: Tensor, boxes: int = PUBLISHED.boxes) -> Tensor:
    """Local pixel shuffling of (C, X, Y, Z): texture goes, shape stays."""
    source, _ = shuffle_sources(image.shape[1:], boxes, image.device)
    return image.flatten(1)[:, source].view_as(image)


def shuffle_sources(sides: tuple[int, ...], boxes: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """From where each voxel is read, (voxels,) flat indices, and whether it lies in a box, (voxels,) bool.

    Each box has sides of 1 to side // 10 voxels and is a permutation of what was there before any of them; of two that overlap
    the later one counts.
    """
    sides = torch.tensor(sides, device=device)
    most, strides = sides // 10, torch.stack([sides[1] * sides[2], sides[2], torch.ones_like(sides[0])])
    cells = torch.cartesian_prod(*[torch.arange(int(n), device=device) for n in most])  # (n, 3): a box of full size
    source = torch.arange(int(sides.prod()), device=device)
    covered = torch.zeros_like(source, dtype=torch.bool)
    original = source.clone()
    at_once = max(1, 2_000_000 // len(cells))
    for first in range(0, boxes, at_once):
        count = min(at_once, boxes - first)
        size = 1 + _below(most.expand(count, 3))
        start = _below(sides - size + 1)
        inside = (cells < size[:, None]).all(-1)  # (boxes, n)
        place = ((start[:, None] + cells) * strides).sum(-1)
        order = torch.rand(inside.shape, device=device).masked_fill(~inside, 2).argsort(1)  # inside first, in random order
        row = (~inside).to(torch.uint8).argsort(stable=True, dim=1)  # inside first, in order
        filled = torch.arange(len(cells), device=device) < inside.sum(1, keepdim=True)
        to, origin = place.gather(1, row)[filled], place.gather(1, order)[filled]
        box = torch.arange(count, device=device)[:, None].expand_as(filled)[filled]
        last = torch.full_like(source, -1).scatter_reduce(0, to, box, "amax")
        wins = last[to] == box
        source[to[wins]] = original[origin[wins]]
        covered[to] = True
    return source, covered


def curved(image: Tensor) -> Tensor:
    """Values in [0, 1] through a random cubic Bezier curve from corner to corner: rising, or (half the time) falling."""
    x, y = bezier(torch.rand(2, 2, dtype=torch.float64), rising=not happens(0.5))
    return _interpolated(image, x.to(image), y.to(image))


def bezier(controls: Tensor, rising: bool, points: int = 100_000) -> tuple[Tensor, Tensor]:
    """The curve through (0, 0) and (1, 1) with controls (2, 2) as (points,) x, ascending, and y.

    Rising: both coordinates are sorted, so the map is monotone. Falling: y runs from the far end, so light becomes dark; between
    the ends it may rise for a while.
    """
    t = torch.linspace(0, 1, points, dtype=controls.dtype)
    weights = torch.stack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], dim=1)
    corners = controls.new_tensor([[0, 0], [1, 1]])
    x, y = (weights @ torch.cat([corners[:1], controls, corners[1:]])).T
    return x.sort().values, y.sort().values if rising else y.flip(0)


def painted_inside(image: Tensor) -> Tensor:
    """In-painting: up to five boxes of a sixth to a third of each side become noise, the same in all channels."""
    image = image.clone()
    for _ in range(5):
        if not happens(0.95):
            break
        box = _window([_whole(n // 6, n // 3) for n in image.shape[1:]], image.shape[1:])
        image[(slice(None), *box)] = torch.rand_like(image[(0, *box)])
    return image


def painted_outside(image: Tensor) -> Tensor:
    """Out-painting: all becomes noise but one to five windows, whose sides are those of the cube less 3/7 to 4/7."""
    noise = torch.rand_like(image)
    for number in range(5):
        if number and not happens(0.95):
            break
        box = _window([n - _whole(3 * n // 7, 4 * n // 7) for n in image.shape[1:]], image.shape[1:])
        noise[(slice(None), *box)] = image[(slice(None), *box)]
    return noise


def _window(size: list[int], sides: tuple[int, ...], margin: int = 3) -> tuple[slice, ...]:
    """A box of that size somewhere in the cube, ``margin`` voxels from its border or more."""
    starts = [_whole(margin, n - s - margin) for s, n in zip(size, sides)]
    return tuple(slice(start, start + s) for start, s in zip(starts, size))


def _interpolated(values: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Piecewise linear through (x, y), x ascending."""
    right = torch.searchsorted(x, values.contiguous()).clamp(1, len(x) - 1)
    step = (x[right] - x[right - 1]).clamp(min=torch.finfo(x.dtype).tiny)
    share = ((values - x[right - 1]) / step).clamp(0, 1)
    return torch.lerp(y[right - 1], y[right], share)


def _whole(least: int, most: int) -> int:
    """A whole number, both ends included."""
    return int(torch.randint(least, most + 1, ()))


def _below(limits: Tensor) -> Tensor:
    """For each limit a whole number from 0 to it, itself not included."""
    return torch.minimum((torch.rand(limits.shape, device=limits.device) * limits).long(), limits - 1)  # float32 may round up
