"""LoRA: W = W0 + B A, with A of r rows. It begins as the base model, since B = 0, and costs nothing once merged.

Source: Hu et al. 2022, arXiv:2106.09685, equation 3; for convolutions as Hugging Face's peft has it.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.adaptation.added import Update, kaiming
from fmlab.adaptation.sites import attention_blocks, convolutions, has_attention, replace
from fmlab.backbones.segmenter import Segmenter
from fmlab.errors import ModelError


class LoRALinear(Update):
    """y = W0 x + scale B A x, x (..., d). A: (r, d) as a linear layer begins, B: (out, r) of zeros."""

    def __init__(self, base: nn.Linear, rank: int, scale: float = 1.0):
        super().__init__(base)
        self.A, self.scale = kaiming(rank, base.in_features), scale
        self.B = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        y = self.base(x)
        return y + self.scale * F.linear(F.linear(x, self.A), self.B) if self.on else y

    def delta(self) -> Tensor:
        return self.scale * self.B @ self.A


class SeparateLoRA(Update):
    """LoRA as in its paper on a fused qkv layer: q, k and v have an update of rank r each, half the parameters of a joint one."""

    def __init__(self, base: nn.Linear, rank: int, scale: float = 1.0):
        super().__init__(base)
        self.A = nn.Parameter(torch.stack([kaiming(rank, base.in_features).data for _ in "qkv"]))
        self.B, self.scale = nn.Parameter(torch.zeros(3, base.out_features // 3, rank)), scale

    def forward(self, x: Tensor) -> Tensor:
        y = self.base(x)
        if not self.on:
            return y
        parts = [F.linear(F.linear(x, a), b) for a, b in zip(self.A, self.B)]
        return y + self.scale * torch.cat(parts, -1)

    def delta(self) -> Tensor:
        return self.scale * (self.B @ self.A).flatten(0, 1)


class LoRAConv3d(Update):
    """y = K0 * x + scale B * (A * x): A like the base kernel (size, stride, padding, dilation) with r outputs, B 1x1x1."""

    def __init__(self, base: nn.Conv3d, rank: int, scale: float = 1.0):
        super().__init__(base)
        if base.groups != 1:
            raise ModelError(f"LoRA for convolutions knows no groups, and this one has {base.groups}; leave it as it is.")
        self.A, self.scale = kaiming(rank, base.in_channels, *base.kernel_size), scale
        self.B = nn.Parameter(torch.zeros(base.out_channels, rank, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.base(x)
        if not self.on:
            return y
        inside = F.conv3d(x, self.A, stride=self.base.stride, padding=self.base.padding, dilation=self.base.dilation)
        return y + self.scale * F.conv3d(inside, self.B)

    def delta(self) -> Tensor:
        return self.scale * torch.einsum("or,rixyz->oixyz", self.B.flatten(1), self.A)


def lora(model: Segmenter, rank: int = 4, variant: Literal["code", "paper"] = "code", scale: float = 1.0) -> None:
    """LoRA on the fused qkv layer of each attention block, or on each 3x3x3 convolution of a U-Net's encoder.

    variant: on attention, "code" is FSEFT's, which gave the published numbers: its "rank 4" means one factorisation of rank 12
    for q, k and v together. "paper" is Hu et al.'s: three separate ones of the rank that is said. scale: of the update.
    """
    check_rank(rank)
    if variant not in ("code", "paper"):
        raise ModelError(f"LoRA has no variant {variant!r}; choose code (joint, rank 3 x {rank}) or paper (q, k and v apart).")
    if not has_attention(model):
        for name, conv in convolutions(model):
            replace(model, name, LoRAConv3d(conv, rank, scale))
        return
    for name, block in attention_blocks(model):
        qkv = block.attn.qkv
        new = LoRALinear(qkv, 3 * rank, scale) if variant == "code" else SeparateLoRA(qkv, rank, scale)
        replace(model, f"{name}.attn.qkv", new)


def check_rank(rank: int) -> None:
    """ModelError unless the rank is a whole number of 1 or more."""
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        raise ModelError(f"A rank of {rank!r} cannot be; give a whole number, 1 or more, such as 4.")
