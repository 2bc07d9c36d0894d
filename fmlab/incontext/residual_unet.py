"""Iris' image side: a 3-D residual U-Net that reads references and queries alike, and knows nothing of classes.

Source: Gao et al. 2025, arXiv:2503.19359: a residual U-Net encoder, base width 32, four downsamplings, shared by reference and
query. The paper says no more. Here, as in the first author's earlier Hermes: two 3x3x3 convolutions a level and instance norm, so
that a sample's result does not depend on its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.backbones.nano import Block


@dataclass(frozen=True)
class Features:
    """What is known of images before anybody names a class. fine: the levels above F, finest first, (B, C_l, X/2^l, ...).

    coarse: F (B, C, X/r, Y/r, Z/r), which the task is read from and attention runs on; r = 2 to the number of fine levels.
    """

    fine: tuple[Tensor, ...]
    coarse: Tensor

    def __getitem__(self, chosen: slice | Tensor) -> Features:
        """Some of the images."""
        return Features(tuple(level[chosen] for level in self.fine), self.coarse[chosen])


class ResidualBlock(nn.Module):
    """Two convolutions with a way around them: (B, in, X, Y, Z) to (B, out, X, Y, Z), sides divided by ``step``.

    The way around has no norm, so absolute values, which are tissues in a CT, pass through every level.
    """

    def __init__(self, inputs: int, outputs: int, step: int = 1):
        super().__init__()
        self.first = Block(inputs, outputs, step)
        self.second = nn.Conv3d(outputs, outputs, kernel_size=3, padding=1, bias=False)
        self.norm = nn.InstanceNorm3d(outputs, affine=True)
        self.around = nn.Conv3d(inputs, outputs, kernel_size=1)
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        near = F.avg_pool3d(x, self.step) if self.step > 1 else x
        return F.leaky_relu(self.norm(self.second(self.first(x))) + self.around(near), 0.01, inplace=True)


class ResidualUNet(nn.Module):
    """Encoder levels with ``widths`` channels, each of half the sides of the one before, and one step up again to F.

    channels: C of F, which lies one level above the deepest: it has seen the whole window, and keeps places apart. The step up is
    that of a feature pyramid (Lin et al. 2017, doi:10.1109/CVPR.2017.106).
    """

    def __init__(self, widths: Sequence[int], channels: int):
        super().__init__()
        inputs = (1, *widths[:-1])
        self.levels = nn.ModuleList(ResidualBlock(i, o, step=2 if n else 1) for n, (i, o) in enumerate(zip(inputs, widths)))
        self.lateral, self.deep = (nn.Conv3d(n, channels, kernel_size=1) for n in widths[-2:])
        self.mix = Block(channels, channels)

    def forward(self, x: Tensor) -> Features:
        """Features of x (B, 1, X, Y, Z); sides are multiples of 2 to the number of levels less one."""
        maps = []
        for level in self.levels:
            x = level(x)
            maps.append(x)
        *fine, lateral, deep = maps
        raised = F.interpolate(self.deep(deep), size=lateral.shape[2:], mode="trilinear", align_corners=False)
        return Features(tuple(fine), self.mix(self.lateral(lateral) + raised))
