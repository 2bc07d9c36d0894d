"""SoRA: gated LoRA with an l1 term in the loss and a proximal step of its own for the gates. ARENA's parent.

    W = W0 + s B diag(g) A,   s = alpha / r        loss + lambda1 mean |g|        g <- prox_{lambda2 |.|}(Adam step on g)

Source: Ding et al. 2023, doi:10.18653/v1/2023.emnlp-main.252, equations 5 to 9.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fmlab.adaptation.arena import Gated, gated, soft_threshold
from fmlab.adaptation.lora import check_rank
from fmlab.adaptation.sites import attention_blocks, replace
from fmlab.backbones.segmenter import Segmenter

ALPHA, LAMBDA1, LAMBDA2 = 16, 10.0, 3e-4


class SoRALinear(Gated):
    """``Gated`` with s = alpha / r and gates (r,) from N(0, 1)."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float = ALPHA):
        super().__init__(base, rank, scale=alpha / rank)
        nn.init.normal_(self.v)


def sora(model: Segmenter, rank: int = 8, alpha: float = ALPHA, lambda1: float = LAMBDA1, lambda2: float = LAMBDA2) -> None:
    """SoRA on the six linear layers of each attention block: q, k and v in one, the projection, and both of the MLP.

    lambda1: of mean |g| in the loss. lambda2: of the proximal step; the original's first optimiser does not multiply it by the
    rate, nor does this one.
    """
    check_rank(rank)
    for name, block in attention_blocks(model):
        for inside in ("attn.qkv", "attn.proj", "mlp.linear1", "mlp.linear2"):
            replace(model, f"{name}.{inside}", SoRALinear(block.get_submodule(inside), rank, alpha))


def after_step(model: nn.Module, lr: float, lambda2: float = LAMBDA2, **_: float) -> None:
    """The proximal step on the gates."""
    for layer in gated(model):
        layer.v.data = soft_threshold(layer.v.data, lambda2)


def penalty(model: nn.Module, lambda1: float = LAMBDA1, **_: float) -> Tensor:
    """lambda1 mean |g| over all gates; 0 where all were taken out."""
    gates = torch.cat([layer.v.abs() for layer in gated(model)])
    return lambda1 * gates.sum() / max(len(gates), 1)
