"""Readers who do not agree: each draws the same structure a little wider or narrower than the next, and never twice alike.

What Tyche is trained on where a task has one mask only; real sets have several readers' masks (LIDC-IDRI, QUBIQ).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fmlab.incontext.augment import blurred


def redrawn(masks: Tensor, rng: np.random.Generator, habit: float = 0.3, slip: float = 0.12, reach: float = 1.5) -> Tensor:
    """Masks (N, 1, H, W) of 0 and 1, each drawn again by a reader of its own.

    A reader draws where the smoothed mask (Gaussian, ``reach`` pixels) is above a threshold: 1/2 and the reader's habit, up to
    +-``habit``, which makes all of the outline wider or narrower, and a slip, which wanders along it (sd). What would vanish is
    left as it was.
    """
    count, side = len(masks), masks.shape[-1]
    bias = torch.from_numpy(rng.uniform(-habit, habit, (count, 1, 1, 1)).astype(np.float32))
    knots = torch.from_numpy(rng.normal(0, slip, (count, 1, 6, 6)).astype(np.float32))
    wander = F.interpolate(knots, size=(side, side), mode="bicubic", align_corners=True)
    threshold = (0.5 + bias + wander).clamp(0.05, 0.95)  # nothing is drawn far away, no hole inside
    drawn = (blurred(masks, reach) > threshold).to(masks.dtype)
    return torch.where(drawn.flatten(1).any(1)[:, None, None, None], drawn, masks)
