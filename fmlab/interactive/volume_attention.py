"""Self-attention over a cube of tokens, with SAM-Med3D's relative positions: added to the wrong axes, and trained so.

    what was meant      q(a,b,c).(T_d[a,i] + T_h[b,j] + T_w[c,l])                             query (a,b,c), key (i,j,l)
    what was published  q(a,b,c).T_d[a,l]  +  q(a,b,i).T_h[b,l]  +  q(a,b,j).T_w[j,l]

T[x, k] is the table's entry for k - x places away. All three published terms look at the key's last index l; the second takes the
query vector that stands at the key's first index, the third at its second. Nothing fails, as windows are cubes, and the released
weights expect it: "repaired", they get worse. ``textbook`` gives what was meant, for networks that are trained anew.

Source: Wang et al. 2023 (SAM-Med3D), arXiv:2310.15161, and its released code; Li et al. 2022 (ViTDet), arXiv:2203.16527.

SAM's windows of 14 on a grid of 8 are filled up with zeros: 2744 tokens of which 512 are real, and the empty ones take part in
the softmax. All of them have one key and one value, the biases b_k and b_v. So together they are one key of the weight

    exp(q.b_k / sqrt(d)) * sum over empty (i,j,l) of exp(bias)

and since the bias is a sum of a term of (i,l), one of (j,l) and one of l, that sum needs no list of (i,j,l). Exact: only the
order of summing differs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.errors import ModelError
from fmlab.interactive.image_attention import relative


class VolumeAttention(nn.Module):
    """Tokens (B, D, H, W, C) to the same shape. grid: the window's sides, all equal; a smaller x stands for a window that is
    filled up at its far ends. textbook: relative positions as they were meant."""

    def __init__(self, channels: int, heads: int, grid: tuple[int, int, int], textbook: bool = False):
        super().__init__()
        if len(set(grid)) > 1:
            raise ModelError(f"A window of {tuple(grid)} tokens is no cube, and SAM-Med3D's positions are defined in cubes only.")
        self.heads, self.side, self.textbook = heads, grid[0], textbook
        self.rel_pos_d, self.rel_pos_h, self.rel_pos_w = (nn.Parameter(torch.zeros(2 * n - 1, channels // heads)) for n in grid)
        self.qkv, self.proj = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """With one key for all that is empty. Each side of x is at most the window's."""
        real = x.shape[1:4]
        q, k, v = self.queries_keys_values(x)
        terms = self.terms(q)
        bias = sum_of(*terms, real).flatten(2, 4).flatten(3)
        if min(real) < self.side:
            _, key, value = (each[:, None] for each in self.qkv.bias.unflatten(0, (3, self.heads, -1)))
            k, v = (torch.cat([all_real, empty.expand(len(x), -1, -1, -1).to(x.dtype)], dim=2)
                    for all_real, empty in ((k.flatten(2, 4), key), (v.flatten(2, 4), value)))
            bias = torch.cat([bias, weight_of_empty(*terms, real).flatten(2)[..., None]], dim=-1)
        q, k, v = (each.flatten(2, -2) for each in (q, k, v))
        return self.merged(F.scaled_dot_product_attention(q, k, v, bias.to(q.dtype))).view(x.shape)

    def literal(self, x: Tensor) -> Tensor:
        """The same with every empty token and all scores at once, as published: for comparison."""
        real = x.shape[1:4]
        x = F.pad(x, (0, 0, *(m for n in reversed(real) for m in (0, self.side - n))))
        q, k, v = self.queries_keys_values(x)
        bias = sum_of(*self.terms(q), x.shape[1:4]).flatten(2, 4).flatten(3)
        q, k, v = (each.flatten(2, 4) for each in (q, k, v))
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1) + bias
        return self.merged(scores.softmax(-1) @ v).view(x.shape)[:, : real[0], : real[1], : real[2]]

    def terms(self, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The bias of queries (B, heads, D, H, W, d) as terms of (i, l), (j, l) and l, over the whole window's keys.

        Shapes (B, heads, D, H, W or 1, side, side) twice and (B, heads, D, H, W, side).
        """
        depth, height, width = q.shape[2:5]
        t_d, t_h, t_w = (relative(table, self.side) for table in (self.rel_pos_d, self.rel_pos_h, self.rel_pos_w))
        if self.textbook:
            of_i, of_j, of_l = (torch.einsum(f"nmabce,{x}ke->nmabck", q, table[:n]) for x, table, n in
                                (("a", t_d, depth), ("b", t_h, height), ("c", t_w, width)))
            shape = (*of_l.shape, self.side)
            return of_i[..., None].expand(shape), of_j[..., None].expand(shape), of_l
        of_l = torch.einsum("nmabce,ale->nmabcl", q, t_d[:depth])
        if width < self.side:  # the key's indices run on to places where the query is empty: its vector is the bias there
            empty = self.qkv.bias.unflatten(0, (3, self.heads, -1))[0].to(q.dtype)[:, None, None, None]
            q = torch.cat([q, empty.expand(*q.shape[:4], self.side - width, -1)], dim=4)
        of_il = torch.einsum("nmabie,ble->nmabil", q, t_h[:height])
        of_jl = torch.einsum("nmabje,jle->nmabjl", q, t_w)
        return of_il[:, :, :, :, None], of_jl[:, :, :, :, None], of_l

    def queries_keys_values(self, x: Tensor) -> Tensor:
        """q, k, v, each (B, heads, D, H, W, d)."""
        return self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(4, 0, 5, 1, 2, 3, 6)

    def merged(self, heads: Tensor) -> Tensor:
        """(B, heads, N, d) to (B, N, C), projected."""
        return self.proj(heads.transpose(1, 2).flatten(2))


def sum_of(of_il: Tensor, of_jl: Tensor, of_l: Tensor, keys: tuple[int, int, int]) -> Tensor:
    """The bias (..., i, j, l) of the first ``keys`` of each axis, put together from its terms."""
    i, j, l = (slice(n) for n in keys)  # noqa: E741
    return of_il[..., i, None, l] + of_jl[..., None, j, l] + of_l[..., None, None, l]


def weight_of_empty(of_il: Tensor, of_jl: Tensor, of_l: Tensor, real: tuple[int, int, int]) -> Tensor:
    """log of the sum of exp(bias) over all keys beyond ``real``, for each query: (...).

    What is empty falls into three slabs: beyond in l; else beyond in i; else beyond in j. In each, i and j run freely, so their
    sums are taken one by one. Logarithms of sums, never a difference: nothing cancels.
    """
    n_i, n_j, n_l = real
    slabs = ((slice(None), slice(None), slice(n_l, None)), (slice(n_i, None), slice(None), slice(n_l)),
             (slice(n_i), slice(n_j, None), slice(n_l)))
    parts = []
    for i, j, l in slabs:  # noqa: E741
        first, second = of_il[..., i, l], of_jl[..., j, l]
        if first.numel() and second.numel():
            parts.append((first.logsumexp(-2) + second.logsumexp(-2) + of_l[..., l]).logsumexp(-1))
    return torch.stack(parts).logsumexp(0)
