"""SAM's image encoder: a plain vision transformer with windows, run once per image.

    Z = neck( blocks( patches(x) + positions ) )          x: (B, 3, 1024, 1024) to Z: (B, 256, 64, 64)

Source: Kirillov et al. 2023, arXiv:2304.02643; Li et al. 2022 (ViTDet), arXiv:2203.16527; Dosovitskiy et al. 2021,
arXiv:2010.11929. Most blocks attend within windows, a few over the whole grid. Parts serve 2-D and 3-D: a grid of two numbers
makes a 2-D encoder, of three a 3-D one, and a variant of SAM brings a block of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from fmlab.errors import ModelError
from fmlab.interactive.channel_norm import ChannelNorm
from fmlab.interactive.image_attention import ImageAttention
from fmlab.interactive.windows import in_windows

EPS = 1e-6  # of every norm of the encoder; torch's own default is 1e-5


class MLP(nn.Module):
    """Two linear maps with a GELU between them."""

    def __init__(self, channels: int, hidden: int, activation: Callable[[Tensor], Tensor] | None = None):
        super().__init__()
        self.lin1, self.lin2, self.act = nn.Linear(channels, hidden), nn.Linear(hidden, channels), activation or nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        return self.lin2(self.act(self.lin1(x)))


class Block(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)), of tokens (B, *grid, C). window: 0 for attention over the whole grid.

    attention: makes what tokens attend with, as ``attention(channels, heads, grid)``; windows: how it is given windows.
    """

    def __init__(self, channels: int, heads: int, grid: Sequence[int], window: int = 0, ratio: float = 4,
                 attention: Callable[..., nn.Module] = ImageAttention, windows: Callable[..., Tensor] = in_windows):
        super().__init__()
        self.norm1, self.window, self.windows = nn.LayerNorm(channels, EPS), window, windows
        self.attn = attention(channels, heads, [window] * len(grid) if window else grid)
        self.norm2, self.mlp = nn.LayerNorm(channels, EPS), MLP(channels, int(ratio * channels))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(x)
        return x + self.mlp(self.norm2(x))

    def attend(self, x: Tensor) -> Tensor:
        """Attention of the normed tokens; the norm comes before the windows are filled up with zeros."""
        return self.windows(self.attn, self.norm1(x), self.window)


class PatchEmbed(nn.Module):
    """An image (B, C, *size) cut into patches: tokens (B, *grid, channels), one convolution of kernel = stride."""

    def __init__(self, inputs: int, channels: int, patch: int, dims: int):
        super().__init__()
        self.proj = convolution(dims)(inputs, channels, kernel_size=patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).movedim(1, -1)


class ImageEncoder(nn.Module):
    """grid: tokens of a side, image size / patch; two or three numbers. channels: of a token. outputs: channels of Z.

    window: tokens of a window's side; blocks numbered in ``everywhere`` attend over the whole grid. block: makes each block,
    called as ``block(channels, heads, grid, window)``.
    """

    def __init__(self, grid: Sequence[int], patch: int, channels: int, depth: int, heads: int, outputs: int = 256,
                 window: int = 14, everywhere: Sequence[int] = (), inputs: int = 3, ratio: float = 4,
                 block: Callable[..., nn.Module] | None = None):
        super().__init__()
        if channels % heads:
            raise ModelError(f"{channels} channels do not split into {heads} heads; give a multiple.")
        self.grid, self.patch, dims = tuple(grid), patch, len(grid)
        make = block or partial(Block, ratio=ratio)
        self.patch_embed = PatchEmbed(inputs, channels, patch, dims)
        self.pos_embed = nn.Parameter(torch.randn(1, *grid, channels) * 0.02)
        self.blocks = nn.ModuleList(make(channels, heads, grid, 0 if i in everywhere else window) for i in range(depth))
        self.neck = neck(channels, outputs, dims)

    def forward(self, x: Tensor) -> Tensor:
        """Z (B, outputs, *grid) of preprocessed images (B, inputs, *(grid * patch)). ModelError for another size."""
        size = tuple(n * self.patch for n in self.grid)
        if x.ndim != len(size) + 2 or tuple(x.shape[2:]) != size:
            raise ModelError(f"This encoder takes images (B, C, {', '.join(map(str, size))}), not {tuple(x.shape)}; preprocess "
                             "them first, or build the model for that size.")
        x = self.patch_embed(x) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.neck(x.movedim(-1, 1))


def neck(channels: int, outputs: int, dims: int) -> nn.Sequential:
    """From tokens' channels to those of the decoder: 1x1 and 3x3 convolutions without bias, each with a norm."""
    make = convolution(dims)
    return nn.Sequential(
        make(channels, outputs, kernel_size=1, bias=False), ChannelNorm(outputs),
        make(outputs, outputs, kernel_size=3, padding=1, bias=False), ChannelNorm(outputs))


def convolution(dims: int) -> type[nn.Module]:
    """Conv2d or Conv3d."""
    return {2: nn.Conv2d, 3: nn.Conv3d}[dims]
