"""Self-attention over a grid of image tokens, with relative positions that are learned per axis.

    softmax_k( q.k / sqrt(d) + q.R_h[h - h'] + q.R_w[w - w'] ) v          query at (h, w), key at (h', w')

Source: Li et al. 2022 (ViTDet), arXiv:2203.16527; Li et al. 2021 (MViTv2), arXiv:2112.01526, equations 4 and 5; as in SAM
(Kirillov et al. 2023, arXiv:2304.02643). The position terms take the query before it is scaled.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROWS = 512  # queries at a time: a bias of (heads, 512, N) instead of (heads, N, N)


class ImageAttention(nn.Module):
    """Tokens (B, H, W, C) to the same shape. grid: (H, W), for which the tables of relative positions are made."""

    def __init__(self, channels: int, heads: int, grid: Sequence[int]):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.rel_pos_h, self.rel_pos_w = (nn.Parameter(torch.zeros(2 * n - 1, channels // heads)) for n in grid)

    def forward(self, x: Tensor) -> Tensor:
        """Exact, without the (N, N) bias of all pairs: some rows of queries at a time."""
        batch, height, width, _ = x.shape
        q, k, v = self.queries_keys_values(x)
        along_h, along_w = self.positions(q.unflatten(2, (height, width)))  # (B, heads, H, W, H) and (B, heads, H, W, W)
        rows = max(1, ROWS // width)
        parts = []
        for first in range(0, height, rows):
            here = slice(first, first + rows)
            bias = along_h[:, :, here, :, :, None] + along_w[:, :, here, :, None, :]  # (B, heads, rows, W, H, W)
            queries = q[:, :, first * width : (first + rows) * width]
            parts.append(F.scaled_dot_product_attention(queries, k, v, bias.flatten(4).flatten(2, 3)))
        return self.merged(torch.cat(parts, dim=2)).view(x.shape)

    def literal(self, x: Tensor) -> Tensor:
        """The same as it stands in the equation, with all scores at once: for comparison."""
        batch, height, width, _ = x.shape
        q, k, v = self.queries_keys_values(x)
        along_h, along_w = self.positions(q.unflatten(2, (height, width)))
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        scores = scores.view(*q.shape[:2], height, width, height, width) + along_h[..., None] + along_w[..., None, :]
        return self.merged(scores.flatten(4).flatten(2, 3).softmax(-1) @ v).view(x.shape)

    def queries_keys_values(self, x: Tensor) -> Tensor:
        """q, k, v, each (B, heads, N, d), of x (B, ..., C)."""
        qkv = self.qkv(x.flatten(1, -2))
        return qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)

    def positions(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """q.R_h for every query and key row, and q.R_w for every query and key column, of q (B, heads, H, W, d)."""
        height, width = q.shape[2:4]
        rows, columns = relative(self.rel_pos_h, height), relative(self.rel_pos_w, width)
        return torch.einsum("bnhwd,hkd->bnhwk", q, rows), torch.einsum("bnhwd,wkd->bnhwk", q, columns)

    def merged(self, heads: Tensor) -> Tensor:
        """(B, heads, N, d) to (B, N, C), projected."""
        return self.proj(heads.transpose(1, 2).flatten(2))


def relative(table: Tensor, size: int) -> Tensor:
    """R[x - k] for query places x and key places k of an axis: (size, size, d) of a table (2 size - 1, d).

    A table of another length is brought to 2 size - 1 linearly, as the official code does.
    """
    if len(table) != 2 * size - 1:
        table = F.interpolate(table.T[None], size=2 * size - 1, mode="linear", align_corners=False)[0].T
    places = torch.arange(size, device=table.device)
    return table[places[:, None] - places[None, :] + size - 1]
