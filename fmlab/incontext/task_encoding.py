"""Iris' task encoding: an example and its mask become m + 1 vectors, which say all that is to be known of a class.

    T = [T_f; T_c]        T_f: foreground token        T_c: m context tokens

Source: Gao et al. 2025, arXiv:2503.19359. T_f pools features over the mask at its FULL resolution, so that a structure smaller
than a feature voxel still speaks; T_c comes from m learned queries that look at features and mask together.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.errors import ModelError
from fmlab.incontext.residual_unet import Features
from fmlab.incontext.two_way_attention import Reading

POOLINGS = ("full", "coarse")


class TaskEncoder(nn.Module):
    """fine: channels of the levels above F. channels: C of F and of the tokens, a multiple of r^3. context: m.

    The paper does not say which level T_f is pooled from, nor how. Here: the masked mean of every level, F and those above it,
    side by side, and a linear map to C; the fine ones know what a small structure looks like, F where it lies.
    """

    def __init__(self, fine: Sequence[int], channels: int, context: int, heads: int, pooling: str = "full"):
        super().__init__()
        self.ratio, self.pooling = 2 ** len(fine), pooling
        if channels % self.ratio**3:
            raise ModelError(f"{channels} channels do not spread over {self.ratio}^3 places; give a multiple of {self.ratio**3}.")
        if pooling not in POOLINGS:
            raise ModelError(f"There is no pooling {pooling!r}; choose one of {', '.join(POOLINGS)}.")
        each = channels // self.ratio**3
        self.foreground = nn.Linear(sum(fine) + channels, channels)
        self.queries = nn.Parameter(torch.randn(context, channels))
        self.with_mask = nn.Conv3d(each + 1, each, kernel_size=1)
        self.cross, self.among = Reading(channels, heads), Reading(channels, heads, itself=True)

    def forward(self, features: Features, masks: Tensor) -> Tensor:
        """Tokens (B, K, m + 1, C) of B images' features and their masks (B, K, X, Y, Z)."""
        pooled = pool(features, masks, self.pooling)
        return torch.cat([self.foreground(pooled)[:, :, None], self.context(features.coarse, masks)], dim=2)

    def context(self, coarse: Tensor, masks: Tensor) -> Tensor:
        """T_c (B, K, m, C): features at full resolution beside the mask, mixed, brought back, and read by the queries."""
        batch, classes = masks.shape[:2]
        spread = shuffled(coarse, self.ratio)[:, None].expand(-1, classes, -1, -1, -1, -1)
        mixed = self.with_mask(torch.cat([spread, masks[:, :, None]], dim=2).flatten(0, 1))
        places = unshuffled(mixed, self.ratio).flatten(2).transpose(1, 2)  # (B K, N, C)
        tokens = self.cross(self.queries.expand(batch * classes, -1, -1), places)
        return self.among(tokens).unflatten(0, (batch, classes))


def pool(features: Features, masks: Tensor, pooling: str = "full") -> Tensor:
    """Masked means (B, K, sum of channels) of all levels, 0 where a mask is empty.

    "full": each level, brought to the mask's resolution by repeating its voxels, and averaged over the mask. That is the mean
    over the level's own voxels, weighted by the share that the mask takes of each: the same numbers without r^3 larger maps.
    "coarse": the masks are averaged down to F's grid and rounded, as a label map on that grid would be; so are the levels,
    not rounded. A structure that nowhere takes half of a voxel of F is gone: the rounding loses it, not the averaging.
    """
    levels = [*features.fine, features.coarse]
    if pooling == "coarse":
        grid = features.coarse.shape[2:]
        levels = [F.adaptive_avg_pool3d(level, grid) for level in levels]
    means = []
    for level in levels:
        share = F.adaptive_avg_pool3d(masks, level.shape[2:])
        share = (share > 0.5).to(masks.dtype) if pooling == "coarse" else share
        total = share.sum((2, 3, 4))
        means.append(torch.einsum("bcxyz,bkxyz->bkc", level, share) / total.clamp(min=1e-6)[:, :, None])
    return torch.cat(means, dim=2)


def shuffled(x: Tensor, r: int) -> Tensor:
    """Channels to places: (B, C r^3, X, Y, Z) to (B, C, X r, Y r, Z r); the 3-D form of Shi et al. 2016, arXiv:1609.05158."""
    b, c, (nx, ny, nz) = x.shape[0], x.shape[1] // r**3, x.shape[2:]
    return x.view(b, c, r, r, r, nx, ny, nz).permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(b, c, nx * r, ny * r, nz * r)


def unshuffled(x: Tensor, r: int) -> Tensor:
    """Places to channels, the inverse of ``shuffled``."""
    b, c, (nx, ny, nz) = x.shape[0], x.shape[1], (n // r for n in x.shape[2:])
    return x.view(b, c, nx, r, ny, r, nz, r).permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, c * r**3, nx, ny, nz)
