"""Mask prompts: what a model drew last time goes back in with the next click, each system in its own way.

| system     | before the first click   | afterwards                              | passes with the mask alone       |
|------------|--------------------------|-----------------------------------------|----------------------------------|
| SAM        | none (``no_mask_embed``) | logits of the mask with the highest IoU | a random one and the last, of 11 |
| SAM-Med2D  | none                     | their sigmoid                           | a random one and the last, of 8  |
| SAM-Med3D  | zeros: another thing     | logits of the only mask                 | one of 2 to 8 and the last of 11 |

Sources: Kirillov et al. 2023, arXiv:2304.02643, appendix A; Cheng et al. 2023, arXiv:2308.16184; Wang et al. 2023,
arXiv:2310.15161.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fmlab.errors import PromptError


def best_logits(logits: Tensor, iou: Tensor) -> Tensor:
    """(B, M, ...) low-resolution logits and (B, M) predicted IoU to (B, 1, ...): the mask that the model trusts most."""
    if logits.shape[:2] != iou.shape:
        raise PromptError(f"Logits {tuple(logits.shape)} and IoU {tuple(iou.shape)} do not fit; give (B, M, ...) and (B, M).")
    return logits[torch.arange(len(iou), device=iou.device), iou.argmax(1)][:, None]


def previous_logits(logits: Tensor) -> Tensor:
    """As they are, without gradient (SAM, SAM-Med3D)."""
    return logits.detach()


def previous_probabilities(logits: Tensor) -> Tensor:
    """Their sigmoid, without gradient (SAM-Med2D): 0.5 to 1 inside, 0 to 0.5 outside, so its weights are not SAM's."""
    return logits.detach().sigmoid()


def zero_logits(shape: Sequence[int], batch: int = 1) -> Tensor:
    """(B, 1, *shape) of zeros: every voxel is as likely as not (SAM-Med3D's first mask prompt)."""
    return torch.zeros(batch, 1, *shape)


def mask_only_passes(passes: int, rng: np.random.Generator, first: int = 2) -> frozenset[int]:
    """The passes, counted from 0, that get no click: a random one of ``first`` to passes - 3, and the last.

    With 11 passes one of 2 to 8, and 10. Below first + 3 passes only the last; with one or two passes none.
    """
    if passes < 3:
        return frozenset()
    early = {int(rng.integers(first, passes - 2))} if passes - 2 > first else set()
    return frozenset(early | {passes - 1})
