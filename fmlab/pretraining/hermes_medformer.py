"""Hermes-M: a MedFormer, whose lower levels attend to a small semantic map of themselves, beside which the priors stand.

    map      = 64 tokens, each a weighted mean over all voxels of a level
    tokens   = [map, priors]
    one product of features and tokens, softmax over tokens   -> what each voxel takes from the tokens
    the same product,          softmax over voxels            -> what each token takes from the voxels

So attention costs voxels x tokens rather than voxels squared, and serves both ways at once.

Source: Gao et al. 2024 (Hermes), doi:10.48550/arXiv.2306.02416, on Gao et al. 2022 (MedFormer), doi:10.48550/arXiv.2203.00131.
The names are those of the code that Hermes's authors released. Its norms have 1e-5 under the root here where they stand alone,
and 1e-4 where ReLU and convolution follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.backbones.segmenter import check_input
from fmlab.errors import ModelError
from fmlab.pretraining.hermes_priors import (
    MLP,
    Asked,
    ModalityHead,
    PreNorm,
    Priors,
    Prototypes,
    asked_tasks,
    by_prototype,
    modality_ids,
)
from fmlab.pretraining.hermes_resunet import Answer, NormReLUConv, Stem, chain, check_settings, enlarged, split

MAP = 64  # tokens of a semantic map, thought of as 4 x 4 x 4


class Separable(nn.Module):
    """A convolution of each channel, then a mixing of channels; no norm, no bias: (B, in, ...) to (B, out, ...)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.depthwise = nn.Conv3d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.pointwise = nn.Conv3d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


