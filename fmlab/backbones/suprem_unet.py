"""The 3-D U-Net of Models Genesis, CLIP-Driven, SuPreM and FSEFT: four levels, two convolutions a level, transposed ones up."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.backbones.segmenter import check_input
from fmlab.errors import ModelError

Statistics = Literal["batch", "running"]


class ConvNormReLU(nn.Module):
    """One 3x3x3 convolution, batch norm, ReLU: (B, in, X, Y, Z) to (B, out, X, Y, Z).

    statistics "batch": mean and variance of the batch at hand, in training and in testing, as published. "running": what a batch
    norm does otherwise.
    """

    def __init__(self, inputs: int, outputs: int, statistics: Statistics):
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, outputs, kernel_size=3, padding=1)
        self.bn1 = nn.BatchNorm3d(outputs)
        self.statistics = statistics

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        if self.statistics == "batch":  # the running ones move in the original, but nothing ever reads them
            return F.relu(F.batch_norm(x, None, None, self.bn1.weight, self.bn1.bias, training=True, eps=self.bn1.eps))
        return F.relu(self.bn1(x))

    def extra_repr(self) -> str:
        return f"statistics={self.statistics!r}"


class Down(nn.Module):
    """A level of the encoder: channels double in the second convolution."""

    def __init__(self, inputs: int, width: int, statistics: Statistics):
        super().__init__()
        self.ops = nn.Sequential(ConvNormReLU(inputs, width, statistics), ConvNormReLU(width, 2 * width, statistics))

    def forward(self, x: Tensor) -> Tensor:
        return self.ops(x)


class Up(nn.Module):
    """A level of the decoder: double the sides, put the encoder's level beside it, convolve twice."""

    def __init__(self, inputs: int, skip: int, statistics: Statistics):
        super().__init__()
        self.up_conv = nn.ConvTranspose3d(inputs, inputs, kernel_size=2, stride=2)
        self.ops = nn.Sequential(ConvNormReLU(inputs + skip, skip, statistics), ConvNormReLU(skip, skip, statistics))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.ops(torch.cat([self.up_conv(x), skip], dim=1))


class SuPreMUNet(nn.Module):
    """The U-Net of the SuPreM family, 32 to 512 channels, Z of 64: 19,073,600 parameters as published.

    in_channels: channels of X. width: channels of the first convolution; Z has twice as many. statistics: "batch" as published,
    where the samples of a batch influence each other in testing too, or "running".

    Names of parameters are the official ones. Raises ModelError for statistics or a size that does not exist.
    Source: Zhou et al. 2021 (Models Genesis), doi:10.1016/j.media.2020.101840; Liu et al. 2023 (CLIP-Driven),
    doi:10.1109/ICCV51070.2023.01934; Li et al. 2024 (SuPreM, no DOI: openreview.net/forum?id=AhizIPytk4).
    """

    stride = 8
    parts = {"encoder": ("down_tr",), "decoder": ("up_tr",)}
    official_keys = (("classifier.final_conv.", "head."), ("classifier.0.linear.", "head."), ("out_tr.final_conv.", "head."))

    def __init__(self, in_channels: int = 1, width: int = 32, statistics: Statistics = "batch"):
        super().__init__()
        if statistics not in ("batch", "running"):
            raise ModelError(f"There are no {statistics!r} statistics; choose 'batch' for published weights, or 'running'.")
        if width < 1:
            raise ModelError(f"A width of {width} cannot be; give the channels of the first convolution, 32 as published.")
        self.down_tr64 = Down(in_channels, width, statistics)
        self.down_tr128 = Down(2 * width, 2 * width, statistics)
        self.down_tr256 = Down(4 * width, 4 * width, statistics)
        self.down_tr512 = Down(8 * width, 8 * width, statistics)
        self.up_tr256 = Up(16 * width, 8 * width, statistics)
        self.up_tr128 = Up(8 * width, 4 * width, statistics)
        self.up_tr64 = Up(4 * width, 2 * width, statistics)
        self.in_channels, self.channels, self.deep_channels = in_channels, 2 * width, 16 * width
        self.statistics = statistics

    def deep_and_features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Deepest level (B, 16 width, X/8, Y/8, Z/8) and Z (B, 2 width, X, Y, Z) of x (B, in_channels, X, Y, Z)."""
        check_input(self, x, samples=x.shape[0])
        e1 = self.down_tr64(x)
        e2 = self.down_tr128(F.max_pool3d(e1, 2))
        e3 = self.down_tr256(F.max_pool3d(e2, 2))
        deep = self.down_tr512(F.max_pool3d(e3, 2))
        return deep, self.up_tr64(self.up_tr128(self.up_tr256(deep, e3), e2), e1)

    def features(self, x: Tensor) -> Tensor:
        """Z (B, 2 width, X, Y, Z) of x (B, in_channels, X, Y, Z); sides are multiples of 8."""
        return self.deep_and_features(x)[1]

    forward = features
