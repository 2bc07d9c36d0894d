"""Augmentation of an episode: once for the task, as if it were another task, and once for each image, as if it were another
person.

Source: Butoi et al. 2023, doi:10.1109/ICCV51070.2023.01960, section 3.3 and its supplement. ``PUBLISHED`` are the ranges told
of it; ``NANO`` are milder ones that a small network can learn from in an hour.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Ranges:
    """Each property with the probability p_ that it is changed, and how far.

    turn: degrees. move: share of the side. size: lowest and highest scale. bend: pixels of a smooth displacement. brightness,
    contrast: +- of a shift, +- of a factor. blur: highest sigma, pixels. noise: highest sd.
    """

    p_affine: float = 0.5
    turn: float = 180.0
    move: float = 0.2
    size: tuple[float, float] = (0.8, 1.1)
    p_bend: float = 0.25
    bend: float = 2.0
    p_light: float = 0.5
    brightness: float = 0.1
    contrast: float = 0.2
    p_blur: float = 0.5
    blur: float = 1.1
    p_noise: float = 0.5
    noise: float = 0.05
    p_sharp: float = 0.5
    p_flip: float = 0.5
    p_invert: float = 0.5
    p_swap: float = 0.5
    p_edges: float = 0.5


@dataclass(frozen=True)
class Augmentation:
    """task: drawn once an episode. image: drawn for the query and each support image on its own."""

    task: Ranges
    image: Ranges


_NEVER = {"p_flip": 0.0, "p_invert": 0.0, "p_swap": 0.0, "p_edges": 0.0}
PUBLISHED = Augmentation(Ranges(), Ranges(p_bend=0.8, bend=2.5, p_light=0.25, contrast=0.5, p_blur=0.25, p_noise=0.25,
                                          p_sharp=0.25, **_NEVER))
NANO = Augmentation(
    Ranges(turn=30.0, move=0.1, bend=1.5, p_blur=0.2, p_noise=0.2, p_sharp=0.1, p_invert=0.2, p_swap=0.05, p_edges=0.05),
    Ranges(turn=8.0, move=0.05, size=(0.9, 1.1), p_bend=0.5, bend=1.0, p_light=0.5, brightness=0.06, contrast=0.15, p_blur=0.15,
           blur=0.7, p_noise=0.4, noise=0.04, p_sharp=0.1, **_NEVER))
NONE = Augmentation(*[Ranges(**{name: 0.0 for name in Ranges.__dataclass_fields__ if name.startswith("p_")})] * 2)


def augmented(images: Tensor, masks: Tensor, ranges: Augmentation, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Another episode of the same kind: images (N, 1, H, W) in [0, 1], masks (N, 1, H, W) of 0 and 1, the query among them."""
    if rng.random() < ranges.task.p_edges:
        masks = edges(masks)
    if rng.random() < ranges.task.p_swap:
        masks = 1 - masks
    count, side = len(images), images.shape[-1]
    task = _affine(ranges.task, rng)
    turned = torch.from_numpy(np.stack([task @ _affine(ranges.image, rng) for _ in range(count)])[:, :2]).float()
    grid = F.affine_grid(turned, list(images.shape), align_corners=False)
    grid = grid + _bends(ranges.task, 1, side, rng) + _bends(ranges.image, count, side, rng)
    both = F.grid_sample(torch.cat([images, masks], dim=1), grid, mode="bilinear", padding_mode="border", align_corners=False)
    images, masks = both[:, :1], (both[:, 1:] >= 0.5).float()
    if rng.random() < ranges.task.p_flip:
        axis = int(rng.integers(2, 4))
        images, masks = images.flip(axis), masks.flip(axis)
    images = lit(images, ranges.task, rng)
    images = torch.cat([lit(image[None], ranges.image, rng) for image in images])
    return (1 - images if rng.random() < ranges.task.p_invert else images), masks


def lit(images: Tensor, ranges: Ranges, rng: np.random.Generator) -> Tensor:
    """The same change of light, sharpness and noise for all images (N, 1, H, W), in [0, 1] before and after; the noise
    differs."""
    if rng.random() < ranges.p_light:
        mean = images.mean()
        factor, shift = 1 + rng.uniform(-1, 1) * ranges.contrast, rng.uniform(-1, 1) * ranges.brightness
        images = (images - mean) * factor + mean + shift
    if rng.random() < ranges.p_sharp:
        images = images + rng.uniform(0.5, 2.0) * (images - blurred(images, 1.0))
    if rng.random() < ranges.p_blur:
        images = blurred(images, rng.uniform(0.1, ranges.blur))
    if rng.random() < ranges.p_noise:
        noise = torch.from_numpy(rng.standard_normal(tuple(images.shape), dtype=np.float32)).to(images)
        images = images + noise * rng.uniform(0, ranges.noise)
    return images.clamp(0, 1)


def edges(masks: Tensor) -> Tensor:
    """The rims of masks (N, 1, H, W), two pixels wide: where Sobel's gradient is not zero."""
    return (F.max_pool2d(masks, 3, 1, 1) != -F.max_pool2d(-masks, 3, 1, 1)).float()


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Gaussian of sigma pixels, five taps an axis."""
    taps = torch.exp(-0.5 * (torch.arange(-2, 3, device=images.device) / sigma) ** 2)
    taps = (taps / taps.sum()).to(images.dtype)
    wide = F.pad(images, (2, 2, 2, 2), mode="replicate")
    return F.conv2d(F.conv2d(wide, taps.view(1, 1, 5, 1)), taps.view(1, 1, 1, 5))


def _affine(ranges: Ranges, rng: np.random.Generator) -> np.ndarray:
    """(3, 3) from places in the new image to places in the old one, in grid_sample's units."""
    if rng.random() >= ranges.p_affine:
        return np.eye(3)
    angle, scale = np.radians(rng.uniform(-1, 1) * ranges.turn), rng.uniform(*ranges.size)
    turned = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, scale]]) / scale
    turned[:2, 2] = rng.uniform(-2, 2, 2) * ranges.move
    return turned


def _bends(ranges: Ranges, count: int, side: int, rng: np.random.Generator) -> Tensor | float:
    """Smooth displacements (count, H, W, 2) in grid_sample's units, for each image with its probability."""
    strength = np.where(rng.random(count) < ranges.p_bend, rng.uniform(0, ranges.bend, count), 0)
    if not strength.any():
        return 0.0
    knots = rng.normal(0, 1, (count, 2, 5, 5)) * (strength * 2 / side)[:, None, None, None]
    field = F.interpolate(torch.from_numpy(knots.astype(np.float32)), size=(side, side), mode="bicubic", align_corners=True)
    return field.permute(0, 2, 3, 1)
