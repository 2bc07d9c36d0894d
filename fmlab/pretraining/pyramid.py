"""UniMiSS's network: a pyramid transformer that reads pictures and volumes, with one set of attention weights for both.

Where a picture and a volume differ, there are two of a thing, named ...2D and ...3D: the embeddings into patches, the reduction
of keys and values, the positions, the steps up. All else, queries, keys, values and perceptrons, is shared, and that is how a 2-D
archive can teach a 3-D network.

Source: Xie et al. 2022 (UniMiSS, ECCV), arXiv:2112.09356; attention with spatial reduction: Wang et al. 2021 (PVT),
doi:10.1109/ICCV48922.2021.00061.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.errors import ModelError

TINY = dict(dims=(48, 128, 256, 512), depths=(1, 1, 1, 1), heads=(1, 2, 4, 8), ups=(3, 4, 3), sides=(96, 96, 16))
SMALL = {**TINY, "depths": (2, 3, 4, 3)}
NANO = dict(dims=(16, 32, 64, 128), depths=(1, 1, 1, 1), heads=(1, 2, 4, 8), ups=(1, 1, 1), sides=(48, 48, 16))
"""Settings of ``Pyramid``; the first two after the published ones."""

RATIOS = (8, 4, 2, 1)  # by how much keys and values are thinned at each level, along each axis
STEPS = (16, 16, 8)  # a volume's sides are multiples of these; a picture's, of the first two


class Pyramid(nn.Module):
    """Four levels down, three up, and a class token that joins at the deepest and goes up with the others.

    dims, depths, heads: of the levels from fine to coarse. ups: depths of the decoder's, from coarse to fine. sides: of the
    volumes that positions are learned for; others get interpolated ones. A slice lies in the first two axes.
    """

    def __init__(self, dims: Sequence[int] = NANO["dims"], depths: Sequence[int] = NANO["depths"],
                 heads: Sequence[int] = NANO["heads"], ups: Sequence[int] = NANO["ups"], sides: Sequence[int] = NANO["sides"],
                 in_channels: int = 1):
        super().__init__()
        if len(dims) != 4 or len(depths) != 4 or len(heads) != 4 or len(ups) != 3 or any(d % h for d, h in zip(dims, heads)):
            raise ModelError("A pyramid has four dims, depths and heads, three ups, and heads that divide dims; count them.")
        _check_sides(sides)
        grids = [(sides[0] // 2**n, sides[1] // 2**n, sides[2] // 2 ** (n - 1)) for n in (1, 2, 3, 4)]
        self.encoder = nn.ModuleList([
            Down(in_channels if n == 0 else dims[n - 1], dims[n], depths[n], heads[n], RATIOS[n], grids[n], stem=n == 0)
            for n in range(4)])
        self.token = nn.Parameter(torch.zeros(1, 1, dims[3]))
        self.decoder = nn.ModuleList([
            Up(dims[n + 1], dims[n], depth, heads[n], RATIOS[n], grids[n]) for n, depth in zip((2, 1, 0), ups)])
        nn.init.trunc_normal_(self.token, std=0.02)
        self.in_channels, self.dims = in_channels, tuple(dims)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The class token (B, dims[0]) and the finest map of x: (B, dims[0], X/2, Y/2) of pictures (B, C, X, Y), or
        (B, dims[0], X/2, Y/2, Z) of volumes (B, C, X, Y, Z)."""
        token, maps = self.down(x)
        level = maps.pop()
        for up in self.decoder:
            token, level = up(token, level, maps.pop())
        return token[:, 0], level

    def down(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The class token (B, 1, dims[3]) after the deepest level, and all four levels' maps."""
        if x.ndim not in (4, 5) or x.shape[1] != self.in_channels:
            raise ModelError(f"The pyramid was given {tuple(x.shape)}; it takes pictures (B, {self.in_channels}, X, Y) or "
                             f"volumes (B, {self.in_channels}, X, Y, Z).")
        _check_sides(x.shape[2:])
        maps = []
        for number, stage in enumerate(self.encoder):
            token = self.token.expand(len(x), -1, -1) if number == 3 else None
            token, x = stage(token, x)
            maps.append(x)
        return token, maps


class PyramidBackbone(nn.Module):
    """A pyramid that gives one feature vector a voxel, for a head to follow: 3-D only, after transfer.

    Its last step up is not part of what a pretext trains. Sides are multiples of ``stride``; the deepest level has X/16, Y/16,
    Z/8.
    """

    stride = 16
    parts = {"encoder": ("net.encoder.", "net.token"), "decoder": ("net.decoder.",)}

    def __init__(self, **config):
        super().__init__()
        self.net = Pyramid(**config)
        self.in_channels, self.channels, self.deep_channels = self.net.in_channels, self.net.dims[0], self.net.dims[3]
        self.finish = nn.ConvTranspose3d(self.channels, self.channels, kernel_size=(2, 2, 1), stride=(2, 2, 1))

    def features(self, x: Tensor) -> Tensor:
        """Z (B, dims[0], X, Y, Z) of x (B, in_channels, X, Y, Z)."""
        return self.finish(self.net(x)[1])

    forward = features


class Down(nn.Module):
    """A level of the encoder: (B, C, ...) to (B, width, half of each side), or of the first two sides by the stem."""

    def __init__(self, inputs: int, width: int, depth: int, heads: int, ratio: int, grid: Sequence[int], stem: bool):
        super().__init__()
        kernel, step = (7, (2, 2, 1)) if stem else (3, (2, 2, 2))
        self.embed2D = nn.Conv2d(inputs, width, kernel, stride=step[:2], padding=kernel // 2)
        self.embed3D = nn.Conv3d(inputs, width, kernel, stride=step, padding=kernel // 2)
        self.level = Level(width, depth, heads, ratio, grid)

    def forward(self, token: Tensor | None, x: Tensor) -> tuple[Tensor | None, Tensor]:
        return self.level(token, (self.embed2D if x.ndim == 4 else self.embed3D)(x))


class Up(nn.Module):
    """A level of the decoder: twice as fine, the encoder's map of that level added."""

    def __init__(self, inputs: int, width: int, depth: int, heads: int, ratio: int, grid: Sequence[int]):
        super().__init__()
        self.up2D = nn.ConvTranspose2d(inputs, width, kernel_size=2, stride=2)
        self.up3D = nn.ConvTranspose3d(inputs, width, kernel_size=2, stride=2)
        self.up_token = nn.Linear(inputs, width)
        self.level = Level(width, depth, heads, ratio, grid)

    def forward(self, token: Tensor, x: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        return self.level(self.up_token(token), (self.up2D if x.ndim == 4 else self.up3D)(x) + skip)


class Level(nn.Module):
    """Positions, blocks and a norm: token (B, 1, C) or None and map (B, C, ...), both back in the same shapes."""

    def __init__(self, width: int, depth: int, heads: int, ratio: int, grid: Sequence[int]):
        super().__init__()
        self.position2D = nn.Parameter(torch.empty(1, width, *grid[:2]))
        self.position3D = nn.Parameter(torch.empty(1, width, *grid))
        self.blocks = nn.ModuleList([Block(width, heads, ratio) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        for position in (self.position2D, self.position3D):
            nn.init.trunc_normal_(position, std=0.02)

    def forward(self, token: Tensor | None, x: Tensor) -> tuple[Tensor | None, Tensor]:
        grid, position = x.shape[2:], self.position2D if x.ndim == 4 else self.position3D
        if position.shape[2:] != grid:
            position = F.interpolate(position, size=grid, mode="bilinear" if x.ndim == 4 else "trilinear", align_corners=False)
        tokens = (x + position).flatten(2).transpose(1, 2)
        if token is not None:
            tokens = torch.cat([token, tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens, grid)
        tokens, extra = self.norm(tokens), tokens.shape[1] - grid.numel()
        return tokens[:, :extra] if extra else None, tokens[:, extra:].transpose(1, 2).unflatten(2, grid)


class Block(nn.Module):
    """A transformer's block on (B, N, C), norms first. The grid says how the last of the N tokens lie."""

    def __init__(self, width: int, heads: int, ratio: int):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads, ratio)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, tokens: Tensor, grid: torch.Size) -> Tensor:
        tokens = tokens + self.attention(self.norm1(tokens), grid)
        return tokens + self.mlp(self.norm2(tokens))


class Attention(nn.Module):
    """Every token asks; keys and values are of a map ``ratio`` times coarser along each axis, and of the class token."""

    def __init__(self, width: int, heads: int, ratio: int):
        super().__init__()
        self.heads, self.ratio = heads, ratio
        self.q, self.kv, self.proj = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        if ratio > 1:
            self.reduce2D = nn.Conv2d(width, width, kernel_size=ratio, stride=ratio)
            self.reduce3D = nn.Conv3d(width, width, kernel_size=ratio, stride=ratio)
            self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, grid: torch.Size) -> Tensor:
        seen = self.reduced(tokens, grid) if self.ratio > 1 else tokens
        q, (k, v) = self.q(tokens), self.kv(seen).chunk(2, dim=-1)
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def reduced(self, tokens: Tensor, grid: torch.Size) -> Tensor:
        extra = tokens.shape[1] - grid.numel()
        level = tokens[:, extra:].transpose(1, 2).unflatten(2, grid)
        fewer = (self.reduce2D if len(grid) == 2 else self.reduce3D)(level).flatten(2).transpose(1, 2)
        return self.norm(torch.cat([tokens[:, :extra], fewer], dim=1))


def _check_sides(sides: Sequence[int]) -> None:
    if any(side < step or side % step for side, step in zip(sides, STEPS)):
        wanted = " x ".join(map(str, STEPS[:len(sides)]))
        raise ModelError(f"The pyramid was given a size of {tuple(sides)}; pad or crop to multiples of {wanted}.")
