"""SAM's way in and out: the longest side to 1024, ImageNet's mean and deviation, zeros at the right and the bottom.

    x, frame = preprocess(image)                    logits = postprocess(low_resolution_logits, frame)

Source: Kirillov et al. 2023, arXiv:2304.02643.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from fmlab.interactive.preprocessing import Frame, colour, placed

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
"""ImageNet's, of red, green and blue in 0..255."""


def framed(height: int, width: int, side: int = 1024) -> Frame:
    """Where an image lies: both sides by side / longest, rounded half up, at the top left."""
    scale = side / max(height, width)
    return Frame((height, width), (int(height * scale + 0.5), int(width * scale + 0.5)), (side, side), (0, 0))


def resized(image: np.ndarray, side: int = 1024) -> np.ndarray:
    """(H, W, 3) or (H, W) uint8, with its longest side at ``side``; bilinear, averaged when it shrinks, rounded to uint8."""
    image = colour(image)
    height, width = framed(*image.shape[:2], side).inner
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def normalised(pixels: Tensor) -> Tensor:
    """(..., 3, H, W) red, green, blue in 0..255, by ImageNet's mean and deviation."""
    mean, std = (torch.tensor(x, device=pixels.device).view(3, 1, 1) for x in (MEAN, STD))
    return (pixels - mean) / std


def preprocess(image: np.ndarray, side: int = 1024) -> tuple[Tensor, Frame]:
    """(H, W, 3) or (H, W) uint8 to (1, 3, side, side) float32. Zeros fill up after normalising: the mean colour, not black.

    Raises ModelError for another image.
    """
    pixels = torch.from_numpy(resized(image, side).copy()).permute(2, 0, 1).float()
    frame = framed(*np.asarray(image).shape[:2], side)
    return placed(normalised(pixels), frame)[None], frame


def postprocess(logits: Tensor, frame: Frame) -> Tensor:
    """(N, M, side/4, side/4) to logits (N, M, H, W) of the image; the mask is where they are above 0.

    Bilinear to the model's size, the filling cut off, bilinear to the image's.
    """
    large = F.interpolate(logits, frame.model, mode="bilinear", align_corners=False)
    height, width = frame.inner
    return F.interpolate(large[..., :height, :width], frame.original, mode="bilinear", align_corners=False)
