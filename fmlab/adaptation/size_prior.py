"""The transductive size prior: the scan to be segmented has an organ about as large as those of the support set.

    e = (p_t - p) / max(p, p_t),      penalty = max(|e| - margin, 0)

p is the mean probability that the model gives over the query scan, p_t the share that the support set's organs lead to expect.
A black-box method: it reads stored features of the query, and changes only what lies behind them.

Source: Silva-Rodriguez et al. 2023, arXiv:2303.17051v1 (transductive inference), and its code, which later versions left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from fmlab.errors import DataError

MARGIN, WEIGHT = 0.3, 0.1
ENOUGH = 5  # cases from which on outliers are left out


def size_target(sizes: Sequence[float]) -> float:
    """The size to expect, in the unit of ``sizes`` (of the support organs' largest components).

    The mean; of five cases or more, without those further than one standard deviation from the median. DataError for none.
    """
    values = np.asarray(sizes, dtype=float)
    if not values.size:
        raise DataError("No support case says how large the organ is; give at least one size.")
    if len(values) >= ENOUGH:
        near = np.abs(values - np.median(values)) <= values.std()
        values = values[near] if near.any() else values
    return float(values.mean())


def penalty(share: Tensor, expected: float, margin: float = MARGIN) -> Tensor:
    """max(|e| - margin, 0) of a predicted share of the voxels, a scalar with gradient, and the expected one.

    The denominator of e is detached, as in the code: its gradient has the same sign everywhere, and the size of 1 / max(p, p_t).
    (There the penalty of an organ too large is |e| + margin, which has the same gradient; ``coded`` gives that.)
    """
    return torch.clamp(error(share, expected).abs() - margin, min=0)


def coded(share: Tensor, expected: float, margin: float = MARGIN) -> Tensor:
    """The penalty as the published code computes it: |e| - margin below, |e| + margin above, 0 within the margin."""
    e = error(share, expected)
    if e.detach().abs() <= margin:
        return e * 0
    return e - margin if e.detach() > 0 else -e + margin


def error(share: Tensor, expected: float) -> Tensor:
    """e, positive where the organ is too small."""
    return (expected - share) / torch.clamp(share.detach(), min=expected)


def predicted_share(head: nn.Module, features: Sequence[Tensor]) -> Tensor:
    """p: mean probability of the first structure over all blocks of the query's features, each (B, C, x, y, z)."""
    total = sum(head(z)[:, 0].sigmoid().sum() for z in features)
    return total / sum(z[:, 0].numel() for z in features)
