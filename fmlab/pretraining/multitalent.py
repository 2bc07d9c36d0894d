"""MultiTalent: one sigmoid for every structure of every data set, and no two of them ever merged.

    logits = U-Net(x)                               47 channels: 03_liver, ..., 17_liver, ..., 46_liver, ...
    loss   = sum over what x's data set has drawn   cross-entropy, less Dice

Four data sets draw a pancreas, each by its own rules, so there are four outputs of a pancreas, and nothing has to be decided
about which of them is right. Regions of one data set may overlap, such as a liver with its tumours and the tumours. What a data
set has not drawn costs its scans nothing (``masked.multitalent``); which regions there are, ``multitalent_regions`` says.

Source: Ulrich et al. 2023, doi:10.48550/arXiv.2303.14444, and its released code on nnU-Net, whose names are
kept. Two of its networks are here: nnU-Net's U-Net, and the one with a residual encoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.errors import ModelError
from fmlab.hub.models import LoadReport, load_official
from fmlab.pretraining.masked import multitalent as of_masks
from fmlab.pretraining.multitalent_regions import DATASETS, Datasets, names_of
from fmlab.pretraining.uniseg import CUBE, FLAT, ConvNormReLU, Stack, Triple


class MultiTalentUNet(nn.Module):
    """nnU-Net's U-Net: 29,319,560 parameters as published, for 13 data sets of CT and 47 regions, patches of 96 x 192 x 192.

    datasets: {data set: its regions}. base, most: channels of the first level, doubled a level up to ``most``. pools: divisors of
    each level below the first. kernels: of every level. ModelError for settings or input that do not fit.
    """

    heads = "seg_outputs."
    parts = {"encoder": ("conv_blocks_context.",), "decoder": ("tu.", "conv_blocks_localization.")}

    def __init__(
        self, datasets: Datasets = DATASETS, in_channels: int = 1, base: int = 30, most: int = 320,
        pools: Sequence[Triple] = (*[(2, 2, 2)] * 4, (1, 2, 2)), kernels: Sequence[Triple] = (CUBE,) * 6,
    ):
        super().__init__()
        widths = widths_of(base, most, in_channels, pools, kernels)
        self.names, self.in_channels, self.stride = names_of(datasets), in_channels, stride_of(pools)
        upwards = list(zip(widths[-2::-1], kernels[:0:-1], pools[::-1]))  # width, kernel and pool, the deepest level first
        self.conv_blocks_localization = nn.ModuleList(
            nn.Sequential(Stack(ConvNormReLU(2 * w, w, kernel)), Stack(ConvNormReLU(w, w, kernel))) for w, kernel, _ in upwards)
        steps = zip([in_channels, *widths], widths, kernels, [(1, 1, 1), *pools])
        levels = [[ConvNormReLU(i, w, kernel, pool), ConvNormReLU(w, w, kernel)] for i, w, kernel, pool in steps]
        below = nn.Sequential(*(Stack(block) for block in levels[-1]))
        self.conv_blocks_context = nn.ModuleList([*(Stack(*blocks) for blocks in levels[:-1]), below])
        self.tu = nn.ModuleList(
            nn.ConvTranspose3d(i, w, pool, pool, bias=False) for i, (w, _, pool) in zip(widths[:0:-1], upwards))
        self.seg_outputs = nn.ModuleList(nn.Conv3d(w, len(self.names), 1, bias=False) for w, *_ in upwards)
        initialise(self)

    def scales(self, x: Tensor) -> list[Tensor]:
        """Logits (B, K, ...) of every level but the deepest, full resolution first; in testing the first alone."""
        check_volume(self, x)
        skips = []
        for level in self.conv_blocks_context:
            x = level(x)
            skips.append(x)
        h, found = skips.pop(), []
        for up, convolve, head in zip(self.tu, self.conv_blocks_localization, self.seg_outputs):
            h = convolve(torch.cat([up(h), skips.pop()], 1))
            if self.training or not skips:  # the other levels are for the loss
                found.append(head(h))
        return found[::-1]

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K, X, Y, Z) of x (B, in_channels, X, Y, Z), a channel a region."""
        return self.scales(x)[0]


