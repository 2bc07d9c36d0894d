"""AdaptFormer: a narrow path beside each MLP of a transformer.

    x <- x + MLP(LN(x)) + s up(relu(down(x)))

Source: Chen et al. 2022, arXiv:2205.13535, equation 3.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.adaptation.added import Added
from fmlab.adaptation.lora import check_rank
from fmlab.adaptation.sites import attention_blocks, replace
from fmlab.backbones.segmenter import Segmenter
from fmlab.errors import ModelError

BOTTLENECKS = {"code": (16, 0.0), "paper": (64, 0.1)}


class Bottleneck(nn.Module):
    """s up(relu(down(x))), x (..., d): down as a linear layer begins, up and both biases 0, so that it begins as nothing."""

    def __init__(self, dim: int, width: int, scale: float = 0.1, dropout: float = 0.0):
        super().__init__()
        self.down, self.up, self.dropout, self.scale = nn.Linear(dim, width), nn.Linear(width, dim), nn.Dropout(dropout), scale
        nn.init.kaiming_uniform_(self.down.weight, a=5 ** 0.5)
        for weight in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.up(self.dropout(F.relu(self.down(x))))


class AdaptFormerBlock(Added):
    """A Swin block, x (B, X, Y, Z, d) to the same, with a bottleneck beside its MLP that reads x before the norm."""

    def __init__(self, base: nn.Module, width: int, scale: float = 0.1, dropout: float = 0.0):
        super().__init__(base)
        self.beside = Bottleneck(base.norm2.normalized_shape[0], width, scale, dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.base.drop_path(self.base.forward_part1(x, mask))
        y = x + self.base.forward_part2(x)
        return y + self.beside(x) if self.on else y


def adaptformer(model: Segmenter, width: int | None = None, variant: Literal["code", "paper"] = "code",
                scale: float = 0.1) -> None:
    """A bottleneck in each attention block. width: of it, by default the variant's. scale: s.

    variant: "code" is FSEFT's, which gave its numbers: width 16 without dropout. (Its configuration says 4, and nothing reads
    that.) "paper" is Chen et al.'s: width 64, dropout 0.1.
    """
    if variant not in BOTTLENECKS:
        raise ModelError(f"AdaptFormer has no variant {variant!r}; choose {' or '.join(BOTTLENECKS)}.")
    usual, dropout = BOTTLENECKS[variant]
    width = usual if width is None else width
    check_rank(width)
    for name, block in attention_blocks(model):
        replace(model, name, AdaptFormerBlock(block, width, scale, dropout))
