"""SegVol's way in and out: the whole CT by nearest neighbour to 32 x 256 x 256; z-scored by what is brighter than the mean.

Source: Du et al. 2023, arXiv:2311.13385.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fmlab.interactive.preprocessing import Frame, size_of, to_unit, volume

SHAPE = (32, 256, 256)  # depth, height, width


def foreground_normalised(image: np.ndarray) -> np.ndarray:
    """Clipped at the 0.05th and 99.95th percentile of the voxels above the mean of all, and z-scored by these voxels."""
    image = np.asarray(image)
    above = image[image > image.mean()]
    above = above if above.size else image  # a constant volume
    clipped = np.clip(image, *np.percentile(above, (0.05, 99.95)))
    return (clipped - above.mean()) / max(above.std(), 1e-8)


def normalised(image: np.ndarray) -> np.ndarray:
    """``foreground_normalised``, then by minimum and maximum to [0, 1]."""
    return to_unit(foreground_normalised(image))


def preprocess(image: np.ndarray | Tensor, shape: Sequence[int] = SHAPE) -> tuple[Tensor, Frame]:
    """A CT (D, H, W) to (1, 1, *shape) float32 in [0, 1]."""
    unit = torch.from_numpy(normalised(volume(image).cpu().numpy())).float()
    frame = Frame(size_of(unit.shape), size_of(shape), size_of(shape), (0, 0, 0))
    return F.interpolate(unit[None, None], frame.model, mode="nearest-exact"), frame


def postprocess(logits: Tensor, frame: Frame) -> Tensor:
    """Logits (N, M, d, h, w) of the decoder to (N, M, D, H, W) of the CT; the mask is where they are above 0.

    Linear to the size that the model reads, from there by nearest neighbour.
    """
    read = F.interpolate(logits, frame.model, mode="trilinear", align_corners=False)
    return F.interpolate(read, frame.original, mode="nearest")
