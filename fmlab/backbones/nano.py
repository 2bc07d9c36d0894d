"""nano: the course's own small 3-D U-Net, made to be trained on a laptop in minutes and to ship in under 6 MB."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fmlab.backbones.segmenter import check_input
from fmlab.errors import ModelError


class Block(nn.Module):
    """3x3x3 convolution, instance norm, leaky ReLU: (B, in, X, Y, Z) to (B, out, X, Y, Z), sides divided by ``step``."""

    def __init__(self, inputs: int, outputs: int, step: int = 1):
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, kernel_size=3, stride=step, padding=1, bias=False)  # the norm has the shift
        self.norm = nn.InstanceNorm3d(outputs, affine=True)
        self.act = nn.LeakyReLU(0.01, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))


class Up(nn.Module):
    """Double the sides, put the encoder's level beside it, convolve once."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.up = nn.ConvTranspose3d(inputs, outputs, kernel_size=2, stride=2)
        self.mix = Block(2 * outputs, outputs)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.mix(torch.cat([self.up(x), skip], dim=1))


class Nano(nn.Module):
    """A U-Net of four levels with 16, 32, 64 and 128 channels: about 1.25 million parameters, 5 MB.

    in_channels: channels of X. width: channels of Z and of the first level; each level below has twice as many.

    Nine tenths of the parameters lie in the two lower levels, where a convolution is cheap; at full resolution, where it is dear,
    there are two. Instance norm, so that a sample's result does not depend on its batch.
    Source: after Cicek et al. 2016, doi:10.1007/978-3-319-46723-8_49, and Isensee et al. 2021, doi:10.1038/s41592-020-01008-z.
    """

    stride = 8
    parts = {"encoder": ("level",), "decoder": ("up",)}

    def __init__(self, in_channels: int = 1, width: int = 16):
        super().__init__()
        if width < 1:
            raise ModelError(f"A width of {width} cannot be; give the channels of the first level, 16 in the course's weights.")
        w = width
        self.level1 = Block(in_channels, w)
        self.level2 = nn.Sequential(Block(w, 2 * w, step=2), Block(2 * w, 2 * w))
        self.level3 = nn.Sequential(Block(2 * w, 4 * w, step=2), Block(4 * w, 4 * w))
        self.level4 = nn.Sequential(Block(4 * w, 8 * w, step=2), Block(8 * w, 8 * w))
        self.up3, self.up2, self.up1 = Up(8 * w, 4 * w), Up(4 * w, 2 * w), Up(2 * w, w)
        self.in_channels, self.channels, self.deep_channels = in_channels, w, 8 * w

    def encode(self, x: Tensor) -> list[Tensor]:
        """The encoder's four levels (B, 2^i width, X/2^i, Y/2^i, Z/2^i), i = 0 to 3, of x (B, in_channels, X, Y, Z)."""
        check_input(self, x)
        levels = [self.level1(x)]
        for level in (self.level2, self.level3, self.level4):
            levels.append(level(levels[-1]))
        return levels

    def decode(self, levels: Sequence[Tensor]) -> Tensor:
        """Z (B, width, X, Y, Z) from what ``encode`` gives, or from something of the same shapes."""
        e1, e2, e3, deep = levels
        return self.up1(self.up2(self.up3(deep, e3), e2), e1)

    def deep_and_features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Deepest level (B, 8 width, X/8, Y/8, Z/8) and Z (B, width, X, Y, Z) of x (B, in_channels, X, Y, Z)."""
        levels = self.encode(x)
        return levels[-1], self.decode(levels)

    def features(self, x: Tensor) -> Tensor:
        """Z (B, width, X, Y, Z) of x (B, in_channels, X, Y, Z); sides are multiples of 8."""
        return self.deep_and_features(x)[1]

    forward = features
