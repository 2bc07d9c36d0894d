"""SegVol's image encoder: a plain vision transformer over the patches of a volume, every token reading every other.

    z = patches(x) W + b + positions          z + attention(norm(z)), z + MLP(norm(z)) in each block          norm(z)

Source: Du et al. 2023, arXiv:2311.13385; Dosovitskiy et al. 2021, arXiv:2010.11929. Names of modules and parameters are those of
MONAI's ``ViT`` (0.9), by which the published weights were trained; later versions carry cross-attention that SegVol never had.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.errors import ModelError


class Patches(nn.Module):
    """A volume (B, 1, D, H, W) as rows (B, N, voxels of a patch), both in the order of the axes."""

    def __init__(self, patch: Sequence[int]):
        super().__init__()
        self.patch = tuple(patch)

    def forward(self, x: Tensor) -> Tensor:
        for axis, side in zip((2, 4, 6), self.patch):
            x = x.unflatten(axis, (-1, side))
        return x[:, 0].permute(0, 1, 3, 5, 2, 4, 6).flatten(4).flatten(1, 3)


class PatchEmbedding(nn.Module):
    """Rows of a patch's voxels to tokens (B, N, channels), with a learned position for each."""

    def __init__(self, grid: Sequence[int], patch: Sequence[int], channels: int):
        super().__init__()
        tokens, voxels = torch.Size(grid).numel(), torch.Size(patch).numel()
        self.position_embeddings = nn.Parameter(torch.randn(1, tokens, channels) * 0.02)
        self.patch_embeddings = nn.Sequential(Patches(patch), nn.Linear(voxels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.patch_embeddings(x) + self.position_embeddings


class SelfAttention(nn.Module):
    """softmax(Q K^T / sqrt(d)) V of tokens (B, N, C); queries, keys and values without bias."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.out_proj, self.qkv = nn.Linear(channels, channels), nn.Linear(channels, 3 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Two linear maps with a GELU between them."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(channels, hidden), nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear2(F.gelu(self.linear1(x)))


class Block(nn.Module):
    """Attention and MLP, each of normed tokens and added."""

    def __init__(self, channels: int, heads: int, hidden: int):
        super().__init__()
        self.mlp, self.norm1 = MLP(channels, hidden), nn.LayerNorm(channels)
        self.attn, self.norm2 = SelfAttention(channels, heads), nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class VolumeViT(nn.Module):
    """size: (D, H, W) of the volume; patch: of a token; hidden: width of the MLP."""

    def __init__(self, size: Sequence[int], patch: Sequence[int], channels: int, depth: int, heads: int, hidden: int):
        super().__init__()
        if any(n % p for n, p in zip(size, patch, strict=True)) or channels % heads:
            raise ModelError(f"size={tuple(size)}, patch={tuple(patch)}, channels={channels}, heads={heads}: patches must divide "
                             "the volume, and heads the channels.")
        self.size, self.grid = tuple(size), tuple(n // p for n, p in zip(size, patch))
        self.patch_embedding = PatchEmbedding(self.grid, patch, channels)
        self.blocks = nn.ModuleList(Block(channels, heads, hidden) for _ in range(depth))
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, channels, *grid) of volumes (B, 1, D, H, W). ModelError for another size."""
        return self.tokens(x).transpose(1, 2).unflatten(2, self.grid)

    def tokens(self, x: Tensor) -> Tensor:
        """The same as tokens (B, N, channels)."""
        if x.ndim != 5 or x.shape[1] != 1 or tuple(x.shape[2:]) != self.size:
            raise ModelError(f"This encoder takes volumes (B, 1, {', '.join(map(str, self.size))}), not {tuple(x.shape)}; resize "
                             "them by preprocess_segvol, or cut windows.")
        x = self.patch_embedding(x)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)
