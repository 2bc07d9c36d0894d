"""Selective methods: nothing is added, and a choice of the base model's own tensors is trained.

Source: Ben Zaken et al. 2022 (BitFit), doi:10.18653/v1/2022.acl-short.1; Cai et al. 2020 (TinyTL), arXiv:2007.11622;
Silva-Rodriguez et al. 2025 (FSEFT), arXiv:2303.17051, for what was trained under these names.
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from fmlab.adaptation.sites import NORMS, encoder_modules, has_attention, in_part
from fmlab.backbones.segmenter import Segmenter
from fmlab.errors import ModelError


def full(model: Segmenter) -> None:
    """Full fine-tuning: everything."""
    model.requires_grad_(True)


def linear_probe(model: Segmenter) -> None:
    """theta_c alone: a 1x1x1 convolution, C K + K numbers. Every method trains it; here there is nothing else."""


def decoder(model: Segmenter) -> None:
    """The decoder and the head; the encoder and the blocks on a Swin UNETR's skips stay as they are."""
    tune_decoder(model)


def tune_decoder(model: Segmenter) -> None:
    """Let the decoder be trained, beside whatever else is."""
    for name, weight in model.named_parameters():
        if in_part(model, "decoder", name):
            weight.requires_grad_(True)


def bitfit(model: Segmenter, variant: Literal["code", "paper"] = "code") -> None:
    """BitFit: the biases.

    variant: on a Swin, "code" is what FSEFT's selection of names finds, and what its numbers were had with: biases of attention
    and MLP, and the tables of relative positions, whose name also has "bias" in it and which are 94 % of it. "paper" is every
    bias of the encoder, the norms' too, and no table. On a U-Net both are the convolutions' biases and the norms' shifts.
    """
    if variant not in ("code", "paper"):
        raise ModelError(f"BitFit has no variant {variant!r}; choose code or paper.")
    by_name = variant == "code" and has_attention(model)
    for name, weight in model.named_parameters():
        inside = name.removeprefix("backbone.")
        chosen = ("mlp" in inside or "attn" in inside) and "bias" in inside if by_name else inside.endswith(".bias")
        if chosen and in_part(model, "encoder", name):
            weight.requires_grad_(True)


def affine(model: Segmenter) -> None:
    """Affine-LN or Affine-BN: scale and shift of each norm of the encoder. Source: Frankle et al. 2021, arXiv:2003.00152."""
    for _, norm in encoder_modules(model, *NORMS):
        for weight in norm.parameters(recurse=False):
            weight.requires_grad_(True)


def head_parameters(model: Segmenter) -> list[nn.Parameter]:
    """theta_c, which every method trains."""
    return list(model.head.parameters())