class Merging(nn.Module):
    """Half the sides: the eight voxels of each cube become channels, which are normed and reduced."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.reduction = Separable(8 * inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        corners = torch.cat([x[:, :, i::2, j::2, k::2] for i, j, k in product((0, 1), repeat=3)], 1)
        return self.reduction(F.instance_norm(corners))


class SemanticMap(nn.Module):
    """(B, C, X, Y, Z) to its map (B, 64, C): each token a mean of projected voxels, weighted by a softmax over all of them."""

    def __init__(self, channels: int):
        super().__init__()
        self.base_proj = nn.Conv3d(channels, channels, 3, padding=1, bias=False)
        self.semantic_proj = nn.Conv3d(channels, MAP, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.semantic_proj(x).flatten(2).softmax(-1)
        return torch.einsum("bnv,bcv->bnc", weights, self.base_proj(x).flatten(2))


class BothWays(nn.Module):
    """Features (B, in, X, Y, Z) and tokens (B, N, width) attend to each other: (B, width, X, Y, Z) and (B, N, width).

    A channel is (place in its head, head), not the other way round. last: what the tokens take is not projected, because nobody
    reads it but the prototypes.
    """

    def __init__(self, inputs: int, width: int, heads: int, last: bool = False):
        super().__init__()
        self.feat_qv = Separable(inputs, 2 * width)
        self.feat_out = Separable(width, width)
        self.map_qv = nn.Linear(width, 2 * width, bias=False)
        self.map_out = nn.Identity() if last else nn.Linear(width, width, bias=False)
        self.heads = heads

    def forward(self, features: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        fq, fv = (self._heads(h) for h in self.feat_qv(features).flatten(2).transpose(1, 2).chunk(2, -1))
        tq, tv = (self._heads(h) for h in self.map_qv(tokens).chunk(2, -1))
        agreement = fq @ tq.transpose(-1, -2) * fq.shape[-1] ** -0.5  # (B, heads, voxels, N)
        taken = self._joined(agreement.softmax(-1) @ tv)
        given = self._joined(agreement.softmax(-2).transpose(-1, -2) @ fv)
        return self.feat_out(taken.transpose(1, 2).unflatten(2, features.shape[2:])), self.map_out(given)

    def _heads(self, h: Tensor) -> Tensor:
        return h.unflatten(-1, (-1, self.heads)).permute(0, 3, 1, 2)

    def _joined(self, h: Tensor) -> Tensor:
        return h.permute(0, 2, 3, 1).flatten(2)


class Excitation(nn.Module):
    """Channels weighed by what all of them are on average. Source: Hu et al. 2018, doi:10.1109/CVPR.2018.00745."""

    def __init__(self, channels: int):
        super().__init__()
        narrow = channels // 4
        self.excitation = nn.Sequential(nn.Conv3d(channels, narrow, 1), nn.ReLU(), nn.Conv3d(narrow, channels, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.excitation(x.mean((2, 3, 4), keepdim=True))


class Inverted(nn.Module):
    """Four times the channels, a convolution of each, excitation, back: a feed-forward layer that looks around."""

    def __init__(self, channels: int):
        super().__init__()
        wide = 4 * channels
        self.expand_proj = NormReLUConv(channels, wide, 1)
        self.depthwise = NormReLUConv(wide, wide, groups=wide)
        self.se = Excitation(wide)
        self.pointwise = NormReLUConv(wide, channels, 1, active=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.pointwise(self.se(self.depthwise(self.expand_proj(x))))


class Attending(nn.Module):
    """One transformer block of features and tokens; shapes as in ``BothWays``."""

    def __init__(self, inputs: int, width: int, heads: int, last: bool):
        super().__init__()
        self.norm2 = nn.LayerNorm(width)
        self.attn = BothWays(inputs, width, heads, last)
        self.shortcut = NormReLUConv(inputs, width, 1) if inputs != width else nn.Identity()
        self.feedforward = Inverted(width)

    def forward(self, x: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        taken, given = self.attn(F.instance_norm(x), self.norm2(tokens))
        return self.feedforward(taken + self.shortcut(x)), tokens + given


class Blocks(nn.Module):
    """Transformer blocks, the first of which changes the channels."""

    def __init__(self, inputs: int, width: int, heads: int, depth: int, last: bool = False):
        super().__init__()
        self.blocks = nn.ModuleList(
            Attending(width if number else inputs, width, heads, last and number == depth - 1) for number in range(depth))

    def forward(self, x: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        for block in self.blocks:
            x, tokens = block(x, tokens)
        return x, tokens


class ConvDown(nn.Module):
    """Half the sides, then residual blocks: the level above those with priors."""

    def __init__(self, inputs: int, outputs: int, blocks: int):
        super().__init__()
        self.patch_merging = Merging(inputs, outputs)
        self.conv_blocks = nn.Sequential(*chain(outputs, outputs, blocks))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_blocks(self.patch_merging(x))


class ConvUp(nn.Module):
    """The level below, enlarged, and the skip of this one; then residual blocks."""

    def __init__(self, below: int, outputs: int, blocks: int):
        super().__init__()
        self.conv_blocks = nn.Sequential(*chain(below + outputs, outputs, blocks))

    def forward(self, h: Tensor, skip: Tensor) -> Tensor:
        return self.conv_blocks(torch.cat([enlarged(h, skip), skip], 1))


class Down(nn.Module):
    """Half the sides; the level's map is made, and it and the priors attend: features, map (B, 64, C), posteriors (B, P, C)."""

    def __init__(self, inputs: int, width: int, heads: int, depth: int, priors: Priors):
        super().__init__()
        self.map_gen = SemanticMap(width)
        self.prior_selection = priors
        self.patch_merging = Merging(inputs, width)
        self.trans_blocks = Blocks(width, width, heads, depth)

    def forward(self, x: Tensor, task: Tensor, modality: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.patch_merging(x)
        return attended(self.trans_blocks, h, self.map_gen(h), self.prior_selection.tokens(task, modality))


class Up(nn.Module):
    """The level below, enlarged, with the skip; the two levels' maps, token by token, become one; it and the priors attend."""

    def __init__(self, below: int, width: int, heads: int, depth: int, priors: Priors, last: bool = False):
        super().__init__()
        self.map_reduction = nn.Linear(below + width, width, bias=False)
        self.prior_selection = priors
        self.trans_blocks = Blocks(below + width, width, heads, depth, last)

    def forward(self, h: Tensor, skip: Tensor, maps: tuple[Tensor, Tensor], task: Tensor, modality: Tensor
                ) -> tuple[Tensor, Tensor, Tensor]:
        both = torch.cat([enlarged(h, skip), skip], 1)
        reduced = self.map_reduction(torch.cat(maps, -1))
        return attended(self.trans_blocks, both, reduced, self.prior_selection.tokens(task, modality))


def attended(blocks: Blocks, h: Tensor, semantic: Tensor, priors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Features, map and posteriors after the blocks, in which map and priors are tokens alike."""
    h, tokens = blocks(h, torch.cat([semantic, priors], 1))
    return h, *tokens.split([semantic.shape[1], priors.shape[1]], 1)


class SelfAttention(nn.Module):
    """Tokens (B, N, C) look at each other."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.to_qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.to_out = nn.Linear(channels, channels)
        self.heads = heads

    def forward(self, h: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.to_qkv(h).chunk(3, -1))
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Transformer(nn.Module):
    """Layers of self-attention and feed-forward."""

    def __init__(self, channels: int, heads: int, depth: int):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList([
                PreNorm(channels, SelfAttention(channels, heads)), PreNorm(channels, MLP(channels, channels, channels))])
            for _ in range(depth))

    def forward(self, h: Tensor) -> Tensor:
        for attend, feed in self.layers:
            h = feed(attend(h))
        return h


class MapFusion(nn.Module):
    """The maps of all levels look at each other: a list of (B, 64, C_level) in and out."""

    def __init__(self, widths: Sequence[int], channels: int, heads: int, depth: int):
        super().__init__()
        self.in_proj = nn.ModuleList(nn.Linear(w, channels, bias=False) for w in widths)
        self.fusion = Transformer(channels, heads, depth)
        self.out_proj = nn.ModuleList(nn.Linear(channels, w, bias=False) for w in widths)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        fused = self.fusion(torch.cat([project(m) for project, m in zip(self.in_proj, maps)], 1))
        return [project(m) for project, m in zip(self.out_proj, fused.chunk(len(maps), 1))]


class HermesM(nn.Module):
    """47,129,990 parameters as published; arguments as of ``HermesR``, but for:

    blocks: residual blocks of the levels without priors. depths: transformer blocks at the three lower levels going down and at
    the two above them going up. fusion: layers in which the three maps meet.
    """

    stride = 16

    def __init__(
        self, tasks: int = 72, modalities: int = 6, in_channels: int = 1, widths: Sequence[int] = (32, 64, 128, 256, 320),
        blocks: int = 2, depths: Sequence[int] = (2, 4, 8, 4, 2), head: int = 32, fusion: int = 2,
    ):
        super().__init__()
        check_settings(tasks, modalities, widths, blocks, depths, head)
        if fusion < 0:
            raise ModelError(f"The maps cannot meet in {fusion} layers; give 0 or more.")
        w0, w1, w2, w3, w4 = widths
        priors = [Priors(tasks, modalities, w) for w in (w2, w3, w4, w3, w2)]
        h2, h3, h4 = (w // head for w in (w2, w3, w4))
        self.inc = Stem(in_channels, w0)
        self.down1 = ConvDown(w0, w1, blocks)
        self.down2 = Down(w1, w2, h2, depths[0], priors[0])
        self.down3 = Down(w2, w3, h3, depths[1], priors[1])
        self.down4 = Down(w3, w4, h4, depths[2], priors[2])
        self.map_fusion = MapFusion((w2, w3, w4), w4, h4, fusion)
        self.up1 = Up(w4, w3, h3, depths[3], priors[3])
        self.up2 = Up(w3, w2, h2, depths[4], priors[4], last=True)
        self.up3 = ConvUp(w2, w1, blocks)
        self.up4 = ConvUp(w1, w0, blocks)
        width = 2 * (w2 + w3) + w4
        self.aux_classifier = Prototypes(width, w2)
        self.out_classifier = Prototypes(width, w0)
        self.mod_out = ModalityHead(width, modalities)
        self.tasks, self.modalities, self.in_channels, self.channels = tasks, modalities, in_channels, w0

    def answer(self, x: Tensor, task: Asked, modality: int | Sequence[int] | Tensor = 0) -> Answer:
        """All that is known of x (B, in_channels, X, Y, Z), sides multiples of 16; task and modality as in ``forward``."""
        check_input(self, x)
        asked = asked_tasks(task, x, self.tasks), modality_ids(modality, x, self.modalities)
        x0 = self.inc(x)
        x1 = self.down1(x0)
        x2, m2, p2 = self.down2(x1, *asked)
        x3, m3, p3 = self.down3(x2, *asked)
        x4, m4, p4 = self.down4(x3, *asked)
        m2, m3, m4 = self.map_fusion([m2, m3, m4])
        h, m3, p5 = self.up1(x4, x3, (m4, m3), *asked)
        low, _, p6 = self.up2(h, x2, (m3, m2), *asked)
        z = self.up4(self.up3(low, x1), x0)
        of_tasks, of_modality = split(torch.cat([p2, p3, p4, p5, p6], -1), asked[0])
        prototypes = self.out_classifier(of_tasks)
        aux = enlarged(by_prototype(low, self.aux_classifier(of_tasks)), x)
        return Answer(by_prototype(z, prototypes), self.mod_out(of_modality), z, prototypes, aux)

    def forward(self, x: Tensor, task: Asked, modality: int | Sequence[int] | Tensor = 0) -> Tensor:
        """Logits (B, K, X, Y, Z) of x (B, in_channels, X, Y, Z), one channel a task asked, in the order asked."""
        return self.answer(x, task, modality).logits
