"""Layer norm over the channels of a map, at each place on its own: what SAM uses wherever a convolution stands."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ChannelNorm(nn.Module):
    """(x - mean) / sqrt(variance + eps) * weight + bias over axis 1 of (B, C, ...), in any number of dimensions.

    Source: Ba et al. 2016, arXiv:1607.06450; as in ConvNeXt and ViTDet (Li et al. 2022, arXiv:2203.16527). The variance is the
    biased one.
    """

    def __init__(self, channels: int, eps: float = 1e-6):
        super().__init__()
        self.weight, self.bias, self.eps = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels)), eps

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, ...) to the same shape."""
        variance, mean = torch.var_mean(x, 1, keepdim=True, correction=0)
        each = (-1, *[1] * (x.ndim - 2))
        return (x - mean) * (variance + self.eps).rsqrt() * self.weight.view(each) + self.bias.view(each)
