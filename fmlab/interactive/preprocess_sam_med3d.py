"""SAM-Med3D's way in and out: a crop of 128^3 about the object, z-scored by what is above 0.

    x, frame = preprocess(image, centre_of(mask))   logits = postprocess(low_resolution_logits, frame)

The image comes in RAS at 1.5 mm. Source: Wang et al. 2023, arXiv:2310.15161.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fmlab.interactive.preprocessing import Frame, placed, size_of, taken_back, volume

CT_RANGE = (-1000.0, 1000.0)
NOT_SEEN = -20.0  # logit of what lies beyond the crop


def z_normalised(image: Tensor) -> Tensor:
    """(x - mean) / deviation, both of the voxels above 0 (n - 1 below the variance), for all voxels.

    No voxel above 0, or all of them alike: the image less that mean, not divided. torchio would stop there.
    """
    above = image[image > 0]
    mean = above.mean() if len(above) else image.new_tensor(0.0)
    std = above.std() if len(above) > 1 else image.new_tensor(0.0)
    return (image - mean) / (std if std > 0 else 1.0)


def centre_of(mask: np.ndarray | Tensor) -> tuple[float, ...]:
    """The middle of a mask's bounding box in voxel edges, (first + last + 1) / 2; of the volume where the mask is empty."""
    places = torch.as_tensor(np.asarray(mask)).nonzero()
    if not len(places):
        return tuple(n / 2 for n in np.shape(mask))
    return tuple(((places.amin(0) + places.amax(0) + 1) / 2).tolist())


def framed(shape: Sequence[int], centre: Sequence[float], side: int = 128) -> Frame:
    """A cube about a centre in voxel edges; half a voxel short of it where it cannot be met."""
    start = tuple(-int(np.floor(c - side / 2)) for c in centre)
    return Frame(size_of(shape), size_of(shape), (side,) * 3, start)


def preprocess(image: np.ndarray | Tensor, centre: Sequence[float], side: int = 128, ct: bool = False) -> tuple[Tensor, Frame]:
    """A volume (X, Y, Z) or (1, X, Y, Z) to (1, 1, side, side, side): cropped or padded by 0, then z-scored.

    ct: HU clamped to +-1000 first, as the official data set does for CT. Raises ModelError for another shape.
    """
    image = volume(image)
    frame = framed(image.shape, centre, side)
    crop = placed(image, frame)
    return z_normalised(crop.clamp(*CT_RANGE) if ct else crop)[None, None], frame


def postprocess(logits: Tensor, frame: Frame) -> Tensor:
    """(N, M, side/4, ...) to logits (N, M, X, Y, Z) of the image; the mask is where they are above 0, never beyond the crop."""
    return taken_back(F.interpolate(logits, frame.model, mode="trilinear", align_corners=False), frame, NOT_SEEN)
