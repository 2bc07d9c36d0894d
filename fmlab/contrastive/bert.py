"""BERT's encoder under its usual key names, for FLAIR's text tower; it gives the output of every layer.

    x_0 = norm(word + place + kind)       x_l = norm(h + W_2 gelu(W_1 h)),   h = norm(x + W_o attention(x))

Source: Devlin et al. 2019, doi:10.18653/v1/N19-1423; the names are those of the transformers package, in which Bio_ClinicalBERT
(Alsentzer et al. 2019, doi:10.18653/v1/W19-1909) is published.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPSILON = 1e-12


@dataclass(frozen=True)
class BertSize:
    """The size of Bio_ClinicalBERT, which is that of BERT base, cased."""

    words: int = 28996
    width: int = 768
    layers: int = 12
    heads: int = 12
    hidden: int = 3072
    places: int = 512


class Bert(nn.Module):
    """``forward`` gives all hidden states: the embeddings first, then each layer's output."""

    def __init__(self, size: BertSize = BertSize()):
        super().__init__()
        self.embeddings = nn.ModuleDict({
            "word_embeddings": nn.Embedding(size.words, size.width, padding_idx=0),
            "position_embeddings": nn.Embedding(size.places, size.width),
            "token_type_embeddings": nn.Embedding(2, size.width),
            "LayerNorm": nn.LayerNorm(size.width, EPSILON)})
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(_Layer(size) for _ in range(size.layers))})
        self.pooler = nn.ModuleDict({"dense": nn.Linear(size.width, size.width)})  # in the checkpoint, and used by nobody here

    def forward(self, tokens: Tensor, there: Tensor) -> list[Tensor]:
        """tokens: (B, L) int64. there: (B, L), 0 at padding. Returns layers + 1 times (B, L, width)."""
        place = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.embeddings["word_embeddings"](tokens) + self.embeddings["position_embeddings"](place)
        states = [self.embeddings["LayerNorm"](x + self.embeddings["token_type_embeddings"](torch.zeros_like(tokens)))]
        for layer in self.encoder["layer"]:
            states.append(layer(states[-1], there.bool()))
        return states


class _Layer(nn.Module):
    def __init__(self, size: BertSize):
        super().__init__()
        width, self.heads = size.width, size.heads
        self.attention = nn.ModuleDict({
            "self": nn.ModuleDict({name: nn.Linear(width, width) for name in ("query", "key", "value")}),
            "output": _output(width, width)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, size.hidden)})
        self.output = _output(size.hidden, width)

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        batch, length, width = x.shape
        query, key, value = (self.attention["self"][name](x).view(batch, length, self.heads, -1).transpose(1, 2)
                             for name in ("query", "key", "value"))
        seen = F.scaled_dot_product_attention(query, key, value, there[:, None, None])
        seen = seen.transpose(1, 2).reshape(batch, length, width)
        x = self.attention["output"]["LayerNorm"](self.attention["output"]["dense"](seen) + x)
        inner = F.gelu(self.intermediate["dense"](x))
        return self.output["LayerNorm"](self.output["dense"](inner) + x)


def _output(width: int, out: int) -> nn.ModuleDict:
    return nn.ModuleDict({"dense": nn.Linear(width, out), "LayerNorm": nn.LayerNorm(out, EPSILON)})
