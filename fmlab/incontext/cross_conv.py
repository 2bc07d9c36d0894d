"""CrossConv: one convolution over every pair of a target and a support feature map, and its two halves.

    z_ij = Conv([u_i, v_j]) = W_u * u_i + W_v * v_j + b

Source: Butoi et al. 2023, UniverSeg, doi:10.1109/ICCV51070.2023.01960, section 3.2. The right-hand side is the same function: a
convolution is linear, so what it makes of a concatenation is the sum of what it makes of the parts. Each half is computed once
per map, not once per pair.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.01  # of every LeakyReLU in UniverSeg and Tyche


class CrossConv(nn.Module):
    """3x3 convolution of pairs. inputs: channels (C_u, C_v) of a target and of a support map. outputs: of the result."""

    def __init__(self, inputs: tuple[int, int], outputs: int, activated: bool = False):
        super().__init__()
        self.inputs = inputs
        self.cross_conv = started(nn.Conv2d(sum(inputs), outputs, kernel_size=3, padding=1), activated)

    def forward(self, u: Tensor, v: Tensor) -> Tensor:
        """All pairs, literally: u (B, N, C_u, H, W), v (B, S, C_v, H, W) to (B, N, S, C, H, W). The target comes first."""
        n, s = u.shape[1], v.shape[1]
        pairs = torch.cat([u[:, :, None].expand(-1, -1, s, -1, -1, -1), v[:, None].expand(-1, n, -1, -1, -1, -1)], dim=3)
        return self.cross_conv(pairs.flatten(0, 2)).unflatten(0, pairs.shape[:3])

    def of_target(self, u: Tensor) -> Tensor:
        """W_u * u + b, of u (B, N, C_u, H, W)."""
        conv = self.cross_conv
        return each(u, lambda x: F.conv2d(x, conv.weight[:, : self.inputs[0]], conv.bias, padding=1))

    def of_support(self, v: Tensor) -> Tensor:
        """W_v * v, of v (B, S, C_v, H, W)."""
        return each(v, lambda x: F.conv2d(x, self.cross_conv.weight[:, self.inputs[0] :], padding=1))


class Conv(nn.Module):
    """A convolution and, unless told otherwise, its LeakyReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, activated: bool = True):
        super().__init__()
        self.conv = started(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), activated)
        self.activated = activated

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return F.leaky_relu(x, SLOPE, inplace=True) if self.activated else x


class OverSet(nn.Module):
    """The same ``Conv`` on every map of a set (B, N, C, H, W). Its attribute has the name that published weights use."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.vmapped = Conv(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return each(x, self.vmapped)


def each(x: Tensor, function) -> Tensor:
    """A function of images (M, C, H, W) on every image of a set (B, N, C, H, W)."""
    return function(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def started(conv: nn.Conv2d, activated: bool) -> nn.Conv2d:
    """He et al.'s normal start, doi:10.1109/ICCV.2015.123: variance 2 / fan-in before a ReLU, 1 / fan-in elsewhere; bias 0."""
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu" if activated else "linear")
    nn.init.zeros_(conv.bias)
    return conv
