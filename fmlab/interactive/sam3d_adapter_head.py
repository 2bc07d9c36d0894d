"""3DSAM-adapter's decoder: four levels of features and the volume itself, put together by convolutions (MLA head).

Source: Gong et al. 2023, arXiv:2306.13465, section 3.3; Zheng et al. 2021 (SETR), arXiv:2012.15840, multi-level aggregation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS = ("head2", "head3", "head4", "head5")


class MLAHead(nn.Module):
    """channels: of each level. width: of the head. classes: background and object."""

    def __init__(self, channels: int, width: int = 128, classes: int = 2):
        super().__init__()
        self.mlahead = nn.ModuleDict({name: nn.Sequential(*normed(channels, width), *normed(width, width)) for name in LEVELS})
        self.cls = nn.Sequential(*normed(4 * width + 1, width), nn.Conv3d(width, classes, kernel_size=3, padding=1, bias=False))

    def forward(self, levels: Sequence[Tensor], volume: Tensor) -> Tensor:
        """Logits (B, classes, *size) of four levels (B, C, *grid) and the volume (B, 1, *size), axes in one order."""
        size = [2 * n for n in levels[0].shape[2:]]
        doubled = [F.interpolate(head(level), size, mode="trilinear", align_corners=True)
                   for head, level in zip(self.mlahead.values(), levels)]
        seen = F.interpolate(volume, size, mode="trilinear", align_corners=False)
        logits = self.cls(torch.cat([*doubled, seen], dim=1))
        return F.interpolate(logits, volume.shape[2:], mode="trilinear", align_corners=False)


def normed(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    """A convolution, each channel normed over its volume, and ReLU."""
    return (nn.Conv3d(inputs, outputs, kernel_size=3, padding=1, bias=False), nn.InstanceNorm3d(outputs), nn.ReLU())
