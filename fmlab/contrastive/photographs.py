"""A fundus photograph of your own, from a PNG or JPEG file, as the models of the course take it. It stays on this machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fmlab.contrastive.fundus import SIZE
from fmlab.errors import DataError

DARK = 0.08  # of the brightest channel: what lies outside of the field


def read_photograph(path: str | Path, size: int = SIZE) -> Tensor:
    """The picture's field, padded to a square and made ``size`` pixels wide: (1, 3, size, size) in [0, 1].

    The black border is cut off. Raises DataError for a file that is no picture, or that is black.
    """
    from PIL import Image

    try:
        with Image.open(path) as file:
            rgb = np.asarray(file.convert("RGB"), dtype=np.float32) / 255
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"The picture {path} cannot be read ({error}); give a PNG or JPEG file.") from error
    return squared_field(rgb, size, str(path))


def squared_field(rgb: np.ndarray, size: int = SIZE, where: str = "the picture") -> Tensor:
    """A photograph (H, W, 3) in [0, 1] without its black border, in the middle of a black square, (1, 3, size, size)."""
    lit = rgb.max(2) > DARK
    rows, columns = np.flatnonzero(lit.mean(1) > 0.02), np.flatnonzero(lit.mean(0) > 0.02)
    if not len(rows) or not len(columns):
        raise DataError(f"Nothing but black is seen in {where}; give a photograph of a fundus.")
    field = torch.from_numpy(rgb[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]).permute(2, 0, 1)[None]
    side = max(field.shape[2:])
    high, wide = side - field.shape[2], side - field.shape[3]
    square = F.pad(field, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
    return F.interpolate(square, size=(size, size), mode="bilinear", align_corners=False, antialias=True).clamp(0, 1)
