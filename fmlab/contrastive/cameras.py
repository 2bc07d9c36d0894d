"""Fundus cameras: the same eye through another instrument. Tint, exposure, sharpness, field and noise differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from fmlab.contrastive.drawing import Paper


@dataclass(frozen=True)
class Camera:
    """tint: factor of red, green, blue. gamma: above 1 darkens the middle tones. blur: sd in pixels of a 64-pixel picture.

    field: radius of the visible disc, 1 fills the picture. fall: light lost at the border. cut: share cut off above and below.
    noise: sd. wobble: how much tint and gamma vary from picture to picture.
    """

    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    gamma: float = 1.0
    blur: float = 0.25
    field: float = 0.96
    fall: float = 0.25
    cut: float = 0.0
    noise: float = 0.012
    wobble: float = 0.05


CAMERAS: dict[str, Camera] = {
    "A": Camera(),
    "B": Camera(tint=(1.06, 0.94, 0.85), gamma=1.12, blur=0.35, field=0.94, cut=0.1),
    "C": Camera(tint=(0.92, 1.05, 1.12), gamma=0.92, blur=0.2, field=0.98, fall=0.15),
    "D": Camera(tint=(1.1, 1.08, 1.3), gamma=0.85, blur=0.4, field=0.88, fall=0.4, noise=0.016),
    "E": Camera(tint=(0.88, 0.78, 0.68), gamma=1.25, blur=0.35, field=0.92, fall=0.45, cut=0.14, noise=0.02),
}
"""A to C take the pictures of pre-training. D is pale, bluish and soft, with a small field; E dark, brown and noisy."""

TRAINING, SHIFTED = ("A", "B", "C"), ("D", "E")


def photographed(paper: Paper, camera: Camera, size: int, rng: np.random.Generator) -> np.ndarray:
    """The picture (3, size, size) float32 in [0, 1] that a camera takes of what is painted; black outside its field."""
    wobbled = (np.array(camera.tint) * rng.normal(1, camera.wobble, 3)).astype(np.float32)
    gamma = camera.gamma * rng.normal(1, camera.wobble)
    middle = rng.normal(0, 0.02, 2).astype(np.float32)
    far = np.hypot(paper.x - middle[0], paper.y - middle[1])
    lit = (1 - camera.fall * far**3) * (far < 1)
    rgb = np.clip(paper.rgb * lit[..., None] * wobbled, 0, 1)
    step = 1 / camera.field
    pixels = np.arange(size)
    where = (((pixels + 0.5) * 2 / size - 1) * step + 1) * paper.size / 2 - 0.5
    sigma = np.hypot(camera.blur, 0.35) * paper.size / size * step
    rgb = ndimage.gaussian_filter(rgb, (sigma, sigma, 0))
    rgb = _sampled(rgb, where) ** np.float32(gamma)
    if camera.cut:
        rows = round(camera.cut * size)
        rgb[:rows], rgb[size - rows:] = 0, 0
    rgb = rgb + camera.noise * rng.standard_normal(rgb.shape, dtype=np.float32) * (rgb.sum(-1, keepdims=True) > 0.05)
    return np.clip(rgb, 0, 1).astype(np.float32).transpose(2, 0, 1)


def _sampled(rgb: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The values (S, S, 3) at rows and columns ``where``, straight between pixels, 0 outside."""
    padded = np.pad(rgb, ((1, 1), (1, 1), (0, 0)))
    at = np.clip(where + 1, 0, len(padded) - 1.001)
    low = at.astype(int)
    share = (at - low).astype(np.float32)[:, None, None]
    rows = padded[low] * (1 - share) + padded[low + 1] * share
    share = share[:, 0][None]
    return rows[:, low] * (1 - share) + rows[:, low + 1] * share