class Residual(nn.Module):
    """Two convolutions, instance norm after each, and a shortcut, which is all there is at first: the second norm begins at 0."""

    def __init__(self, inputs: int, outputs: int, kernel: Triple, step: Triple = (1, 1, 1)):
        super().__init__()
        self.conv1 = convolution(inputs, outputs, kernel, step)
        self.norm1 = nn.InstanceNorm3d(outputs, affine=True)
        self.conv2 = convolution(outputs, outputs, kernel)
        self.norm2 = nn.InstanceNorm3d(outputs, affine=True)
        self.downsample_skip = nn.Identity()
        if inputs != outputs or prod(step) > 1:
            self.downsample_skip = nn.Sequential(
                convolution(inputs, outputs, (1, 1, 1), step), nn.InstanceNorm3d(outputs, affine=True))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm2(self.conv2(F.leaky_relu(self.norm1(self.conv1(x)), 0.01)))
        return F.leaky_relu(h + self.downsample_skip(x), 0.01)


class Plain(nn.Module):
    """Convolution, instance norm, leaky ReLU. The released names hold its tensors twice, alone and in ``all``."""

    def __init__(self, inputs: int, outputs: int, kernel: Triple):
        super().__init__()
        self.conv = convolution(inputs, outputs, kernel)
        self.norm = nn.InstanceNorm3d(outputs, affine=True)
        self.all = nn.Sequential(self.conv, nn.Identity(), self.norm, nn.LeakyReLU(0.01))  # the second is their place for dropout

    def forward(self, x: Tensor) -> Tensor:
        return self.all(x)


class Convs(nn.Module):
    """Layers one after the other, under the name that nnU-Net gives them here."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.convs = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.convs(x)


class ResidualEncoder(nn.Module):
    """A convolution, then residual blocks on every level: the levels of x, finest first."""

    def __init__(self, in_channels: int, widths: Sequence[int], blocks: Sequence[int], pools: Sequence[Triple],
                 kernels: Sequence[Triple]):
        super().__init__()
        self.initial_conv = convolution(in_channels, widths[0], CUBE)
        self.initial_norm = nn.InstanceNorm3d(widths[0], affine=True)
        steps = zip([widths[0], *widths], widths, blocks, kernels, [(1, 1, 1), *pools])
        self.stages = nn.ModuleList(
            Convs(Residual(i, w, kernel, pool), *(Residual(w, w, kernel) for _ in range(count - 1)))
            for i, w, count, kernel, pool in steps)

    def forward(self, x: Tensor) -> list[Tensor]:
        levels = [F.leaky_relu(self.initial_norm(self.initial_conv(x)), 0.01)]
        for stage in self.stages:
            levels.append(stage(levels[-1]))
        return levels[1:]


class PlainDecoder(nn.Module):
    """One convolution a level: from the levels, finest first, to logits of every level but the deepest, full resolution first."""

    def __init__(self, outputs: int, widths: Sequence[int], pools: Sequence[Triple], kernels: Sequence[Triple]):
        super().__init__()
        upwards = list(zip(widths[:0:-1], widths[-2::-1], pools[::-1], kernels[-2::-1]))
        self.tus = nn.ModuleList(nn.ConvTranspose3d(i, w, pool, pool, bias=False) for i, w, pool, _ in upwards)
        self.stages = nn.ModuleList(Convs(Plain(2 * w, w, kernel)) for _, w, _, kernel in upwards)
        self.deep_supervision_outputs = nn.ModuleList(nn.Conv3d(w, outputs, 1) for _, w, *_ in upwards)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        *skips, h = levels
        found = []
        for up, stage, head in zip(self.tus, self.stages, self.deep_supervision_outputs):
            h = stage(torch.cat([up(h), skips.pop()], 1))
            if self.training or not skips:
                found.append(head(h))
        return found[::-1]


class MultiTalentResEnc(nn.Module):
    """The one with a residual encoder: 69,335,475 parameters as published. blocks: of each level; the rest as its sibling's."""

    heads = "decoder.deep_supervision_outputs."
    parts = {"encoder": ("encoder.",), "decoder": ("decoder.tus.", "decoder.stages.")}

    def __init__(
        self, datasets: Datasets = DATASETS, in_channels: int = 1, base: int = 30, most: int = 320,
        blocks: Sequence[int] = (1, 2, 3, 4, 4, 4), pools: Sequence[Triple] = ((1, 2, 2), *[(2, 2, 2)] * 4),
        kernels: Sequence[Triple] = (FLAT, *[CUBE] * 5),
    ):
        super().__init__()
        widths = widths_of(base, most, in_channels, pools, kernels)
        if len(blocks) != len(widths) or min(blocks) < 1:
            raise ModelError(f"{tuple(blocks)} blocks do not fit {len(widths)} levels; give at least one of each level.")
        self.names, self.in_channels, self.stride = names_of(datasets), in_channels, stride_of(pools)
        self.encoder = ResidualEncoder(in_channels, widths, blocks, pools, kernels)
        self.decoder = PlainDecoder(len(self.names), widths, pools, kernels)
        initialise(self)

    def scales(self, x: Tensor) -> list[Tensor]:
        """Logits (B, K, ...) of every level but the deepest, full resolution first; in testing the first alone."""
        check_volume(self, x)
        return self.decoder(self.encoder(x))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K, X, Y, Z) of x (B, in_channels, X, Y, Z), a channel a region."""
        return self.scales(x)[0]


def convolution(inputs: int, outputs: int, kernel: Triple, step: Triple = (1, 1, 1)) -> nn.Conv3d:
    """A convolution without bias that keeps the sides, or divides them by ``step``."""
    return nn.Conv3d(inputs, outputs, kernel, step, padding=tuple(k // 2 for k in kernel), bias=False)


def widths_of(base: int, most: int, in_channels: int, pools: Sequence[Triple], kernels: Sequence[Triple]) -> list[int]:
    """Channels of every level. ModelError for counts below 1 and where kernels and pools do not fit."""
    if min(base, most, in_channels) < 1 or not pools or len(kernels) != len(pools) + 1:
        raise ModelError(f"MultiTalent cannot have {in_channels} modalities, {base} to {most} channels, {len(pools)} pools and "
                         f"{len(kernels)} kernels; give at least 1 of each, and one kernel more than pools.")
    return [min(base * 2 ** level, most) for level in range(len(kernels))]


def stride_of(pools: Sequence[Triple]) -> Triple:
    """What each side must be a multiple of."""
    return tuple(prod(sides) for sides in zip(*pools))


def check_volume(model: nn.Module, x: Tensor) -> None:
    """ModelError unless x is (B, in_channels, X, Y, Z) with sides that can be pooled, to more than one voxel."""
    sides, stride = tuple(x.shape[2:]), model.stride
    if x.ndim != 5 or x.shape[1] != model.in_channels or any(not n or n % s for n, s in zip(sides, stride)) or sides == stride:
        raise ModelError(
            f"MultiTalent was given {tuple(x.shape)}; it takes (B, {model.in_channels}, X, Y, Z) with sides that are multiples "
            f"of {stride} and not all equal to them, because a single voxel cannot be normalised.")


def initialise(model: nn.Module) -> None:
    """nnU-Net's beginning: kernels after He, biases zero, and the last norm of a residual block at zero."""
    for module in model.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            nn.init.kaiming_normal_(module.weight, a=0.01)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        if isinstance(module, Residual):
            nn.init.zeros_(module.norm2.weight)


