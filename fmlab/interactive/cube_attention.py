"""Self-attention in cubes of tokens, some of them shifted: 3DSAM-adapter's way from SAM's two dimensions to three.

    softmax( q.k / sqrt(d) + lr (q.R_h[h - h'] + q.R_w[w - w'] + q.R_d[d - d']) + mask ) v

R_h and R_w are SAM's tables, brought to the length of a cube. Where cubes are shifted, the grid is rolled, and the mask keeps
tokens apart that are neighbours by the rolling alone.

Source: Gong et al. 2023, arXiv:2306.13465, section 3.1; Liu et al. 2021 (Swin), arXiv:2103.14030, figure 4; Li et al. 2022
(ViTDet), arXiv:2203.16527.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.interactive.image_attention import relative
from fmlab.interactive.windows import joined, split

APART = -100.0  # added to the score of two tokens that are no neighbours
CUBES = 8  # at a time: a bias of (8, heads, N, N) instead of one for all cubes


class CubeAttention(nn.Module):
    """Cubes (n, w, w, w, C) to the same shape. span: for how many tokens an axis SAM's tables were made."""

    def __init__(self, channels: int, heads: int, span: int):
        super().__init__()
        self.heads = heads
        self.rel_pos_h, self.rel_pos_w, self.rel_pos_d = (nn.Parameter(torch.zeros(2 * span - 1, channels // heads))
                                                          for _ in range(3))
        self.lr = nn.Parameter(torch.tensor(1.0))
        self.qkv, self.proj = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """mask (m, w^3, w^3): of each of m cubes that follow each other in x, over and over."""
        parts = []
        for first in range(0, len(x), CUBES):
            part = x[first : first + CUBES]
            which = torch.arange(first, first + len(part), device=x.device)
            parts.append(self.within(part, None if mask is None else mask[which % len(mask)]))
        return torch.cat(parts)

    def within(self, x: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = self.qkv(x.flatten(1, 3)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        places = q.unflatten(2, x.shape[1:4])
        tables = (relative(table, n) for table, n in zip((self.rel_pos_h, self.rel_pos_w, self.rel_pos_d), x.shape[1:4]))
        h, w, d = (torch.einsum(f"nmhwde,{axis}ke->nmhwdk", places, table) for axis, table in zip("hwd", tables))
        bias = h[..., :, None, None] + w[..., None, :, None] + d[..., None, None, :]
        bias = self.lr * bias.flatten(5).flatten(2, 4)
        bias = bias if mask is None else bias + mask[:, None]
        return self.proj(F.scaled_dot_product_attention(q, k, v, bias).transpose(1, 2).flatten(2)).view(x.shape)


def in_cubes(attention: CubeAttention, x: Tensor, side: int, shift: int = 0, mask: Tensor | None = None) -> Tensor:
    """Attention in cubes of side^3 tokens of x (B, H, W, D, C), shifted by ``shift`` tokens along each axis."""
    axes = (1, 2, 3)
    x = x.roll([-shift] * 3, axes) if shift else x
    cubes, filled = split(x, side)
    x = joined(attention(cubes, mask), side, filled, x.shape[1:4])
    return x.roll([shift] * 3, axes) if shift else x


def shift_mask(grid: int, side: int, shift: int) -> Tensor:
    """(cubes, side^3, side^3): 0 for tokens that were neighbours before the rolling of a grid^3, APART for others."""
    place = torch.arange(grid)
    region = (place >= grid - side).int() + (place >= grid - shift).int()  # along an axis: whole, its last cube in two parts
    region = 9 * region[:, None, None] + 3 * region[:, None] + region
    cubes = split(region[None, ..., None], side)[0].flatten(1)
    return torch.where(cubes[:, :, None] == cubes[:, None, :], 0.0, APART)
