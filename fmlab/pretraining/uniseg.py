"""UniSeg: one learned prompt for all tasks, turned by the image into one map a task; the asked one goes into the decoder.

    skips, h = encoder(x)
    F        = FUSE([h, P])                 P, the universal prompt: N maps of the deepest level's size, beside the features
    logits   = decoder(skips, [h, F_task])  the task's own map, one more channel

Unlike a one-hot code, which enters the last layers, the task is known before the decoder begins, and what stands for it was made
from this image and all N tasks together. All tasks share four output channels; a task uses the first few of them by softmax, so
data sets never contradict each other.

Source: Ye et al. 2023, doi:10.1007/978-3-031-43898-1_49 (arXiv:2304.03493), and its released code on nnU-Net, whose names are
kept; its loss is ``published.uniseg``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from fmlab.errors import ModelError
from fmlab.hub.models import LoadReport, load_official, unwrapped
from fmlab.pretraining.task_ids import task_ids

Triple = tuple[int, int, int]

FLAT, CUBE = (1, 3, 3), (3, 3, 3)
SIZES = {
    "published": {},
    "nano": dict(patch=(64, 64, 64), tasks=4, inputs=(1,), base=8, most=80, pools=((2, 2, 2),) * 4, kernels=(CUBE,) * 5),
}
"""Settings of ``UniSeg`` by name; the first is published."""


class ConvNormReLU(nn.Module):
    """Convolution with bias, instance norm, leaky ReLU: (B, in, ...) to (B, out, ...), sides divided by ``step``."""

    def __init__(self, inputs: int, outputs: int, kernel: Triple = CUBE, step: Triple = (1, 1, 1)):
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, kernel, step, padding=_half(kernel))
        self.instnorm = nn.InstanceNorm3d(outputs, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.leaky_relu(self.instnorm(self.conv(x)), 0.01)


class Stem(nn.Module):
    """The first convolution, once for every number of modalities that a task may have: conv_1, conv_2, conv_4; one norm."""

    def __init__(self, inputs: Sequence[int], outputs: int, kernel: Triple):
        super().__init__()
        for count in inputs:
            self.add_module(f"conv_{count}", nn.Conv3d(count, outputs, kernel, padding=_half(kernel)))
        self.instnorm = nn.InstanceNorm3d(outputs, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.leaky_relu(self.instnorm(self.get_submodule(f"conv_{x.shape[1]}")(x)), 0.01)


class Stack(nn.Module):
    """Blocks one after the other, under the name that nnU-Net gives them."""

    def __init__(self, *blocks: nn.Module):
        super().__init__()
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


class UniSeg(nn.Module):
    """32,114,381 parameters as published, for 11 tasks of CT, MR and PET.

    patch: sides of what it is fed, always the same, because the prompt has the size of the deepest level. tasks: N; 0 gives the
    plain U-Net that is fine-tuned downstream. classes: output channels. inputs: numbers of modalities. base, most: channels of
    the first level, doubled a level up to ``most``. pools: divisors of each level below the first. kernels: of every encoder
    level. ModelError for settings or input that do not fit.
    """

    def __init__(
        self, patch: Triple = (64, 192, 192), tasks: int = 11, classes: int = 4, inputs: Sequence[int] = (1, 2, 4),
        base: int = 32, most: int = 320, pools: Sequence[Triple] = ((1, 2, 2), *[(2, 2, 2)] * 4),
        kernels: Sequence[Triple] = (FLAT, *[CUBE] * 5),
    ):
        super().__init__()
        stride = tuple(prod(sides) for sides in zip(*pools))
        if len(kernels) != len(pools) + 1 or len(patch) != 3 or any(p % s or not p for p, s in zip(patch, stride)):
            raise ModelError(f"A patch of {tuple(patch)} with {len(kernels)} levels cannot be pooled by {tuple(pools)}; give "
                             f"multiples of {stride}, and one kernel more than pools.")
        if tasks < 0 or min(classes, base, most, *inputs) < 1:
            raise ModelError("UniSeg needs at least 1 class, channel and modality, and no fewer than 0 tasks.")
        widths = [min(base * 2 ** level, most) for level in range(len(kernels))]
        deepest = widths[-1]
        if tasks:
            self.intermedia_prompt = nn.Parameter(torch.randn(1, tasks, *(p // s for p, s in zip(patch, stride))))
            narrow = (deepest + tasks) // 4
            self.fusion_layer = Stack(
                ConvNormReLU(deepest + tasks, narrow), ConvNormReLU(narrow, narrow), ConvNormReLU(narrow, tasks))
        upwards = list(zip(widths[-2::-1], kernels[:0:-1], pools[::-1]))  # width, kernel and pool, the deepest level first
        self.conv_blocks_localization = nn.ModuleList(
            nn.Sequential(Stack(ConvNormReLU(2 * w, w, kernel)), Stack(ConvNormReLU(w, w, kernel))) for w, kernel, _ in upwards)
        first = Stack(Stem(inputs, base, kernels[0]), ConvNormReLU(base, base, kernels[0]))
        levels = [_level(*channels, kernel, pool) for *channels, kernel, pool in zip(widths, widths[1:], kernels[1:], pools)]
        below = nn.Sequential(*(Stack(block) for block in levels[-1].blocks))
        self.conv_blocks_context = nn.ModuleList([first, *levels[:-1], below])
        into = [deepest + (tasks > 0), *widths[-2:0:-1]]
        self.tu = nn.ModuleList(
            nn.ConvTranspose3d(i, w, pool, pool, bias=False) for i, (w, _, pool) in zip(into, upwards))
        self.seg_outputs = nn.ModuleList(nn.Conv3d(w, classes, 1, bias=False) for w, *_ in upwards)
        self.patch, self.tasks, self.inputs, self.stride = tuple(patch), tasks, tuple(inputs), stride
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                nn.init.kaiming_normal_(module.weight, a=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def encode(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """The levels of x (B, modalities, *patch), finest first, and the deepest apart: (B, 320, X/16, Y/32, Z/32)."""
        if x.ndim != 5 or x.shape[1] not in self.inputs or not self._takes(x.shape[2:]):
            wanted = ", ".join(map(str, self.patch)) if self.tasks else f"multiples of {self.stride}"
            raise ModelError(f"UniSeg was given {tuple(x.shape)}; it takes (B, {' or '.join(map(str, self.inputs))}, {wanted}), "
                             "so slide windows of such a size over a larger scan.")
        levels = []
        for level in self.conv_blocks_context:
            x = level(x)
            levels.append(x)
        return levels[:-1], levels[-1]

    def _takes(self, sides: Sequence[int]) -> bool:
        """With a prompt the patch only; without, whatever can be halved as often."""
        return tuple(sides) == self.patch if self.tasks else all(n and n % s == 0 for n, s in zip(sides, self.stride))

    def fuse(self, deep: Tensor) -> Tensor:
        """The image's own map of each task (B, N, X/16, Y/32, Z/32), from the deepest level and the universal prompt."""
        return self.fusion_layer(torch.cat([deep, self.intermedia_prompt.expand(len(deep), -1, -1, -1, -1)], 1))

    def decode(self, skips: Sequence[Tensor], h: Tensor) -> list[Tensor]:
        """Features of each level, deepest first, from the deepest level with the task's map beside it."""
        found = []
        for up, convolve, skip in zip(self.tu, self.conv_blocks_localization, reversed(skips)):
            h = convolve(torch.cat([up(h), skip], 1))
            found.append(h)
        return found

    def scales(self, x: Tensor, task: int | Sequence[int] | Tensor | None = None) -> list[Tensor]:
        """Logits (B, classes, ...) of every level, full resolution first, for ``published.uniseg``; else as ``forward``."""
        skips, deep = self.encode(x)
        if (task is None) != (self.tasks == 0):
            known = f"{self.tasks} tasks, so name one" if self.tasks else "no prompt, so leave the task out"
            raise ModelError(f"This UniSeg has {known}; it was given {task!r}.")
        if self.tasks:
            ids = task_ids(task, x, self.tasks)
            deep = torch.cat([deep, self.fuse(deep)[torch.arange(len(x), device=x.device), ids][:, None]], 1)
        levels = self.decode(skips, deep)
        if not self.training:  # the other levels are for the loss
            return [self.seg_outputs[-1](levels[-1])]
        return [head(level) for head, level in zip(self.seg_outputs, levels)][::-1]

    def forward(self, x: Tensor, task: int | Sequence[int] | Tensor | None = None) -> Tensor:
        """Logits (B, classes, *patch) of x (B, modalities, *patch); task: one for all or one a sample; 0 is background.

        How many of the channels the task uses is the caller's to know; the rest were never trained for it.
        """
        return self.scales(x, task)[0]

    def every_task(self, x: Tensor) -> Tensor:
        """Logits (B, N, classes, *patch) of all tasks. The encoder runs once, the decoder once a task."""
        if not self.tasks:
            raise ModelError("This UniSeg has no prompt, so there are no tasks to go through; call it with the image alone.")
        skips, deep = self.encode(x)
        prompts = self.fuse(deep).split(1, 1)
        return torch.stack([self.seg_outputs[-1](self.decode(skips, torch.cat([deep, p], 1))[-1]) for p in prompts], 1)


