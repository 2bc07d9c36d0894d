"""Attention between a task's tokens and an image's features, in both directions.

    tokens <- tokens + Attention(tokens, features)        features <- features + Attention(features, tokens)

Source: Gao et al. 2025, arXiv:2503.19359, "bidirectional cross-attention". The paper gives neither heads, norms nor depth. Here,
as in the first author's Hermes: norms before each part, an MLP after each attention, tokens first.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """softmax(Q K^T / sqrt(d)) V with several heads; Vaswani et al. 2017, arXiv:1706.03762."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q, self.out = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.kv = nn.Linear(channels, 2 * channels)

    def forward(self, x: Tensor, source: Tensor) -> Tensor:
        """What each of x (B, N, C) takes from source (B, M, C): (B, N, C)."""
        q = self.q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = self.kv(source).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Reading(nn.Module):
    """One direction: x reads from a source, or from itself, then thinks about it (an MLP), with a residual around each."""

    def __init__(self, channels: int, heads: int, itself: bool = False, ratio: int = 2):
        super().__init__()
        self.norm, self.norm_mlp = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.norm_source = None if itself else nn.LayerNorm(channels)
        self.attention = Attention(channels, heads)
        self.mlp = nn.Sequential(nn.Linear(channels, ratio * channels), nn.GELU(), nn.Linear(ratio * channels, channels))

    def forward(self, x: Tensor, source: Tensor | None = None) -> Tensor:
        """x (B, N, C) after reading source (B, M, C)."""
        inner = self.norm(x)
        x = x + self.attention(inner, inner if self.norm_source is None else self.norm_source(source))
        return x + self.mlp(self.norm_mlp(x))


class TwoWay(nn.Module):
    """Tokens read the features, and the features read the tokens."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.tokens, self.features = Reading(channels, heads), Reading(channels, heads)

    def forward(self, tokens: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """tokens (B, m + 1, C), features (B, N, C); both come back changed."""
        tokens = self.tokens(tokens, features)
        return tokens, self.features(features, tokens)
