"""The dynamic head of the CLIP-driven model: for each class k three 1x1x1 convolutions whose numbers theta_k a controller gave.

    P_k = sigma(((F * theta_k1) * theta_k2) * theta_k3)          F, 8 channels, is the same for all classes; sigma stays outside

The published code replicates F once per class and runs grouped convolutions over the replicas: at 96^3 with 32 classes 256
channels, 0.9 GB, three times over. But F is the same for all classes, so the first layers of all of them are one matrix of 8 K
rows; the second and third are K small products. Voxels are independent here, so they are taken in chunks whose hidden values stay
in the processor's cache, and nothing of the size of K volumes exists but the result.

Source: Liu et al. 2023, doi:10.1109/ICCV51070.2023.01934, section 3; conditional convolutions: Tian et al. 2020,
arXiv:2003.05664.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from fmlab.errors import ModelError

CACHED = {"cpu": 2**20, "cuda": 2**25}  # hidden values of a chunk: 4 MB stay in a cache; a GPU wants long launches instead


def parameter_count(width: int, outputs: int = 1) -> int:
    """How many numbers theta_k has for F of ``width`` channels: 153 for 8 and one output, 162 for two."""
    return 2 * width * width + outputs * width + 2 * width + outputs


def dynamic_head(f: Tensor, theta: Tensor, chunk: int | None = None, outputs: int = 1) -> Tensor:
    """Logits (B, K outputs, X, Y, Z) of the map F (B, C, X, Y, Z) and numbers theta (B, K, ``parameter_count(C, outputs)``).

    theta_k: all three weights first, (C, C), (C, C), (outputs, C), each row-major as output by input, then the three biases. K:
    the classes that are asked for; others cost nothing. outputs: of a class, one after the other: 1 for the CLIP-driven model,
    organ and tumour for DoDNet, whose classes are tasks. chunk: voxels at a time; by default as many as fit a cache. In training
    the hidden values of a chunk are computed again on the way back instead of being kept. Any number of spatial axes will do.
    ModelError where shapes do not fit.
    """
    layers = split_layers(f, theta, outputs)
    if chunk is None:
        chunk = max(1024, CACHED.get(f.device.type, CACHED["cpu"]) // max(layers[1].shape[1], 1))
    pieces = f.flatten(2).split(chunk, 2)
    if torch.is_grad_enabled() and (f.requires_grad or theta.requires_grad):
        found = [checkpoint(_chunk, piece, *layers, use_reentrant=False, preserve_rng_state=False) for piece in pieces]
        return torch.cat(found, 2).unflatten(2, f.shape[2:])
    logits, start = None, 0
    for piece in pieces:  # written where they belong, so that the result is not there twice
        found = _chunk(piece, *layers)
        logits = found.new_empty(*found.shape[:2], f[0, 0].numel()) if logits is None else logits
        logits[:, :, start:start + chunk] = found
        start += chunk
    return logits.unflatten(2, f.shape[2:])


def split_layers(f: Tensor, theta: Tensor, outputs: int = 1) -> tuple[Tensor, ...]:
    """w1 (B, K C, C), b1 (B, K C, 1), w2 (B K, C, C), b2 (B K, C, 1), w3 (B K, outputs, C), b3 (B K, outputs, 1)."""
    c = f.shape[1] if f.ndim > 2 else 0
    count = parameter_count(c, outputs)
    if theta.ndim != 3 or not c or theta.shape[::2] != (f.shape[0], count) or not theta.shape[1] or not f.numel():
        raise ModelError(
            f"A map {tuple(f.shape)} and parameters {tuple(theta.shape)} do not fit a dynamic head; "
            f"give (B, C, X, Y, Z) and (B, K, {count if c else 'numbers'}), neither of them empty.")
    w1, w2, w3, b1, b2, b3 = theta.split([c * c, c * c, outputs * c, c, c, outputs], 2)
    return (w1.reshape(len(f), -1, c), b1.reshape(len(f), -1, 1), w2.reshape(-1, c, c), b2.reshape(-1, c, 1),
            w3.reshape(-1, outputs, c), b3.reshape(-1, outputs, 1))


def _chunk(f: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, w3: Tensor, b3: Tensor) -> Tensor:
    """Logits (B, K outputs, V) of V voxels (B, C, V)."""
    h = torch.baddbmm(b1, w1, f).relu_()
    h = torch.baddbmm(b2, w2, h.view(-1, f.shape[1], f.shape[2])).relu_()
    return torch.baddbmm(b3, w3, h).view(f.shape[0], -1, f.shape[2])
