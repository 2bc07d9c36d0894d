"""SAM's prompt encoder: points and boxes become a few tokens, a mask becomes a map.

    a point or corner at c in [0, 1]^d, of a kind t:          PE(c) + e_t          PE(c) = [sin, cos](2 pi G (2 c - 1))

Source: Kirillov et al. 2023, arXiv:2304.02643, appendix A; Tancik et al. 2020 (Fourier features), arXiv:2006.10739. G is a random
matrix that is never trained.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fmlab.interactive.channel_norm import ChannelNorm
from fmlab.interactive.image_encoder import convolution

NEGATIVE, POSITIVE, CORNER, OTHER_CORNER = 0, 1, 2, 3  # kinds of points: the numbers of their embeddings
NOT_A_POINT = -1  # label of a point that only fills up
ABSENT = -2  # label of a point that is not there at all: not of SAM, for calls with prompts of different lengths


class FourierPositions(nn.Module):
    """PE of coordinates in [0, 1]^d. features: half of what it gives; a third with ``waves`` = 3, which is [sin, cos, sin].

    exchanged: whether a grid's first two axes change places, as (H, W) must for points (x, y).
    """

    def __init__(self, dims: int, features: int, waves: int = 2, exchanged: bool = True):
        super().__init__()
        self.waves, self.exchanged = waves, exchanged
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(dims, features))

    def forward(self, coordinates: Tensor) -> Tensor:
        """(..., d) to (..., waves * features)."""
        angles = 2 * math.pi * (2 * coordinates - 1) @ self.positional_encoding_gaussian_matrix
        sine = angles.sin()
        return torch.cat([sine, angles.cos(), sine][: self.waves], dim=-1)

    def of_grid(self, grid: Sequence[int]) -> Tensor:
        """PE of the centres of a grid: (1, C, *grid).

        The published 3-D versions exchange axes, too, although their points have the order of the axes: the code of a click is
        not that of its place.
        """
        matrix = self.positional_encoding_gaussian_matrix
        centres = [(torch.arange(n, device=matrix.device, dtype=matrix.dtype) + 0.5) / n for n in grid]
        first, second, *others = torch.meshgrid(*centres, indexing="ij")
        order = [second, first] if self.exchanged else [first, second]
        return self(torch.stack([*order, *others], dim=-1)).movedim(-1, 0)[None]


class PromptEncoder(nn.Module):
    """channels: of a token. grid: of the image's features. size: (H, W) of the preprocessed image, in pixels.

    mask prompts have 4 times the grid's resolution, as the decoder's logits do. positions: of points, by default
    ``FourierPositions``; kinds: how many sorts of points there are; divisor: of points to come to [0, 1], by default the size.
    """

    def __init__(self, channels: int, grid: Sequence[int], size: Sequence[int], between: int = 16,
                 positions: nn.Module | None = None, kinds: int = 4, divisor: Sequence[float] | None = None):
        super().__init__()
        self.grid, self.size, self.channels = tuple(grid), tuple(size), channels
        self.divisor = tuple(divisor or self.size[::-1])
        self.pe_layer = positions or FourierPositions(len(grid), channels // 2)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, channels) for _ in range(kinds))
        self.not_a_point_embed = nn.Embedding(1, channels)
        self.mask_downscaling = mask_downscaling(channels, between, len(grid))
        self.no_mask_embed = nn.Embedding(1, channels)

    def forward(self, points: Tensor | None = None, labels: Tensor | None = None, boxes: Tensor | None = None,
                masks: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Tokens (B, T, C) and a map (B or 1, C, *grid) of B prompts.

        points (B, P, 2): (x, y) in pixels of the preprocessed image; labels (B, P): 1, 0, -1 to fill up, -2 for not there.
        boxes (B, 4): x0, y0, x1, y1. masks (B, 1, 4 grid): logits. Without a box one filling point is added, as SAM was trained.
        """
        parts = []
        if points is not None:
            parts.append(self.points(points, labels, fill=boxes is None))
        if boxes is not None:
            parts.append(self.corners(boxes))
        first = next((x for x in (points, boxes, masks) if x is not None), None)
        batch = 1 if first is None else len(first)
        empty = self.no_mask_embed.weight.new_zeros(batch, 0, self.channels)
        tokens = torch.cat(parts, dim=1) if parts else empty
        if masks is not None:
            return tokens, self.mask_downscaling(masks)
        return tokens, self.no_mask_embed.weight.view(1, -1, *[1] * len(self.grid)).expand(1, -1, *self.grid)

    def dense_positions(self) -> Tensor:
        """PE of every place of the features: (1, C, *grid)."""
        return self.pe_layer.of_grid(self.grid)

    def points(self, points: Tensor, labels: Tensor, fill: bool) -> Tensor:
        """Tokens (B, P, C) of points, one more where ``fill``; a pixel's number means its centre."""
        if fill:
            points = torch.cat([points, points.new_zeros(len(points), 1, points.shape[-1])], dim=1)
            labels = torch.cat([labels, labels.new_full((len(labels), 1), NOT_A_POINT)], dim=1)
        tokens = self.pe_layer(self.relative(points))
        tokens = torch.where((labels < 0)[..., None], self.not_a_point_embed.weight, tokens)
        for kind, embedding in enumerate(self.point_embeddings):
            tokens = tokens + embedding.weight * (labels == kind)[..., None]
        return tokens

    def corners(self, boxes: Tensor) -> Tensor:
        """Tokens (B, 2, C) of the two corners of each box."""
        corners = self.pe_layer(self.relative(boxes.unflatten(-1, (2, -1))))
        return corners + torch.cat([self.point_embeddings[kind].weight for kind in (CORNER, OTHER_CORNER)])

    def relative(self, places: Tensor) -> Tensor:
        """Pixels (..., 2), as (x, y), in [0, 1] of the image's width and height."""
        return (places + 0.5) / places.new_tensor(self.divisor)


def mask_downscaling(channels: int, between: int, dims: int) -> nn.Sequential:
    """A mask (B, 1, 4 grid) to a map (B, C, grid)."""
    make = convolution(dims)
    return nn.Sequential(
        make(1, between // 4, kernel_size=2, stride=2), ChannelNorm(between // 4), nn.GELU(),
        make(between // 4, between, kernel_size=2, stride=2), ChannelNorm(between), nn.GELU(),
        make(between, channels, kernel_size=1))
