"""Compacter: adapters whose matrices are sums of Kronecker products, and the norms.

    H = sum_i  A_i (x) B_i,      A_i (n, n), B_i (d_in / n, d_out / n):  1/n of the parameters of a dense H

Source: Karimi Mahabadi et al. 2021, arXiv:2106.04647, equations 4 to 6.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.adaptation.added import Added
from fmlab.adaptation.selective import affine
from fmlab.adaptation.sites import attention_blocks, replace
from fmlab.backbones.segmenter import Segmenter
from fmlab.errors import ModelError

N = 4


class PHM(nn.Module):
    """z H + b, (..., d_in) to (..., d_out), H = sum_i A_i (x) B_i. A: (n, n, n), B: (n, d_in / n, d_out / n), b: (d_out,)."""

    def __init__(self, inputs: int, outputs: int, n: int = N):
        super().__init__()
        if inputs % n or outputs % n:
            raise ModelError(f"{inputs} to {outputs} channels do not divide into {n} x {n} blocks; choose an n that does.")
        self.A, self.B = nn.Parameter(torch.empty(n, n, n)), nn.Parameter(torch.empty(n, inputs // n, outputs // n))
        self.b = nn.Parameter(torch.zeros(outputs))
        nn.init.normal_(self.A, std=n ** -0.5)
        nn.init.xavier_uniform_(self.B)

    def forward(self, z: Tensor) -> Tensor:
        h = torch.einsum("ipq,irs->prqs", self.A, self.B).flatten(2).flatten(0, 1)
        return z @ h + self.b


class LowRankPHM(PHM):
    """PHM with B_i = s_i t_i^T, and A shared with the other layers. ``out`` begins at 0 where ``zero``."""

    def __init__(self, inputs: int, outputs: int, shared: nn.Parameter, zero: bool):
        super().__init__(inputs, outputs, len(shared))
        self.A = shared
        n, rows, columns = self.B.shape
        del self.B
        self.s = nn.Parameter(torch.randn(n, rows, 1) * rows ** -0.5)
        self.t = nn.Parameter(torch.zeros(n, 1, columns) if zero else torch.randn(n, 1, columns))

    @property
    def B(self) -> Tensor:
        return self.s @ self.t


class CompacterBlock(Added):
    """A Swin block, x (B, X, Y, Z, d) to the same: after attention and after the MLP, what ``after`` makes of the branch."""

    def __init__(self, base: nn.Module, after: tuple[nn.Module, nn.Module]):
        super().__init__(base)
        self.after_attention, self.after_mlp = after

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        branch = self.base.drop_path(self.base.forward_part1(x, mask))
        x = x + (self.after_attention(branch) if self.on else branch)
        branch = self.base.forward_part2(x)
        return x + (self.after_mlp(branch) if self.on else branch)


class Narrow(nn.Module):
    """z + up(gelu(down(z))), both of them low-rank PHM layers; up begins at 0."""

    def __init__(self, dim: int, width: int, shared: nn.Parameter):
        super().__init__()
        self.down, self.up = LowRankPHM(dim, width, shared, zero=False), LowRankPHM(width, dim, shared, zero=True)

    def forward(self, z: Tensor) -> Tensor:
        return z + self.up(F.gelu(self.down(z)))


def compacter(model: Segmenter, variant: Literal["code", "paper"] = "code", width: int = 24) -> None:
    """Two adapters in each attention block, and all norms of the encoder.

    variant: "code" is FSEFT's: each branch goes through a whole d x d PHM layer in place of an adapter, so the model does not
    begin as the base one; it has 217,073 parameters. "paper" is the adapter of the paper: z + up(gelu(down(z))) of width
    ``width`` with factors of rank 1 and one shared A; it begins as the base model.
    """
    if variant not in ("code", "paper"):
        raise ModelError(f"Compacter has no variant {variant!r}; choose code or paper.")
    affine(model)
    shared = nn.Parameter(torch.randn(N, N, N) * N ** -0.5)
    for name, block in attention_blocks(model):
        dim = block.norm1.normalized_shape[0]
        after = tuple(PHM(dim, dim) if variant == "code" else Narrow(dim, width, shared) for _ in range(2))
        replace(model, name, CompacterBlock(block, after))
