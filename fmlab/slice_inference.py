"""A volume through a network that reads slices: along one axis, or along all three with a vote.

    ask = slices_of(model)                          (N, 1, A, B) to probabilities (N, K, A, B)
    p = along(ask, values, axis=2)                  (K, X, Y, Z), from axial slices alone
    labels = voted(ask, values).argmax(0)           the mean of the answers along X, Y and Z

Three views of each voxel: after Prasoon et al. 2013, doi:10.1007/978-3-642-40763-5_31, who gave all three to one classifier.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.errors import ModelError

Ask = Callable[[Tensor], Tensor]


def along(ask: Ask, values: Tensor, axis: int = 2) -> Tensor:
    """Probabilities (K, X, Y, Z) of a volume (X, Y, Z), whose slices across ``axis`` are asked for all at once.

    ask: (N, A, B) to (N, K, A, B); A and B are the two other axes, in their order. ModelError for another shape.
    """
    if values.ndim != 3 or axis not in (0, 1, 2):
        raise ModelError(f"Slices of {tuple(values.shape)} along axis {axis!r} cannot be; give a volume (X, Y, Z) and 0, 1 or 2.")
    slices = values.movedim(axis, 0)
    found = ask(slices)
    if found.ndim != 4 or (len(found), *found.shape[2:]) != tuple(slices.shape):
        raise ModelError(f"Slices of {tuple(slices.shape)} were answered with {tuple(found.shape)}; give (N, K, A, B).")
    return found.movedim(1, 0).movedim(1, 1 + axis)


def voted(ask: Ask, values: Tensor, axes: Sequence[int] = (0, 1, 2)) -> Tensor:
    """The mean (K, X, Y, Z) of the probabilities along some axes; its largest is the vote, in which sure answers count more."""
    return torch.stack([along(ask, values, axis) for axis in axes]).mean(0)


def slices_of(model: nn.Module, stack: int = 1, stride: int = 8) -> Ask:
    """A 2-D network (B, stack, A, B) to logits, as something to ask: its softmax, sides filled up with 0 to the stride.

    stack: neighbouring slices that the network reads to answer for the middle one; at the ends the last one stands for those
    beyond.
    """
    @torch.no_grad()
    def ask(slices: Tensor) -> Tensor:
        a, b = slices.shape[1:]
        near = (torch.arange(len(slices))[:, None] + torch.arange(stack) - stack // 2).clamp(0, len(slices) - 1)
        x = F.pad(slices[near], (0, -b % stride, 0, -a % stride))
        return model(x)[..., :a, :b].softmax(1)
    return ask
