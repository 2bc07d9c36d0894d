"""From density to image: what the scanner adds and takes away."""

from __future__ import annotations

import math
from zlib import crc32

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv3d, pad

from fmlab.phantom.canvas import Canvas, Waves
from fmlab.phantom.centres import Centre
from fmlab.phantom.person import Person


def scan(canvas: Canvas, person: Person, centre: Centre) -> Tensor:
    """Image of the painted body in HU, (X, Y, Z) float32 with whole numbers in [-1024, 3071]."""
    spacing = [float(axis[1] - axis[0]) for axis in canvas.axes]
    hu = _mottle(canvas, person)
    hu = _table(canvas, hu)
    hu = hu - _hardening(hu, canvas.label > 0, spacing, centre.hardening)
    hu = _blur(hu, [0.9 / spacing[0], 0.9 / spacing[1], 0.29 * centre.slice_mm / spacing[2]])
    hu = hu + _noise(canvas, person, centre, spacing) + centre.offset
    return hu.round().clamp(-1024, 3071)


def _mottle(canvas: Canvas, person: Person) -> Tensor:
    """Uneven perfusion and structure too fine to draw: slow and fine random fields, weaker in air."""
    rng = person.rng("mottle")
    slow, fine = Waves(rng, 16, 40, 120)(*canvas.axes), Waves(rng, 48, 9, 22)(*canvas.axes)
    soft = (canvas.hu > -300).float()
    fat = (canvas.hu < -60).float() * soft
    spongy = (canvas.hu > 130).float() * (canvas.hu < 450)
    amount = 1.0 + 1.2 * fat + 4.5 * spongy
    return canvas.hu + soft * amount * (2.2 * slow + 3.2 * fine).float()


def _table(canvas: Canvas, hu: Tensor) -> Tensor:
    """The table top: a thin curved shell just behind the back, outside the body."""
    x, y, _ = canvas.axes
    rows = torch.nonzero((canvas.label > 0).any(2).any(0))
    if len(rows) == 0:
        return hu
    back = float(y[rows[0, 0]]) - 7.0
    shell = (y[None] - (back + 0.0011 * x[:, None] ** 2)).abs() - 1.5
    cover = (0.5 - shell / canvas.width).clamp(0, 1).float()[..., None]
    return torch.where(canvas.label == 0, hu + cover * 620, hu)


def _hardening(hu: Tensor, body: Tensor, spacing: list[float], strength: float) -> Tensor:
    """Dark band (HU to subtract) between two dense bones on the same ray: grows with the bone on the thinner side."""
    bone = (hu > 260).float() * spacing[0]
    before = bone.cumsum(0)
    both = torch.minimum(before, bone.sum(0, keepdim=True) - before)
    return _blur((strength * (both - 14).clamp(0, 40)) * body * (bone == 0), [1.2, 0.9, 0.6])


def _gaussian(sigma: float, device: torch.device) -> Tensor:
    radius = max(1, math.ceil(3 * sigma))
    t = torch.arange(-radius, radius + 1, dtype=torch.float32, device=device)
    weights = (-0.5 * (t / max(sigma, 1e-3)) ** 2).exp()
    return weights / weights.sum()


def _blur(image: Tensor, sigmas: list[float]) -> Tensor:
    """Separable Gaussian with a width in voxels an axis; edges repeat."""
    out = image[None, None].float()
    for axis, sigma in enumerate(sigmas):
        if sigma < 0.15:
            continue
        kernel = _gaussian(sigma, image.device)
        shape, margin = [1, 1, 1], [0] * 6
        shape[axis] = len(kernel)
        margin[4 - 2 * axis] = margin[5 - 2 * axis] = len(kernel) // 2
        out = conv3d(pad(out, margin, mode="replicate"), kernel.view(1, 1, *shape))
    return out[0, 0]


def _noise(canvas: Canvas, person: Person, centre: Centre, spacing: list[float]) -> Tensor:
    """Quantum noise: correlated as the reconstruction kernel leaves it, stronger deep inside and through bone.

    A soft kernel smooths the noise; a sharp one suppresses its slow part. Drawn on the CPU, so that the image does not
    depend on the device.
    """
    rng = np.random.default_rng([person.seed, crc32(b"noise")])
    white = torch.from_numpy(rng.standard_normal(canvas.label.shape, dtype=np.float32)).to(canvas.hu.device)
    width = 1.3 if centre.kernel == "soft" else 0.5
    noise = _blur(white, [width / spacing[0], width / spacing[1], 0.25 * centre.slice_mm / spacing[2]])
    if centre.kernel == "sharp":
        noise = noise - 0.7 * _blur(white, [3.0 / spacing[0], 3.0 / spacing[1], 0.25])
    noise = noise / noise.std().clamp_min(1e-6)
    x, y, _ = canvas.points
    deep = 1.15 - 0.35 * ((x / 170).square() + (y / 120).square()).clamp(max=1.2)
    across = ((canvas.hu > -300).float().sum(0, keepdim=True) * spacing[0] / 300).clamp(0.3, 1.6)
    return noise * centre.noise * deep.float() * across.sqrt() * torch.where(canvas.hu < -900, 0.75, 1.0)