def objective(scales: Sequence[Tensor], target: Tensor, w: Tensor) -> Tensor:
    """``masked.multitalent`` over scales: each counts half of the one before, the last nothing, all together 1.

    scales: logits (B, K, ...), full resolution first. target: (B, K, X, Y, Z) of ``targets``. w: (B, K) of ``annotated``.
    """
    weights = [0.5 ** number for number in range(max(len(scales) - 1, 1))]
    smaller = (F.interpolate(target.float(), z.shape[2:], mode="nearest-exact") for z in scales)
    return sum(weight * of_masks(z, y, w) for weight, z, y in zip(weights, scales, smaller)) / sum(weights)


def load_pretrained(model: MultiTalentUNet | MultiTalentResEnc, checkpoint: Mapping[str, Any]) -> LoadReport:
    """Put a pre-trained network of the same kind into one for other regions, whose heads stay new; prints what matched.

    The authors then train the heads alone for ten epochs before all the rest joins in.
    """
    return load_official(model, checkpoint, allow_missing=(model.heads,))


SIZES = {
    "published": (MultiTalentUNet, {}),
    "resenc": (MultiTalentResEnc, {}),
    "nano": (MultiTalentUNet, dict(base=8, most=80, pools=((2, 2, 2),) * 4, kernels=(CUBE,) * 5)),
}
"""Network and settings by name; the first is nnU-Net's U-Net."""


def multitalent(size: str = "published", **changes) -> MultiTalentUNet | MultiTalentResEnc:
    """A MultiTalent by the name of its size: one of SIZES; changes: settings of its network that differ from it."""
    if size not in SIZES:
        raise ModelError(f"There is no MultiTalent of size {size!r}; choose one of {', '.join(SIZES)}.")
    network, settings = SIZES[size]
    return network(**(settings | changes))
