"""Windows of a grid of tokens: attention within each costs far less than attention over all. In 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F


def in_windows(attention: Callable[[Tensor], Tensor], x: Tensor, size: int) -> Tensor:
    """attention of each window of size^d tokens of x (B, *grid, C), put together again; the whole grid where size is 0.

    Where the grid is no multiple of the size it is filled up with zeros at its far ends. These zeros are tokens like others: they
    have the key and the value of an empty token (the bias) and take their share of the softmax. SAM was trained with that.
    """
    if size == 0:
        return attention(x)
    grid = x.shape[1:-1]
    windows, filled = split(x, size)
    return joined(attention(windows), size, filled, grid)


def in_real_windows(attention: Callable[[Tensor], Tensor], x: Tensor, size: int) -> Tensor:
    """The same windows, not filled up: at the far ends attention is given smaller ones, and knows itself what is missing."""
    if size == 0:
        return attention(x)
    attended = torch.empty_like(x)
    pieces = [[piece for piece in ((0, n - n % size), (n - n % size, n)) if piece[0] < piece[1]] for n in x.shape[1:-1]]
    for box in product(*pieces):  # up to 2^d boxes: within each all windows are of one shape
        here = (slice(None), *[slice(first, last) for first, last in box])
        sizes = [min(size, last - first) for first, last in box]
        windows, grid = split(x[here], sizes)
        attended[here] = joined(attention(windows), sizes, grid, grid)
    return attended


def split(x: Tensor, size: int | Sequence[int]) -> tuple[Tensor, tuple[int, ...]]:
    """x (B, *grid, C) as windows (B n, size, ..., size, C), and the grid after filling up. size: of a side, or one an axis."""
    grid, dims = x.shape[1:-1], x.ndim - 2
    sizes = [size] * dims if isinstance(size, int) else list(size)
    margins = [0, 0]
    for n, side in zip(reversed(grid), reversed(sizes), strict=True):
        margins += [0, -n % side]
    x = F.pad(x, margins) if any(margins) else x
    filled = tuple(x.shape[1:-1])
    shape = [len(x), *[n for whole, side in zip(filled, sizes) for n in (whole // side, side)], x.shape[-1]]
    outer, inner = range(1, 2 * dims, 2), range(2, 2 * dims + 1, 2)
    windows = x.reshape(shape).permute(0, *outer, *inner, 2 * dims + 1)
    return windows.reshape(-1, *sizes, x.shape[-1]), filled


def joined(windows: Tensor, size: int | Sequence[int], filled: Sequence[int], grid: Sequence[int]) -> Tensor:
    """The inverse of ``split``: (B, *grid, C) of windows, without what was filled up."""
    dims = len(filled)
    sizes = [size] * dims if isinstance(size, int) else list(size)
    counts = [whole // side for whole, side in zip(filled, sizes)]
    x = windows.reshape(-1, *counts, *sizes, windows.shape[-1])
    places = [axis for i in range(dims) for axis in (1 + i, 1 + dims + i)]
    x = x.permute(0, *places, 2 * dims + 1).reshape(-1, *filled, windows.shape[-1])
    return x[(slice(None), *[slice(n) for n in grid])]
