"""The two towers, small: pictures to features by a convolutional net, texts to features by one transformer layer over words."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.contrastive.words import FILL, LONGEST, numbers


class Block(nn.Module):
    """Two 3x3 convolutions and a way around them; the first halves the picture."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        self.first = nn.Conv2d(channels, out, 3, 2, 1, bias=False)
        self.second = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.around = nn.Conv2d(channels, out, 1, bias=False)
        self.norms = nn.ModuleList([nn.GroupNorm(8, out), nn.GroupNorm(8, out)])

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, out, H/2, W/2)."""
        y = F.relu(self.norms[0](self.first(x)))
        return F.relu(self.norms[1](self.second(y)) + self.around(F.avg_pool2d(x, 2)))


class ImageEncoder(nn.Module):
    """theta_I: (B, 3, H, W) in [0, 1] -> (B, features), means and maxima over the picture; sides are multiples of 16."""

    def __init__(self, widths: Sequence[int] = (16, 32, 64, 128)):
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 3, 1, 1)
        self.blocks = nn.Sequential(*(Block(a, b) for a, b in zip(widths, widths[1:])))
        self.features = 2 * widths[-1]

    def forward(self, x: Tensor) -> Tensor:
        """A small finding shows in a maximum, a widespread one in a mean."""
        x = (4 * x - 2).contiguous(memory_format=torch.channels_last)  # the same numbers, and faster on a CPU
        x = self.blocks(F.max_pool2d(F.relu(self.stem(x)), 2))
        return torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)


class TextEncoder(nn.Module):
    """theta_T: word numbers (B, L) -> (B, features): embeddings, one transformer layer, the mean over the words."""

    def __init__(self, words: Sequence[str], features: int = 64, heads: int = 4):
        super().__init__()
        self.words, self.features = tuple(words), features
        self.embedding = nn.Embedding(len(self.words) + 2, features, padding_idx=FILL)
        self.place = nn.Parameter(0.02 * torch.randn(LONGEST, features))
        self.layer = nn.TransformerEncoderLayer(features, heads, 2 * features, dropout=0.0, batch_first=True, norm_first=True)

    def forward(self, texts: Tensor | Sequence[str]) -> Tensor:
        """Texts, or their numbers from ``words.numbers``."""
        if not isinstance(texts, Tensor):
            texts = numbers(texts, self.words).to(self.place.device)
        length = max(1, int((texts != FILL).sum(1).max()))
        texts = texts[:, :length]
        there = texts != FILL
        there[:, 0] = True  # an empty text is one fill word: attention over nothing is not a number
        x = self.layer(self.embedding(texts) + self.place[:length], src_key_padding_mask=~there)
        weight = there[..., None].float()
        return (x * weight).sum(1) / weight.sum(1)
