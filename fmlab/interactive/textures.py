"""Pictures of nothing in particular: textured shapes that cover each other. What a SAM is trained on that never saw a patient.

They stand in for photographs (SA-1B: 11 million of them, which no laptop holds): objects with edges, shades and textures, of
which any may be pointed at. Source of the idea: Kirillov et al. 2023, arXiv:2304.02643, section 5; Baradad et al. 2021, "Learning
to see by looking at noise", arXiv:2106.05963.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch.utils.data import Dataset

from fmlab.interactive.slices import object_at

LEAST = 40  # pixels of an object


class Textures(Dataset):
    """Endless pictures for ``training.train``; item n is another one at each call, as of ``Slices``.

    size: of the picture. objects: of an item; some come twice where there are fewer. shapes: most in a picture. length: what
    counts as an epoch. Items: image (1, size, size) float32 in [0, 1], masks (objects, size, size) uint8, names.
    """

    def __init__(self, size: int = 128, objects: int = 10, shapes: int = 16, length: int = 1000):
        self.size, self.objects, self.shapes, self.length = size, objects, shapes, length
        self.scans: tuple = ()

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict:
        rng = np.random.default_rng(int(torch.randint(2**31, ())))
        while True:
            image, numbers = self._picture(rng)
            found = [mask for n in rng.permutation(numbers.max() + 1) if (mask := self._piece(numbers == n, rng)) is not None]
            if found:
                masks = np.stack([found[i % len(found)] for i in range(self.objects)])
                names = "; ".join("shape" for _ in masks)
                return {"image": torch.from_numpy(image)[None], "masks": torch.from_numpy(masks).byte(), "names": names}

    def _picture(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Greys (size, size) float32 in [0, 1], and which shape each pixel shows, 0 for the ground."""
        image, numbers = texture(self.size, rng), np.zeros((self.size, self.size), dtype=np.int64)
        for n in range(1, int(rng.integers(3, self.shapes + 1)) + 1):
            mask = shape(self.size, rng)
            image[mask], numbers[mask] = texture(self.size, rng)[mask], n
        light = 1 + 0.3 * smooth(self.size, rng, 3)
        image = ndimage.gaussian_filter(image * light, rng.uniform(0.3, 1.0))
        noisy = image + rng.normal(0, rng.uniform(0, 0.05), image.shape)
        return np.clip(noisy, 0, 1).astype(np.float32), numbers

    def _piece(self, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
        """A connected piece of what is seen of a shape, if it is neither tiny nor nearly all."""
        if mask.sum() < LEAST:
            return None
        piece = object_at(mask, rng)
        return piece if LEAST <= piece.sum() <= 0.6 * piece.size else None


def shape(size: int, rng: np.random.Generator) -> np.ndarray:
    """A mask (size, size) bool: an ellipse, a polygon or a blob, somewhere, of any size up to half the picture."""
    rows, columns = np.mgrid[:size, :size] / size
    x, y, angle = rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0, np.pi)
    long = float(np.exp(rng.uniform(np.log(0.05), np.log(0.4))))
    wide = long * rng.uniform(0.3, 1)
    u = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
    v = -(columns - x) * np.sin(angle) + (rows - y) * np.cos(angle)
    kind = rng.integers(3)
    if kind == 0:
        return (u / long) ** 2 + (v / wide) ** 2 < 1
    if kind == 1:  # the common side of a few half planes
        turns = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 7)))
        return np.all([np.cos(t) * u / long + np.sin(t) * v / wide < rng.uniform(0.4, 0.9) for t in turns], axis=0) & (
            (u / long) ** 2 + (v / wide) ** 2 < 4)
    return (u / long) ** 2 + (v / wide) ** 2 + 0.8 * smooth(size, rng, 5) < 1


def texture(size: int, rng: np.random.Generator) -> np.ndarray:
    """Greys (size, size): flat, shaded, striped, chequered or mottled."""
    rows, columns = np.mgrid[:size, :size] / size
    grey, strength, kind = rng.uniform(0.05, 0.95), rng.uniform(0.03, 0.3), rng.integers(5)
    angle, waves, phase = rng.uniform(0, np.pi), rng.uniform(4, 24), rng.uniform(0, 2 * np.pi)
    along = columns * np.cos(angle) + rows * np.sin(angle)
    across = -columns * np.sin(angle) + rows * np.cos(angle)
    if kind == 0:
        return np.full((size, size), grey)
    if kind == 1:
        return grey + strength * 2 * (along - 0.5)
    if kind == 2:
        return grey + strength * np.sin(2 * np.pi * waves * along + phase)
    if kind == 3:
        return grey + strength * np.sign(np.sin(2 * np.pi * waves * along) * np.sin(2 * np.pi * waves * across))
    return grey + strength * smooth(size, rng, int(rng.integers(8, 32)))


def smooth(size: int, rng: np.random.Generator, knots: int) -> np.ndarray:
    """A smooth random field (size, size) of mean 0 and deviation about 1."""
    coarse = torch.from_numpy(rng.normal(0, 1, (1, 1, knots, knots)).astype(np.float32))
    field = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True)
    return field[0, 0].numpy().astype(np.float64)
