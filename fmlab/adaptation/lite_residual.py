"""TinyTL: biases, and a lite residual beside each block that works at half resolution, so that few activations need be kept.

    y = block(x) + up(BN(W1 * grouped 5x5x5(pool(x))))

Source: Cai et al. 2020, arXiv:2007.11622, figure 3.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.adaptation.added import Added
from fmlab.adaptation.selective import bitfit
from fmlab.adaptation.sites import convolutions, replace
from fmlab.backbones.segmenter import Segmenter
from fmlab.errors import ModelError


class LiteResidual(Added):
    """A convolution of the encoder with the lite residual beside it; the last norm begins at 0, so that it begins as nothing.

    groups: of the 5x5x5 convolution, at most; None: each channel by itself. Group norms, as a few-shot batch is too small for
    batch norms.
    """

    def __init__(self, base: nn.Conv3d, groups: int | None = None):
        super().__init__(base)
        inputs, outputs = base.in_channels, base.out_channels
        self.path = nn.Sequential(
            nn.Conv3d(inputs, inputs, kernel_size=5, padding=2, groups=math.gcd(inputs, groups or inputs), bias=False),
            nn.GroupNorm(1, inputs), nn.ReLU(inplace=True),
            nn.Conv3d(inputs, outputs, kernel_size=1, bias=False), nn.GroupNorm(1, outputs))
        nn.init.zeros_(self.path[-1].weight)

    def forward(self, x: Tensor) -> Tensor:
        y = self.base(x)
        if not self.on:
            return y
        small = self.path(F.avg_pool3d(x, 2, ceil_mode=True))
        return y + F.interpolate(small, size=y.shape[2:], mode="trilinear", align_corners=False)


def lite_residual(model: Segmenter, groups: int | None = None) -> None:
    """Biases of the encoder and a lite residual at each of its 3x3x3 convolutions, before the norm.

    The paper puts it beside whole blocks of an inverted-residual network, in 2-D and with 2 groups; a U-Net's block is one
    convolution, and in 3-D 5x5x5 weights for each pair of channels are not lite, so by default each channel is by itself.
    """
    if groups is not None and groups < 1:
        raise ModelError(f"{groups} groups cannot be; give 1 or more.")
    bitfit(model)
    for name, conv in convolutions(model):
        replace(model, name, LiteResidual(conv, groups))
