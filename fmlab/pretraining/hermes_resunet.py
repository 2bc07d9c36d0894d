"""Hermes-R: a residual U-Net whose three lower levels exchange what they see with the priors of tasks and modality."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.backbones.segmenter import check_input
from fmlab.errors import ModelError
from fmlab.pretraining.hermes_priors import (
    Asked,
    ModalityHead,
    Priors,
    Prototypes,
    asked_tasks,
    by_prototype,
    modality_ids,
)


class Answer(NamedTuple):
    """All that a Hermes gives. logits: (B, K, X, Y, Z), one a task asked. modality: logits (B, modalities). features: Z (B, C, X,
    Y, Z). prototypes: (B, K, C), with which Z gives the logits. aux: logits of a lower level, full size, or None.
    """

    logits: Tensor
    modality: Tensor
    features: Tensor
    prototypes: Tensor
    aux: Tensor | None = None


class NormReLUConv(nn.Module):
    """Instance norm without parameters, ReLU, convolution without bias: (B, in, ...) to (B, out, ...)."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, groups: int = 1, active: bool = True):
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        h = F.instance_norm(x, eps=1e-4)
        return self.conv(F.relu(h) if self.active else h)


class Block(nn.Module):
    """Residual block of two convolutions, each after its norm; where channels change, a third one is the shortcut."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv1 = NormReLUConv(inputs, outputs)
        self.conv2 = NormReLUConv(outputs, outputs)
        self.shortcut = NormReLUConv(inputs, outputs) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x)) + self.shortcut(x)


class Stem(nn.Module):
    """The first level: a bare convolution, then a block."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, outputs, 3, padding=1, bias=False)
        self.conv2 = Block(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x))


class Down(nn.Module):
    """Half the sides, then blocks."""

    def __init__(self, inputs: int, outputs: int, blocks: int):
        super().__init__()
        self.conv = nn.Sequential(nn.MaxPool3d(2), *chain(inputs, outputs, blocks))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Up(nn.Module):
    """The level below, enlarged, behind the skip of this level; then blocks."""

    def __init__(self, below: int, outputs: int, blocks: int):
        super().__init__()
        self.conv = nn.Sequential(*chain(below + outputs, outputs, blocks))

    def forward(self, h: Tensor, skip: Tensor) -> Tensor:
        return self.conv(torch.cat([skip, enlarged(h, skip)], 1))


class HermesR(nn.Module):
    """60,884,998 parameters as published, for 72 tasks and 6 modalities: CT, PET, T1, T2, cine, unknown.

    tasks: T, rows of the task tables, one more for ``NULL``. modalities: M; the last one is what NULL means. widths: channels of
    the five levels. blocks: residual blocks of each level below the first. depths: layers of attention at the three lower levels
    going down and at the two above them going up. head: channels of each attention head.

    ModelError for settings or input that do not fit.
    """

    stride = 16

    def __init__(
        self, tasks: int = 72, modalities: int = 6, in_channels: int = 1, widths: Sequence[int] = (32, 64, 128, 256, 320),
        blocks: int = 2, depths: Sequence[int] = (2, 2, 4, 2, 2), head: int = 32,
    ):
        super().__init__()
        check_settings(tasks, modalities, widths, blocks, depths, head)
        w0, w1, w2, w3, w4 = widths
        priors = [Priors(tasks, modalities, w, w // head, depth) for w, depth in zip((w2, w3, w4, w3, w2), depths)]
        self.inc = Stem(in_channels, w0)
        self.down1 = Down(w0, w1, blocks)
        self.down2 = Down(w1, w2, blocks)
        self.prior_init_fuse_2 = priors[0]
        self.down3 = Down(w2, w3, blocks)
        self.prior_init_fuse_3 = priors[1]
        self.down4 = Down(w3, w4, blocks)
        self.prior_init_fuse_4 = priors[2]
        self.up1 = Up(w4, w3, blocks)
        self.prior_fuse_5 = priors[3]
        self.up2 = Up(w3, w2, blocks)
        self.prior_fuse_6 = priors[4]
        self.up3 = Up(w2, w1, blocks)
        self.up4 = Up(w1, w0, blocks)
        self.out = Prototypes(2 * (w2 + w3) + w4, w0)
        self.mod_out = ModalityHead(2 * (w2 + w3) + w4, modalities)
        self.tasks, self.modalities, self.in_channels, self.channels = tasks, modalities, in_channels, w0

    def answer(self, x: Tensor, task: Asked, modality: int | Sequence[int] | Tensor = 0) -> Answer:
        """All that is known of x (B, in_channels, X, Y, Z), sides multiples of 16; task and modality as in ``forward``."""
        check_input(self, x)
        asked = asked_tasks(task, x, self.tasks), modality_ids(modality, x, self.modalities)
        x0 = self.inc(x)
        x1 = self.down1(x0)
        x2, p2 = self.prior_init_fuse_2(self.down2(x1), *asked)
        x3, p3 = self.prior_init_fuse_3(self.down3(x2), *asked)
        x4, p4 = self.prior_init_fuse_4(self.down4(x3), *asked)
        h, p5 = self.prior_fuse_5(self.up1(x4, x3), *asked)
        h, p6 = self.prior_fuse_6(self.up2(h, x2), *asked)
        z = self.up4(self.up3(h, x1), x0)
        of_tasks, of_modality = split(torch.cat([p2, p3, p4, p5, p6], -1), asked[0])
        prototypes = self.out(of_tasks)
        return Answer(by_prototype(z, prototypes), self.mod_out(of_modality), z, prototypes)

    def forward(self, x: Tensor, task: Asked, modality: int | Sequence[int] | Tensor = 0) -> Tensor:
        """Logits (B, K, X, Y, Z) of x (B, in_channels, X, Y, Z), one channel a task asked, in the order asked.

        task: a list of K for all samples or one for each (see ``asked_tasks``). modality: one for all or one a sample.
        """
        return self.answer(x, task, modality).logits


def chain(inputs: int, outputs: int, blocks: int) -> list[Block]:
    """Blocks one after the other, of which the first changes the channels."""
    return [Block(outputs if number else inputs, outputs) for number in range(blocks)]


def enlarged(h: Tensor, like: Tensor) -> Tensor:
    """As large as ``like``, trilinear, corner on corner."""
    return F.interpolate(h, size=like.shape[2:], mode="trilinear", align_corners=True)


def split(posteriors: Tensor, task: Tensor) -> tuple[Tensor, Tensor]:
    """Those of the tasks (B, K, C) and those of the modality (B, 10, C), out of (B, K + 10, C)."""
    return posteriors[:, :task.shape[1]], posteriors[:, task.shape[1]:]


def check_settings(
    tasks: int, modalities: int, widths: Sequence[int], blocks: int, depths: Sequence[int], head: int
) -> None:
    """ModelError for counts below 1, other than five widths and depths, and where the lower levels are not of whole heads."""
    if len(widths) != 5 or len(depths) != 5 or min(tasks, modalities, blocks, head, *widths, *depths) < 1:
        raise ModelError(
            f"Hermes cannot have {tasks} tasks, {modalities} modalities, {blocks} blocks, widths of {tuple(widths)}, depths of "
            f"{tuple(depths)} and heads of {head}; give at least 1 of each, five widths and five depths.")
    if any(w % head for w in widths[2:]):
        raise ModelError(f"The last three of the widths {tuple(widths)} must be multiples of a head's {head} channels.")
