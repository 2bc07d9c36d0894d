"""Windows of a grid of tokens: attention within each costs far less than attention over all. In 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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


def split(x: Tensor, size: int) -> tuple[Tensor, tuple[int, ...]]:
    """x (B, *grid, C) as windows (B n, size, ..., size, C), and the grid after filling up."""
    grid, dims = x.shape[1:-1], x.ndim - 2
    margins = [0, 0]
    for n in reversed(grid):
        margins += [0, -n % size]
    x = F.pad(x, margins) if any(margins) else x
    filled = tuple(x.shape[1:-1])
    shape = [len(x), *[n for side in filled for n in (side // size, size)], x.shape[-1]]
    outer, inner = range(1, 2 * dims, 2), range(2, 2 * dims + 1, 2)
    windows = x.view(shape).permute(0, *outer, *inner, 2 * dims + 1)
    return windows.reshape(-1, *[size] * dims, x.shape[-1]), filled


def joined(windows: Tensor, size: int, filled: Sequence[int], grid: Sequence[int]) -> Tensor:
    """The inverse of ``split``: (B, *grid, C) of windows, without what was filled up."""
    dims, counts = len(filled), [side // size for side in filled]
    x = windows.view(-1, *counts, *[size] * dims, windows.shape[-1])
    places = [axis for i in range(dims) for axis in (1 + i, 1 + dims + i)]
    x = x.permute(0, *places, 2 * dims + 1).reshape(-1, *filled, windows.shape[-1])
    return x[(slice(None), *[slice(n) for n in grid])]