def _half(kernel: Triple) -> Triple:
    return tuple(k // 2 for k in kernel)


def _level(inputs: int, outputs: int, kernel: Triple, pool: Triple) -> Stack:
    return Stack(ConvNormReLU(inputs, outputs, kernel, pool), ConvNormReLU(outputs, outputs, kernel))


def downstream(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """What a task of one's own takes from a pre-trained UniSeg: the U-Net without prompt and heads.

    The first up-sampling loses its last input channel, which the task's map came in by. checkpoint: as ``torch.load`` gives it.
    """
    state = {key.removeprefix("module."): value for key, value in unwrapped(checkpoint).items()}
    kept = {key: value for key, value in state.items()
            if not key.startswith(("intermedia_prompt", "fusion_layer.", "seg_outputs."))}
    if "intermedia_prompt" in state and "tu.0.weight" in kept:
        kept["tu.0.weight"] = kept["tu.0.weight"][:-1]
    return kept


def load_downstream(model: UniSeg, checkpoint: Mapping[str, Any]) -> LoadReport:
    """Put a pre-trained UniSeg into ``UniSeg(tasks=0, classes=...)``, whose heads stay new; prints and returns what matched."""
    return load_official(model, downstream(checkpoint), allow_missing=("seg_outputs.",))


def uniseg(size: str = "published", **changes) -> UniSeg:
    """A ``UniSeg`` by the name of its size: one of SIZES; changes: settings of ``UniSeg`` that differ from it."""
    if size not in SIZES:
        raise ModelError(f"There is no UniSeg of size {size!r}; choose one of {', '.join(SIZES)}.")
    return UniSeg(**(SIZES[size] | changes))
