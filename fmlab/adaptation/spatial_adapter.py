"""The black-box adapters: theta_f is never touched, and need not even be known; only its features Z are read.

    linear probe        Yhat = sigma(theta_c(Z))
    spatial adapter     Yhat = sigma(theta_c(Z + W2 * relu(W1 * Z)))

Source: Silva-Rodriguez et al. 2025, arXiv:2303.17051 (spatial adapter).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.adaptation.added import Added, kaiming
from fmlab.backbones.segmenter import Segmenter
from fmlab.errors import ModelError


class SpatialAdapter(Added):
    """Z + W2 * relu(W1 * Z), (B, C, X, Y, Z) to the same; no biases, and W2 = 0 at first, so that it begins as the probe."""

    def __init__(self, channels: int, kernel: int = 3):
        super().__init__()
        shape = channels, channels, kernel, kernel, kernel
        self.W1, self.W2 = kaiming(*shape), nn.Parameter(torch.zeros(shape))

    def forward(self, z: Tensor) -> Tensor:
        if not self.on:
            return z
        inside = F.relu(F.conv3d(z, self.W1, padding="same"))
        return z + F.conv3d(inside, self.W2, padding="same")


class SpatialAdapter2023(Added):
    """The first version: a residual block with two instance norms, (B, C, X, Y, Z) to the same; it begins at random."""

    def __init__(self, channels: int, kernel: int = 3):
        super().__init__()
        from monai.networks.blocks import UnetResBlock  # slow to import

        self.block = UnetResBlock(3, channels, channels, kernel_size=kernel, stride=1, norm_name="instance")

    def forward(self, z: Tensor) -> Tensor:
        return self.block(z) if self.on else z


def spatial_adapter(model: Segmenter, kernel: int = 3, variant: Literal["code", "2023"] = "code") -> None:
    """A spatial adapter before the head; ``model.head`` becomes adapter, then head.

    kernel: of both convolutions, odd. variant: "code" gave the published numbers of the journal's version; "2023" is the first
    version's, a residual block with instance norms, which does not begin as the probe.
    """
    if variant not in ("code", "2023"):
        raise ModelError(f"The spatial adapter has no variant {variant!r}; choose code or 2023.")
    if kernel < 1 or kernel % 2 == 0:
        raise ModelError(f"A kernel of {kernel} cannot be; give an odd number, such as 3.")
    kind = SpatialAdapter if variant == "code" else SpatialAdapter2023
    model.head = nn.Sequential(kind(model.backbone.channels, kernel), model.head)
