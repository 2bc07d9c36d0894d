"""SAM-Med2D's way in and out: 256 x 256, ImageNet's mean and deviation first; small images padded, others by nearest neighbour.

Source: Cheng et al. 2023, arXiv:2308.16184. Its scripts read pictures by OpenCV, blue first, and never swap: so blue is
normalised by red's constants. Grey images do not notice.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fmlab.interactive.preprocess_sam import normalised
from fmlab.interactive.preprocessing import Frame, colour, placed, taken_back


def framed(height: int, width: int, side: int = 256) -> Frame:
    """Both sides below ``side``: in the middle, the odd pixel of filling at the right and the bottom. Otherwise stretched."""
    if max(height, width) < side:
        return Frame((height, width), (height, width), (side, side), ((side - height) // 2, (side - width) // 2))
    return Frame((height, width), (side, side), (side, side), (0, 0))


def preprocess(image: np.ndarray, side: int = 256, bgr: bool = True) -> tuple[Tensor, Frame]:
    """(H, W, 3) red first, or (H, W), uint8, to (1, 3, side, side) float32. bgr: blue first, as the released weights know it."""
    pixels = torch.from_numpy(colour(image).copy()).permute(2, 0, 1).float()
    normal = normalised(pixels.flip(0) if bgr else pixels)
    return _in_frame(normal, frame := framed(*pixels.shape[1:], side)), frame


def preprocess_mask(mask: np.ndarray | Tensor, side: int = 256) -> Tensor:
    """A mask (H, W) as the image: (1, 1, side, side) float32."""
    pixels = torch.as_tensor(mask)[None].float()
    return _in_frame(pixels, framed(*pixels.shape[1:], side))


def postprocess(logits: Tensor, frame: Frame) -> Tensor:
    """(N, M, side/4, side/4) to logits (N, M, H, W) of the image; the mask is where they are above 0."""
    large = F.interpolate(logits, frame.model, mode="bilinear", align_corners=False)
    if frame.inner == frame.original:
        return taken_back(large, frame)
    return F.interpolate(large, frame.original, mode="bilinear", align_corners=False)


def _in_frame(pixels: Tensor, frame: Frame) -> Tensor:
    return placed(F.interpolate(pixels[None], frame.inner, mode="nearest"), frame)  # "nearest" is OpenCV's: rounded down
