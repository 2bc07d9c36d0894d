"""FLAIR's loss: what belongs together is told by the category, not by the place in the batch.

    G_ij = [c_i = c_j] / sum_k [c_i = c_k]        L = 1/2 CE(s, G) + 1/2 CE(s^T, G)

Pictures of one category share their captions' mass evenly. With all categories different it is CLIP's loss.

Source: Silva-Rodriguez et al. 2025, doi:10.1016/j.media.2024.103357, and its released code (github.com/jusiro/FLAIR).
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def targets(categories: Tensor) -> Tensor:
    """G, (B, B): of the same category or not, each row divided by its sum. categories: (B,) numbers."""
    same = (categories[:, None] == categories[None]).float()
    return same / same.sum(1, keepdim=True)


def pairing_loss(logits: Tensor, categories: Tensor) -> Tensor:
    """logits: (B, B), pictures by captions. categories: (B,) numbers. Returns one number."""
    goal = targets(categories)  # symmetric, so that it serves both directions
    return (F.cross_entropy(logits, goal) + F.cross_entropy(logits.T, goal)) / 2
