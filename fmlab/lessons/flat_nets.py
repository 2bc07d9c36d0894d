"""One U-Net two ways, for lesson 03: of slices (2-D convolutions) or of volumes (3-D), with the same names of tensors.

    flat, solid = UNet(2, classes=9), UNet(3, classes=9)
    inflate(flat, solid)                                    fmlab.pretraining.inflation

The course's ``Nano`` in shape, with batch norms in place of instance norms: in eval mode these are numbers that were learnt, so
that a slice is normalised as a volume is, and what inflation promises can be seen exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.errors import ModelError

STRIDE = 8  # sides are multiples of this


class Block(nn.Module):
    """Convolution of 3 places an axis, batch norm, leaky ReLU."""

    def __init__(self, dims: int, inputs: int, outputs: int, stride: int | tuple[int, ...] = 1):
        super().__init__()
        conv, norm = (nn.Conv2d, nn.BatchNorm2d) if dims == 2 else (nn.Conv3d, nn.BatchNorm3d)
        self.conv = conv(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False)  # the norm has the shift
        self.norm = norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, outputs, ...) of (B, inputs, ...), sides divided by the stride."""
        return F.leaky_relu(self.norm(self.conv(x)), 0.1)


class Up(nn.Module):
    """Sides times the stride, the encoder's level beside it, one convolution."""

    def __init__(self, dims: int, inputs: int, outputs: int, stride: tuple[int, ...]):
        super().__init__()
        self.up = (nn.ConvTranspose2d if dims == 2 else nn.ConvTranspose3d)(inputs, outputs, kernel_size=stride, stride=stride)
        self.mix = Block(dims, 2 * outputs, outputs)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(B, outputs, ...) of the level below (B, inputs, ...) and the encoder's own (B, outputs, ...)."""
        return self.mix(torch.cat([self.up(x), skip], dim=1))


class UNet(nn.Module):
    """Logits (B, classes, ...) of x (B, channels, X, Y) or (B, channels, X, Y, Z); four levels, each below of twice the width.

    dims: 2 or 3. across: stride along Z at each level, 2, or 1 for a network that never leaves a slice out, as nnU-Net begins
    with where slices are thick. channels: of X; for a stack of neighbouring slices their number. ModelError for other dims.
    """

    def __init__(self, dims: int, classes: int, channels: int = 1, width: int = 8, across: int = 2):
        super().__init__()
        if dims not in (2, 3):
            raise ModelError(f"A U-Net of {dims!r} dimensions cannot be; give 2 for slices or 3 for volumes.")
        w, stride = width, (2, 2, across)[:dims]
        self.dims, self.channels = dims, channels
        self.level1 = Block(dims, channels, w)
        self.level2, self.level3, self.level4 = (
            nn.Sequential(Block(dims, n, 2 * n, stride), Block(dims, 2 * n, 2 * n)) for n in (w, 2 * w, 4 * w))
        self.up3, self.up2, self.up1 = (Up(dims, 2 * n, n, stride) for n in (4 * w, 2 * w, w))
        self.head = (nn.Conv2d if dims == 2 else nn.Conv3d)(w, classes, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits; ModelError for a wrong number of axes or channels, or a side that is no multiple of STRIDE."""
        if x.ndim != 2 + self.dims or x.shape[1] != self.channels or any(side % STRIDE for side in x.shape[2:]):
            raise ModelError(f"A {self.dims}-D network was given {tuple(x.shape)}; it takes (B, {self.channels}, "
                             f"{'X, Y' if self.dims == 2 else 'X, Y, Z'}) with sides that are multiples of {STRIDE}.")
        e1 = self.level1(x)
        e2 = self.level2(e1)
        e3 = self.level3(e2)
        return self.head(self.up1(self.up2(self.up3(self.level4(e3), e3), e2), e1))
