"""Randomisation: what a network must not rely on is made different in every patch, so that it meets a real scanner with grace.

Three steps, in the order in which an image comes about: ``geometry`` (another person, another position), ``tissue`` (another
contrast and diet), ``scanner`` (another machine and field of view). All take and give HU. After the idea of Billot et al. 2023,
doi:10.1016/j.media.2023.102789: labels are kept, everything about how they look is drawn anew, more widely than in life.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fmlab.vocabulary import ID

AIR = -1024.0
GUT = [ID[name] for name in ("stomach", "duodenum", "small_bowel", "colon", "rectum")]


@dataclass(frozen=True)
class Ranges:
    """How far each property goes; all draws are independent. ``NONE`` switches everything off.

    turn: degrees about each axis (sd). size: log of the overall scale (sd). shape: log of each axis' own scale (sd). warp: local
    displacement (sd, voxels). organ: HU by which each drawn structure differs (sd). contrast: log of the soft tissue's slope
    (sd). offset: HU of the whole scan (sd). shading: HU of a slow field (sd). gut: share of patients with oral contrast. gamma:
    log of an exponent on what the network reads (sd). blur: voxels (highest sd of the kernel). thick: highest slice thickness, in
    voxels. noise: HU (highest sd). cut: share of patches at whose edge the scan ends.
    """

    turn: float = 6.0
    size: float = 0.12
    shape: float = 0.06
    warp: float = 1.2
    organ: float = 12.0
    contrast: float = 0.15
    offset: float = 8.0
    shading: float = 6.0
    gut: float = 0.25
    gamma: float = 0.12
    blur: float = 0.8
    thick: float = 2.5
    noise: float = 30.0
    cut: float = 0.3


STRONG = Ranges()
NONE = Ranges(*[0.0] * 14)


def geometry(
    image: Tensor, labels: Tensor, centre: np.ndarray, side: int | Sequence[int], ranges: Ranges, rng: np.random.Generator,
    step: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """A cube of ``side`` voxels about a voxel index ``centre`` (3,), turned, scaled and warped; air outside of the scan.

    image (X, Y, Z) HU, labels (X, Y, Z): in any dtype. side: one number, or one an axis. step: voxels of the scan to one of the
    cube. Returns float32 HU (linear) and uint8 labels (nearest), each of the cube's size.
    """
    size = (side,) * 3 if isinstance(side, int) else tuple(side)
    turn = np.radians(np.clip(rng.normal(0, 1, 3), -2.5, 2.5) * ranges.turn)
    scale = np.exp(np.clip(rng.normal(0, ranges.size) + rng.normal(0, ranges.shape, 3), -0.35, 0.35))
    linear = torch.from_numpy(_rotation(*turn) / scale).float()  # a scale above 1 makes the body larger, so the steps smaller
    steps = [(torch.arange(n) - (n - 1) / 2) * step for n in size]
    place = torch.stack(torch.meshgrid(*steps, indexing="ij"), dim=-1) @ linear.T + torch.from_numpy(centre).float()
    if ranges.warp:
        knots = torch.from_numpy(rng.normal(0, rng.uniform(0, 1.5) * ranges.warp, (1, 3, 6, 6, 6)).astype(np.float32))
        place = place + F.interpolate(knots, size=size, mode="trilinear", align_corners=True)[0].permute(1, 2, 3, 0)
    last = torch.tensor([max(n - 1, 1) for n in image.shape])
    grid = (2 * place / last - 1).flip(-1)[None]  # grid_sample wants the last axis first
    lit = F.grid_sample(image[None, None].float() - AIR, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
    drawn = F.grid_sample(labels[None, None].float(), grid, mode="nearest", padding_mode="zeros", align_corners=True)
    return lit[0, 0] + AIR, drawn[0, 0].round().to(torch.uint8)


def tissue(image: Tensor, labels: Tensor, ranges: Ranges, rng: np.random.Generator) -> Tensor:
    """Another patient on another day: each drawn structure brighter or darker, gut with or without oral contrast; HU.

    Air, lung and bone keep their density; what is not drawn changes with the slope and shading of all soft tissue alone.
    """
    soft = ((image + 250) / 100).clamp(0, 1) * ((500 - image) / 250).clamp(0, 1)  # 1 from -150 to 250 HU, fading out
    shift = rng.normal(0, ranges.organ, 256).astype(np.float32)
    shift[0] = 0
    if rng.random() < ranges.gut:
        shift[GUT] += rng.uniform(0, 220)
    shading = torch.from_numpy(rng.normal(0, ranges.shading, (1, 1, 4, 4, 4)).astype(np.float32))
    field = torch.from_numpy(shift)[labels.int()] + F.interpolate(shading, size=image.shape, mode="trilinear")[0, 0]
    slope = float(np.exp(rng.normal(0, ranges.contrast)))
    return image + soft * (field + (slope - 1) * image)


def scanner(image: Tensor, labels: Tensor, ranges: Ranges, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Another machine: kernel, slice thickness, noise, calibration, and a field of view that may end inside the patch."""
    if rng.random() < 0.5:
        image = _blur(image, rng.uniform(0, 1, 3) * ranges.blur)
    if ranges.thick > 1 and rng.random() < 0.4:
        thick = rng.uniform(1, ranges.thick)
        coarse = [n if axis < 2 else max(2, round(n / thick)) for axis, n in enumerate(image.shape)]
        fewer = F.interpolate(image[None, None], size=coarse, mode="area")
        image = F.interpolate(fewer, size=image.shape, mode="trilinear", align_corners=False)[0, 0]
    noise = torch.from_numpy(rng.standard_normal(image.shape, dtype=np.float32)) * float(rng.uniform(0, ranges.noise))
    if rng.random() < 0.5:  # a soft kernel: fewer, broader grains
        noise = _blur(noise, np.full(3, 0.6))
    image = image + noise + float(rng.normal(0, ranges.offset))
    if rng.random() < ranges.cut:
        axis, far = int(rng.choice(3, p=(0.15, 0.15, 0.7))), rng.random() < 0.5
        depth = int(rng.integers(1, max(2, image.shape[axis] // 2)))
        start = image.shape[axis] - depth if far else 0
        image, labels = image.clone(), labels.clone()
        image.narrow(axis, start, depth).fill_(AIR)
        labels.narrow(axis, start, depth).zero_()
    return image.clamp(min=AIR), labels


def gamma(values: Tensor, ranges: Ranges, rng: np.random.Generator) -> Tensor:
    """An exponent on values in [0, 1], after the HU window: a display curve that nobody wrote down."""
    return values.clamp(0, 1) ** float(np.exp(rng.normal(0, ranges.gamma)))


def _rotation(a: float, b: float, c: float) -> np.ndarray:
    """Rotation (3, 3) about x by a, then y by b, then z by c (radians)."""
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return z @ y @ x


def _blur(image: Tensor, widths: np.ndarray) -> Tensor:
    """Gaussian of these sds (voxels) along the three axes, three taps each: enough for what is narrower than a voxel."""
    out = image[None, None]
    for axis, width in enumerate(widths):
        side = float(np.exp(-0.5 / max(width, 1e-3) ** 2))
        shape = [1, 1, 1]
        shape[axis] = 3
        kernel = torch.tensor([side, 1.0, side]).div(1 + 2 * side).view(1, 1, *shape)
        margin = [0] * 6
        margin[4 - 2 * axis] = margin[5 - 2 * axis] = 1
        out = F.conv3d(F.pad(out, margin, mode="replicate"), kernel)
    return out[0, 0]
