"""3DSAM-adapter's prompt encoder: a click is the feature that lies under it; whether it is inside or outside is never told.

    t = norm(t + norm(attention(t)))                of t = [10 learned queries, features under the clicks]
    q = norm(q + MLP(q))                            of the queries among t
    image = norm(image + attention(image, q))       twice in all

Source: Gong et al. 2023, arXiv:2306.13465, section 3.2. The released entries hold an attention from tokens to the image and a
positional matrix that nothing uses; they are kept so that checkpoints fit.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.interactive.image_encoder import MLP
from fmlab.interactive.two_way import Attention

QUERIES = 10


class PointEncoder(nn.Module):
    """channels: of the features. hidden: width of the MLP."""

    def __init__(self, channels: int, heads: int = 8, hidden: int = 2048, depth: int = 2):
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(3, channels // 2))
        self.transformer = nn.ModuleDict({"layers": nn.ModuleList(PointBlock(channels, heads, hidden) for _ in range(depth))})

    def forward(self, features: Tensor, points: Tensor) -> Tensor:
        """Features (B, C, H, W, D) that have read the clicks; points (B, P, 3) in [-1, 1], -1 and 1 the volume's edges.

        points: in the order (slice, column, row), the last axis of the features first.
        """
        found = F.grid_sample(features, points[:, None, None], align_corners=False).flatten(2).transpose(1, 2)
        image = features.flatten(2).transpose(1, 2)
        for layer in self.transformer.layers:
            image, found = layer(image, found)
        return image.transpose(1, 2).view_as(features)


class PointBlock(nn.Module):
    """image (B, N, C) and features of clicks (B, P, C), both changed."""

    def __init__(self, channels: int, heads: int, hidden: int):
        super().__init__()
        self.global_query = nn.Parameter(torch.randn(1, QUERIES, channels))
        self.self_attn, self.norm1 = Attention(channels, heads), nn.LayerNorm(channels)
        self.cross_attn_token_to_image, self.norm2 = Attention(channels, heads, 2), nn.LayerNorm(channels)  # the first is unused
        self.mlp, self.norm3 = MLP(channels, hidden, nn.ReLU()), nn.LayerNorm(channels)
        self.norm4, self.cross_attn_image_to_token = nn.LayerNorm(channels), Attention(channels, heads, 2)

    def forward(self, image: Tensor, clicks: Tensor) -> tuple[Tensor, Tensor]:
        tokens = torch.cat([self.global_query.expand(len(clicks), -1, -1), clicks], dim=1)
        tokens = self.norm2(tokens + self.norm1(self.self_attn(tokens, tokens, tokens)))
        queries, clicks = tokens[:, :QUERIES], tokens[:, QUERIES:]
        queries = self.norm3(queries + self.mlp(queries))
        return self.norm4(image + self.cross_attn_image_to_token(image, queries, queries)), clicks
