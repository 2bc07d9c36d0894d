"""ARENA: LoRA with a gate for each rank, and a penalty that closes gates.

    W = W0 + B diag(v) A,        min over A, B, v of  L(A, B, v) + lambda ||v||_1

    v <- sign(v) max(|v| - lambda lr, 0)          after each step of the optimiser: the proximal step of the l1 norm

A rank whose gate is 0 can be taken out, and what is left folded into W0.

Source: Baklouti et al., ARENA (github.com/ghassenbaklouti/ARENA), and the slides' formula. The gate is SoRA's: Ding et al. 2023,
doi:10.18653/v1/2023.emnlp-main.252.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.adaptation.added import Update, kaiming
from fmlab.adaptation.lora import check_rank
from fmlab.adaptation.sites import attention_blocks, replace
from fmlab.backbones.segmenter import Segmenter
from fmlab.errors import ModelError

LAMBDA = 0.5
Step = Literal["proximal", "gradient", "none"]
Gates = Literal["trained", "frozen", "ones"]


class Gated(Update):
    """y = W0 x + scale B (v * (A x)), x (..., d). A (r, d) begins as a linear layer's, B (out, r) as 0, v (r,) as U(-1, 1)."""

    def __init__(self, base: nn.Linear, rank: int, gates: Gates = "trained", scale: float = 1.0):
        super().__init__(base)
        self.A, self.scale = kaiming(rank, base.in_features), scale
        self.B = nn.Parameter(torch.zeros(base.out_features, rank))
        v = torch.ones(rank) if gates == "ones" else torch.empty(rank).uniform_(-1, 1)
        self.v = nn.Parameter(v, requires_grad=gates == "trained")

    def forward(self, x: Tensor) -> Tensor:
        y = self.base(x)
        return y + self.scale * F.linear(self.v * F.linear(x, self.A), self.B) if self.on else y

    def delta(self) -> Tensor:
        return self.scale * (self.B * self.v) @ self.A

    def keep(self, ranks: Tensor) -> None:
        """Only these ranks, by number; the others' rows of A, columns of B and gates are taken out."""
        for name, weight, along in (("A", self.A, 0), ("B", self.B, 1), ("v", self.v, 0)):
            setattr(self, name, nn.Parameter(weight.detach().index_select(along, ranks), requires_grad=weight.requires_grad))

    @property
    def open(self) -> Tensor:
        """Numbers of the ranks whose gate is not 0."""
        return self.v.detach().nonzero().flatten()


def soft_threshold(v: Tensor, by: float) -> Tensor:
    """sign(v) max(|v| - by, 0): the proximal operator of by ||v||_1."""
    return v.sign() * (v.abs() - by).clamp(min=0)


def l1(model: nn.Module) -> Tensor:
    """||v||_1 over all gates, a scalar."""
    return torch.stack([layer.v.abs().sum() for layer in gated(model)]).sum()


def prune(model: nn.Module) -> tuple[int, int]:
    """Take out every rank whose gate is 0, which changes no output; how many ranks are left, and how many there were."""
    layers = gated(model)
    before = sum(layer.v.numel() for layer in layers)
    for layer in layers:
        layer.keep(layer.open)
    return sum(layer.v.numel() for layer in layers), before


def prune_at_random(model: nn.Module, left: int, generator: torch.Generator) -> None:
    """The control: close as many gates as needed, whichever they are, so that ``left`` stay open. ModelError for too many."""
    layers = gated(model)
    where = [(layer, rank) for layer in layers for rank in layer.open.tolist()]
    if not 0 <= left <= len(where):
        raise ModelError(f"{left} gates cannot stay open, as {len(where)} are; give a number from 0 to that.")
    for number in torch.randperm(len(where), generator=generator)[left:].tolist():
        layer, rank = where[number]
        layer.v.data[rank] = 0


def gated(model: nn.Module) -> list[Gated]:
    """All gated layers of the model. ModelError where there are none."""
    layers = [module for module in model.modules() if isinstance(module, Gated)]
    if not layers:
        raise ModelError("The model has no gates; attach arena or sora to it first.")
    return layers


def arena(model: Segmenter, rank: int = 8, lam: float = LAMBDA, step: Step = "proximal", gates: Gates = "trained") -> None:
    """ARENA on the fused qkv layer of each attention block, of rank 3 x ``rank`` for q, k and v together, as published.

    lam: lambda. step: "proximal" as in the code; "gradient" adds lambda ||v||_1 to the loss, as the formula has it, whose gates
    come near 0 and never stay there; "none" is lambda = 0. gates: "trained"; as controls, "frozen" as they are drawn, or "ones",
    which is LoRA of rank 3 x ``rank``.
    """
    check_rank(rank)
    if step not in ("proximal", "gradient", "none") or gates not in ("trained", "frozen", "ones"):
        raise ModelError(f"ARENA has no step {step!r} with {gates!r} gates; choose proximal, gradient or none, and trained, "
                         "frozen or ones.")
    if not 0 <= lam < float("inf"):
        raise ModelError(f"A lambda of {lam!r} cannot be; give a finite number, 0 or more, such as {LAMBDA}.")
    for name, block in attention_blocks(model):
        replace(model, f"{name}.attn.qkv", Gated(block.attn.qkv, 3 * rank, gates))


def after_step(model: nn.Module, lr: float, lam: float = LAMBDA, step: Step = "proximal",
               gates: Gates = "trained") -> None:
    """The proximal step with the rate of the step that was just made. Adam's moments of v are left, so a gate may open again.

    Adam's own step does not depend on the size of gradients, so the threshold, lambda lr, is against a step of about lr: a gate
    survives where its gradient's mean is more than lambda / sqrt(1 - lambda^2) of its standard deviation, 0.577 for 0.5.
    """
    if step == "proximal" and gates == "trained":
        for layer in gated(model):
            layer.v.data = soft_threshold(layer.v.data, lam * lr)


def penalty(model: nn.Module, lam: float = LAMBDA, step: Step = "proximal") -> Tensor | float:
    """What is added to the loss: lambda ||v||_1 where the l1 norm is stepped down by its gradient."""
    return lam * l1(model) if step == "gradient" else 0.0
