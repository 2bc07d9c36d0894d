"""Laws that exercises share, for ``Invariant``: what shape an answer has, and which changes of the input leave it alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

Make = Callable[[np.random.Generator], tuple]
Law = Callable[[Callable, np.random.Generator], bool]


def has_shape(make: Make, *shape: int) -> Law:
    """The answer to what ``make`` draws has this shape."""
    return lambda function, rng: np.shape(function(*make(rng))) == shape


def unmoved_by(make: Make, change: Callable[..., tuple], tolerance: float = 1e-5) -> Law:
    """The answer stays the same, absolutely and relatively within ``tolerance``, when the drawn arguments are changed so."""
    def holds(function: Callable, rng: np.random.Generator) -> bool:
        given = make(rng)
        before, after = (torch.as_tensor(function(*arguments)) for arguments in (given, change(*given)))
        return torch.allclose(before, after, rtol=tolerance, atol=tolerance)
    return holds
