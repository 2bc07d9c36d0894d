"""MedSAM's way in and out: exactly 1024 x 1024 by splines, [0, 1], no mean and no deviation; the sigmoid before the resize.

    x, frame = preprocess(ct_window(hu)[z])         mask = postprocess(low_resolution_logits, frame) > 0.5

Source: Ma et al. 2024, doi:10.1038/s41467-024-44824-z.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from fmlab.interactive.preprocessing import Frame, to_uint8, to_unit


def ct_window(hu: np.ndarray, level: float = 40, width: float = 400) -> np.ndarray:
    """A window (soft tissue by default) to 0..255, rounded down: uint8, any shape.

    0 and 255 are the least and greatest value that is left, as in the official script; so give a whole volume.
    """
    return to_uint8(np.clip(np.asarray(hu), level - width / 2, level + width / 2))


def percentile_window(image: np.ndarray, low: float = 0.5, high: float = 99.5) -> np.ndarray:
    """Other modalities: clipped at percentiles of the voxels above 0, to 0..255; what was 0 stays 0: uint8, any shape."""
    image = np.asarray(image)
    if not (image > 0).any():
        return np.zeros(image.shape, dtype=np.uint8)
    window = to_uint8(np.clip(image, *np.percentile(image[image > 0], (low, high))))
    return np.where(image == 0, 0, window).astype(np.uint8)


def resized(image: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """(H, W) or (H, W, C) to another (H, W), float64 in the image's own range: scikit-image's cubic resize with anti-aliasing.

    Where it shrinks by a factor f, a Gaussian of deviation (f - 1) / 2 comes first; then a cubic spline between pixel centres of
    the same field of view, mirrored at the edge, clipped to the image's range.
    """
    image = np.asarray(image, dtype=np.float64)
    factor = np.ones(image.ndim)
    factor[:2] = np.divide(image.shape[:2], shape)
    smooth = ndimage.gaussian_filter(image, np.maximum(0, (factor - 1) / 2), mode="mirror")
    spline = ndimage.zoom(smooth, 1 / factor, order=3, mode="mirror", grid_mode=True)
    return np.clip(spline, image.min(), image.max())


def preprocess(image: np.ndarray, side: int = 1024) -> tuple[Tensor, Frame]:
    """(H, W) or (H, W, 3) in 0..255 to (1, 3, side, side) float32 in [0, 1]; the aspect is not kept."""
    shape = (side, side)
    unit = torch.from_numpy(to_unit(resized(image, shape).astype(np.uint8).astype(np.float64))).float()
    channels = unit.expand(3, *shape) if unit.ndim == 2 else unit.permute(2, 0, 1)
    return channels[None].contiguous(), Frame(np.shape(image)[:2], shape, shape, (0, 0))


def postprocess(logits: Tensor, frame: Frame) -> Tensor:
    """(N, M, side/4, side/4) to probabilities (N, M, H, W) of the image; the mask is where they are above 0.5.

    The sigmoid comes first, so edges between unequal logits fall elsewhere than SAM's.
    """
    return F.interpolate(logits.sigmoid(), frame.original, mode="bilinear", align_corners=False)
