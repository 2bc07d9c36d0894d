"""DoDNet: one network for many partly annotated data sets, told by a one-hot code which of them it is asked about.

    deep, z = unet(x)
    theta   = controller([GAP(deep), one-hot(task)])      162 numbers for this sample and this task
    logits  = ((z * theta_1) * theta_2) * theta_3         three 1x1x1 convolutions, to organ and tumour

The last layers belong to the question, not to the network: what a data set did not annotate is never asked of its scans, so there
is nothing to mask but a missing organ or tumour of a task. The code is all that tells tasks apart, and a new task needs a new
controller; the CLIP-driven model puts a text's embedding in its place, one output a class.

Source: Zhang et al. 2021, doi:10.1109/CVPR46437.2021.00125 (arXiv:2011.10217), and its released code, whose names are kept; its
loss is ``published.dodnet``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.backbones.segmenter import check_input
from fmlab.errors import ModelError
from fmlab.pretraining.dynamic_head import dynamic_head, parameter_count
from fmlab.pretraining.task_ids import task_ids

SIZES = {
    "published": {},
    "nano": dict(widths=(8, 16, 32, 64), groups=4),
}
"""Settings of ``DoDNet`` by name; the first is published."""


class StandardisedConv(nn.Conv3d):
    """A convolution whose weights have mean 0 and variance 1 for every output channel (unbiased; 1e-12 under the root).

    With group norm it stands in for batch norm where a batch is two volumes. Source: Qiao et al. 2019, arXiv:1903.10520.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1):
        super().__init__(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight - self.weight.mean((1, 2, 3, 4), keepdim=True)
        w = w / (w.var((1, 2, 3, 4), keepdim=True) + 1e-12).sqrt()
        return F.conv3d(x, w, None, self.stride, self.padding)


class Block(nn.Module):
    """Pre-activation residual block: x + conv(relu(norm(conv(relu(norm(x)))))), (B, in, ...) to (B, out, ...)."""

    def __init__(self, inputs: int, outputs: int, groups: int, stride: int = 1):
        super().__init__()
        self.gn1 = nn.GroupNorm(groups, inputs)
        self.conv1 = StandardisedConv(inputs, outputs, stride=stride)
        self.gn2 = nn.GroupNorm(groups, outputs)
        self.conv2 = StandardisedConv(outputs, outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = norm_relu(inputs, groups, StandardisedConv(inputs, outputs, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.relu(self.gn1(x)))
        h = self.conv2(F.relu(self.gn2(h)))
        return h + (x if self.downsample is None else self.downsample(x))


def norm_relu(channels: int, groups: int, last: nn.Module) -> nn.Sequential:
    """Group norm, ReLU, then ``last``."""
    return nn.Sequential(nn.GroupNorm(groups, channels), nn.ReLU(inplace=True), last)


class DoDNet(nn.Module):
    """17,329,528 parameters as published, which was for 7 tasks: liver, kidney, hepatic vessel, pancreas, colon, lung, spleen.

    tasks: T, length of the one-hot code. outputs: channels a task, organ and tumour. widths: channels of the four upper levels;
    the fifth has as many as the fourth. groups: of each group norm; it must divide all widths. hidden: channels inside the head.

    It is a ``Backbone`` as well: ``features`` gives Z before the head, for transfer. ModelError for settings or input that do not
    fit.
    """

    stride = 16
    parts = {"encoder": ("conv1.", "layer", "fusionConv."), "decoder": ("x8_resb.", "x4_resb.", "x2_resb.", "x1_resb.")}

    def __init__(self, tasks: int = 7, outputs: int = 2, widths: Sequence[int] = (32, 64, 128, 256), groups: int = 16,
                 hidden: int = 8, in_channels: int = 1):
        super().__init__()
        if len(widths) != 4 or any(w < 1 or w % groups for w in widths):
            raise ModelError(f"The widths {tuple(widths)} do not split into {groups} groups; give four multiples of {groups}.")
        if min(tasks, outputs, hidden) < 1:
            raise ModelError(f"{tasks} tasks, {outputs} outputs and {hidden} hidden channels cannot be; give at least 1 of each.")
        w1, w2, w4, w8 = widths
        self.conv1 = StandardisedConv(in_channels, w1)
        self.layer0 = nn.Sequential(Block(w1, w1, groups))
        self.layer1 = _level(w1, w2, groups)
        self.layer2 = _level(w2, w4, groups)
        self.layer3 = _level(w4, w8, groups)
        self.layer4 = _level(w8, w8, groups)
        self.fusionConv = norm_relu(w8, groups, StandardisedConv(w8, w8, 1))
        self.x8_resb = nn.Sequential(Block(w8, w4, groups))
        self.x4_resb = nn.Sequential(Block(w4, w2, groups))
        self.x2_resb = nn.Sequential(Block(w2, w1, groups))
        self.x1_resb = nn.Sequential(Block(w1, w1, groups))
        self.precls_conv = norm_relu(w1, groups, nn.Conv3d(w1, hidden, 1))
        self.GAP = norm_relu(w8, groups, nn.AdaptiveAvgPool3d(1))
        self.controller = nn.Conv3d(w8 + tasks, parameter_count(hidden, outputs), 1)
        self.outputs, self.tasks, self.in_channels, self.channels, self.deep_channels = outputs, tasks, in_channels, w1, w8

    def deep_and_features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Deepest level (B, 256, X/16, Y/16, Z/16) and Z (B, 32, X, Y, Z) of x (B, in_channels, X, Y, Z)."""
        check_input(self, x)
        x1 = self.layer0(self.conv1(x))
        x2 = self.layer1(x1)
        x4 = self.layer2(x2)
        x8 = self.layer3(x4)
        deep = self.fusionConv(self.layer4(x8))
        z = self.x8_resb(doubled(deep) + x8)
        z = self.x4_resb(doubled(z) + x4)
        z = self.x2_resb(doubled(z) + x2)
        return deep, self.x1_resb(doubled(z) + x1)

    def features(self, x: Tensor) -> Tensor:
        """Z (B, 32, X, Y, Z) of x (B, in_channels, X, Y, Z); sides are multiples of 16."""
        return self.deep_and_features(x)[1]

    def theta(self, deep: Tensor, ids: Tensor) -> Tensor:
        """The head's parameters (B, 162) of a deepest level (B, 256, ...) and tasks (B,)."""
        code = F.one_hot(ids, self.tasks).to(deep.dtype)
        asked = torch.cat([self.GAP(deep), code[:, :, None, None, None]], 1)
        return self.controller(asked).flatten(1)

    def forward(self, x: Tensor, task: int | Sequence[int] | Tensor) -> Tensor:
        """Logits (B, outputs, X, Y, Z), organ and tumour, of x (B, in_channels, X, Y, Z); task: one for all or one a sample."""
        ids = task_ids(task, x, self.tasks)
        deep, z = self.deep_and_features(x)
        return dynamic_head(self.precls_conv(z), self.theta(deep, ids)[:, None], outputs=self.outputs)

    def every_task(self, x: Tensor) -> Tensor:
        """Logits (B, T, outputs, X, Y, Z) of all tasks. The network runs once; a task costs its head only."""
        deep, z = self.deep_and_features(x)
        thetas = torch.stack([self.theta(deep, task_ids(task, x, self.tasks)) for task in range(self.tasks)], 1)
        return dynamic_head(self.precls_conv(z), thetas, outputs=self.outputs).unflatten(1, (self.tasks, -1))


def doubled(h: Tensor) -> Tensor:
    """Twice the sides, trilinear."""
    return F.interpolate(h, scale_factor=2, mode="trilinear", align_corners=False)


def _level(inputs: int, outputs: int, groups: int) -> nn.Sequential:
    return nn.Sequential(Block(inputs, outputs, groups, stride=2), Block(outputs, outputs, groups))


def dodnet(size: str = "published", **changes) -> DoDNet:
    """A ``DoDNet`` by the name of its size: one of SIZES; changes: settings of ``DoDNet`` that differ from it."""
    if size not in SIZES:
        raise ModelError(f"There is no DoDNet of size {size!r}; choose one of {', '.join(SIZES)}.")
    return DoDNet(**(SIZES[size] | changes))
