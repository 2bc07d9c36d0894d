"""Iris' mask decoding: an image's features and the tokens of K classes become K masks.

Source: Gao et al. 2025, arXiv:2503.19359: bidirectional cross-attention of features and tokens, then a decoder that gives all
masks in one pass. The paper describes neither decoder nor head. Here each class is decoded from its own tokens alone, all K side
by side as further entries of the batch: its logits do not change with what else is asked for. That is affordable because what is
done for a class happens on small maps: attention at 1/r of the resolution, few channels up to 1/2, and at full resolution only

    logit_k(v) = a_k(v) . e(v) + b_k(v)

e: the encoder's finest features, which all classes share; a_k, b_k: maps at half resolution, read linearly in between. So a class
says roughly where it is and which edges are its own, and the shared fine features say where these edges run. A map of how alike
each place and the foreground token are comes in beside what the attention gives: a short way for the gradient. After the guided
filter (He and Sun 2015, arXiv:1505.00996) and its learned form (Gharbi et al. 2017, doi:10.1145/3072959.3073592).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.incontext.residual_unet import Features
from fmlab.incontext.two_way_attention import TwoWay

RARE = -3.0  # the first logit: at first every class is rare (after Lin et al. 2017, arXiv:1708.02002)


class MaskDecoder(nn.Module):
    """fine: channels of the levels above F. channels: C. width: channels of a class's own maps. blocks: of attention."""

    def __init__(self, fine: Sequence[int], channels: int, width: int, blocks: int, heads: int):
        super().__init__()
        self.attention = nn.ModuleList(TwoWay(channels, heads) for _ in range(blocks))
        self.norm, self.asked = nn.LayerNorm(channels), nn.Linear(channels, channels)
        self.image_key, self.task_key = nn.Conv3d(channels, channels, kernel_size=1), nn.Linear(channels, channels)
        self.start = convolution(channels + 1, width)
        self.skips = nn.ModuleList(nn.Conv3d(n, width, kernel_size=1) for n in fine[:0:-1])  # all levels above F but the finest
        self.gates = nn.ModuleList(nn.Linear(channels, width) for _ in self.skips)
        self.ups = nn.ModuleList(convolution(width, width) for _ in self.skips)
        self.guide = nn.Conv3d(width, fine[0] + 1, kernel_size=1)
        nn.init.constant_(self.guide.bias[-1:], RARE)

    def forward(self, features: Features, tokens: Tensor) -> Tensor:
        """Logits (B, K, X, Y, Z) of features of B images and tokens (B, K, m + 1, C)."""
        batch, classes = tokens.shape[:2]
        finest, *others = features.fine
        alike = self.alike(features.coarse, tokens).flatten(0, 1)[:, None]
        x, tokens = repeated(features.coarse, classes).flatten(2).transpose(1, 2), tokens.flatten(0, 1)
        for block in self.attention:
            tokens, x = block(tokens, x)
        asked = tokens[:, 0]  # the foreground token, after it has seen the query
        x = (self.norm(x) * (1 + self.asked(asked)[:, None])).transpose(1, 2).unflatten(2, features.coarse.shape[2:])
        x = self.start(torch.cat([x, alike], dim=1))
        for level, skip, gate, up in zip(others[::-1], self.skips, self.gates, self.ups):
            near = repeated(skip(level), classes) * gate(asked)[:, :, None, None, None]
            x = up(raised(x, level) + near)
        maps = raised(self.guide(x), finest).unflatten(0, (batch, classes))
        return torch.einsum("bkcxyz,bcxyz->bkxyz", maps[:, :, :-1], finest) + maps[:, :, -1]

    def alike(self, coarse: Tensor, tokens: Tensor) -> Tensor:
        """How alike each place of the image and each class's foreground token are: (B, K, X/r, Y/r, Z/r). A scaled dot
        product."""
        keys, asked = self.image_key(coarse), self.task_key(tokens[:, :, 0])
        return torch.einsum("bkc,bcxyz->bkxyz", asked, keys) * keys.shape[1] ** -0.5


def convolution(inputs: int, outputs: int) -> nn.Sequential:
    """3x3x3 convolution and leaky ReLU, without a norm: where a class is absent its maps may be quiet everywhere."""
    return nn.Sequential(nn.Conv3d(inputs, outputs, kernel_size=3, padding=1), nn.LeakyReLU(0.01, inplace=True))


def repeated(x: Tensor, classes: int) -> Tensor:
    """(B, ...) to (B K, ...): each image once for each class, next to each other."""
    return x[:, None].expand(-1, classes, *[-1] * (x.ndim - 1)).flatten(0, 1)


def raised(x: Tensor, level: Tensor) -> Tensor:
    """x at the resolution of another level, read linearly."""
    return F.interpolate(x, size=level.shape[2:], mode="trilinear", align_corners=False)
