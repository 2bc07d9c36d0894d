"""CLIP's loss: each picture finds its own caption among the batch's, and each caption its own picture.

    L = 1/2 CE(s, I) + 1/2 CE(s^T, I)        s_ij = exp(t) u_i . v_j,  I: the target of row i is i

Source: Radford et al. 2021, arXiv:2103.00020, figure 3. It takes any two captions for different, also of two pictures of the same
condition; ``pairing_loss`` does not.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def clip_loss(logits: Tensor) -> Tensor:
    """logits: (B, B), pictures by captions, pair i on the diagonal. Returns one number; log B for who only guesses."""
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
