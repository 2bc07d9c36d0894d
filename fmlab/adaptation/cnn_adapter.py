"""Residual adapters for convolutions: a 1x1x1 convolution beside each 3x3x3 one, or after it.

    parallel    y = K * x + alpha * x
    series      y = h + alpha * BN(h),   h = K * x

Source: Rebuffi, Bilen and Vedaldi 2018 (parallel), doi:10.1109/CVPR.2018.00847; 2017 (series), arXiv:1705.08045.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.adaptation.added import Added, Update, kaiming
from fmlab.adaptation.sites import convolutions, replace
from fmlab.backbones.segmenter import Segmenter
from fmlab.errors import ModelError

Begin = Literal["zero", "random"]


def _one(begin: Begin, outputs: int, inputs: int, dims: int) -> nn.Parameter:
    shape = outputs, inputs, *[1] * dims
    return kaiming(*shape) if begin == "random" else nn.Parameter(torch.zeros(shape))


class Parallel(Update):
    """conv(x) + alpha * x for a convolution of 2-D or 3-D; merged, alpha lies in the middle of the kernel."""

    def __init__(self, base: nn.Conv2d | nn.Conv3d, begin: Begin = "zero"):
        super().__init__(base)
        self.alpha = _one(begin, base.out_channels, base.in_channels, len(base.kernel_size))

    def forward(self, x: Tensor) -> Tensor:
        y = self.base(x)
        return y + self._beside(x) if self.on else y

    def _beside(self, x: Tensor) -> Tensor:
        convolve = F.conv3d if len(self.base.kernel_size) == 3 else F.conv2d
        return convolve(x, self.alpha, stride=self.base.stride)

    def delta(self) -> Tensor:
        """alpha in the middle of an otherwise empty kernel."""
        whole = torch.zeros_like(self.base.weight)
        whole[(..., *(size // 2 for size in self.base.kernel_size))] = self.alpha.flatten(1)
        return whole


class Series(Added):
    """h + alpha * BN(h), h = conv(x), with a batch norm of its own. It depends on the batch in training, so it is not merged."""

    def __init__(self, base: nn.Conv2d | nn.Conv3d, begin: Begin = "zero"):
        super().__init__(base)
        dims, channels = len(base.kernel_size), base.out_channels
        self.norm = (nn.BatchNorm3d if dims == 3 else nn.BatchNorm2d)(channels)
        self.alpha = _one(begin, channels, channels, dims)

    def forward(self, x: Tensor) -> Tensor:
        h = self.base(x)
        if not self.on:
            return h
        convolve = F.conv3d if len(self.base.kernel_size) == 3 else F.conv2d
        return h + convolve(self.norm(h), self.alpha)


def cnn_adapter(model: Segmenter, form: Literal["parallel", "series"] = "parallel", begin: Begin = "zero",
                norms: bool = False) -> None:
    """An adapter at each 3x3x3 convolution of a U-Net's encoder.

    begin: of alpha. "random" is FSEFT's code, whose numbers were had with it: the network is broken before the first step, and
    its norms, frozen, do not mend it. "zero" begins as the base model. norms: train the encoder's norms too, as the original
    does.
    """
    if form not in ("parallel", "series") or begin not in ("zero", "random"):
        raise ModelError(f"There is no adapter of form {form!r} that begins {begin!r}; choose parallel or series, and zero or "
                         "random.")
    kind = Parallel if form == "parallel" else Series
    for name, conv in convolutions(model):
        replace(model, name, kind(conv, begin))
    if norms:
        from fmlab.adaptation.selective import affine

        affine(model)
