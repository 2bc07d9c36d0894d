"""Paper to paint on: colours in [0, 1], soft masks that mix or multiply, blobs and smooth random fields."""

from __future__ import annotations

import numpy as np
import torch

Colour = tuple[float, float, float]


class Paper:
    """A square colour picture under way. rgb: (size, size, 3) float32; x, y: of each pixel, from -1 to 1, y down."""

    def __init__(self, size: int):
        self.size = size
        self.rgb = np.zeros((size, size, 3), dtype=np.float32)
        centres = ((np.arange(size) + 0.5) * 2 / size - 1).astype(np.float32)
        self.x, self.y = centres[None, :], centres[:, None]

    def distance(self, place: tuple[float, float], squeeze: float = 1.0) -> np.ndarray:
        """How far each pixel is from a place, (size, size); ``squeeze`` above 1 makes equal distances taller than wide."""
        return np.hypot((self.x - place[0]) * squeeze, self.y - place[1])

    def mix(self, colour: Colour | np.ndarray, cover: np.ndarray) -> None:
        """Cover with a colour, in part where ``cover`` (size, size) is below 1."""
        self.rgb += cover[..., None] * (np.asarray(colour, dtype=np.float32) - self.rgb)

    def multiply(self, colour: Colour, cover: np.ndarray) -> None:
        """Darken by a colour, as a glaze does: what is below stays visible."""
        self.rgb *= 1 - cover[..., None] * (1 - np.asarray(colour, dtype=np.float32))

    def blob(self, place: tuple[float, float], radius: float, colour: Colour, rng: np.random.Generator, strength: float = 1.0,
             soft: float = 0.3, long: float = 1.0, angle: float = 0.0, rough: float = 0.0, glaze: bool = False) -> None:
        """A spot. soft: share of the radius that fades. long: length over width, along ``angle``. rough: uneven outline."""
        reach = radius * long * (1.5 + soft)
        half = self.size / 2
        low = np.clip(((np.array(place) + 1 - reach) * half).astype(int), 0, self.size)
        high = np.clip(((np.array(place) + 1 + reach) * half).astype(int) + 1, 0, self.size)
        columns, rows = slice(low[0], high[0]), slice(low[1], high[1])
        x, y = self.x[:, columns] - place[0], self.y[rows] - place[1]
        u, v = np.cos(angle) * x + np.sin(angle) * y, -np.sin(angle) * x + np.cos(angle) * y
        far = np.hypot(u / long, v) / radius
        if rough:
            around, waves = np.arctan2(v, u), rng.uniform(0, 2 * np.pi, 3)
            far = far * (1 + rough * sum(np.sin(k * around + wave) / k for k, wave in zip((2, 3, 5), waves)))
        cover = strength * falling(far, 1.0, max(soft, 0.02) / 4)[..., None]
        part, tone = self.rgb[rows, columns], np.asarray(colour, dtype=np.float32)
        self.rgb[rows, columns] = part * (1 - cover * (1 - tone)) if glaze else part + cover * (tone - part)


def falling(distance: np.ndarray, radius: float, edge: float) -> np.ndarray:
    """1 well within a radius, 0 well outside, softly between: a logistic curve of width ``edge``."""
    return 1 / (1 + np.exp(np.clip((distance - radius) / edge, -30, 30)))


def smooth(size: int, rng: np.random.Generator, knots: int) -> np.ndarray:
    """A smooth random field (size, size) of mean 0 and deviation about 1; more knots, finer."""
    coarse = torch.from_numpy(rng.normal(0, 1, (1, 1, knots, knots)).astype(np.float32))
    return torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True)[0, 0].numpy()
