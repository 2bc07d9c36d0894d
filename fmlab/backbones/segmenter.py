"""What every backbone offers, and how a head is put on it: Yhat = sigma(theta_c(theta_f(X))), with sigma left to the caller."""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from fmlab.errors import ModelError


@runtime_checkable
class Backbone(Protocol):
    """theta_f: an encoder-decoder that gives one feature vector per voxel and knows nothing of classes.

    channels: C of Z. deep_channels: channels of the deepest level. stride: each side of X must be a multiple of it; the deepest
    level has 1/stride of each side. in_channels: channels of X. ``parts``, where it has them: "encoder" and "decoder" -> how the
    names of their tensors begin, for ``pretraining.transfer``.
    """

    in_channels: int
    channels: int
    deep_channels: int
    stride: int

    def features(self, x: Tensor) -> Tensor:
        """Z (B, channels, X, Y, Z) of x (B, in_channels, X, Y, Z). ModelError says what is wrong with a size."""

    def deep_and_features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Deepest level (B, deep_channels, X/stride, Y/stride, Z/stride) and Z, for methods that read both."""


class Segmenter(nn.Module):
    """A backbone and a head: logits theta_c(theta_f(X)), before any sigmoid or softmax.

    backbone: any ``Backbone``. head: a module from Z (B, C, X, Y, Z) to logits (B, K, X, Y, Z); ``linear_head`` is the plain one.
    """

    def __init__(self, backbone: Backbone, head: nn.Module):
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K, X, Y, Z) of x (B, in_channels, X, Y, Z)."""
        return self.head(self.backbone.features(x))


def linear_head(channels: int, classes: int) -> nn.Conv3d:
    """theta_c as all published models of the course have it: one 1x1x1 convolution with bias, C x K + K numbers."""
    if channels < 1 or classes < 1:
        raise ModelError(f"A head from {channels} channels to {classes} classes cannot be; give at least 1 of each.")
    return nn.Conv3d(channels, classes, kernel_size=1)


def check_input(backbone: Backbone, x: Tensor, samples: int = 1) -> None:
    """ModelError unless x is (B, in_channels, X, Y, Z) with sides that are multiples of the stride.

    samples: how many samples share the statistics of a norm. At the deepest level the norm needs more than one value, because
    normalising a single value leaves nothing of it.
    """
    name, stride = type(backbone).__name__, backbone.stride
    if x.ndim != 5 or x.shape[1] != backbone.in_channels:
        raise ModelError(f"{name} was given {tuple(x.shape)}; it takes (B, {backbone.in_channels}, X, Y, Z).")
    sides = tuple(x.shape[2:])
    if any(side < stride or side % stride for side in sides):
        raise ModelError(f"{name} was given a volume of {_size(sides)}; pad or crop each side to a multiple of {stride}.")
    if samples * math.prod(side // stride for side in sides) < 2:
        raise ModelError(
            f"{name} was given a volume of {_size(sides)}, a single voxel at its deepest level, which cannot be normalised; "
            f"make a side at least {2 * stride}.")


def _size(sides: tuple[int, ...]) -> str:
    return " x ".join(map(str, sides))
