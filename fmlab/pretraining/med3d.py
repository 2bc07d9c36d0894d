"""Med3D: one encoder for all data sets, one decoder for each, and only the encoder is kept.

    h      = encoder(x)                        3-D ResNet, 1/8 of each side
    logits = decoder_d(h)                      the branch of the data set that x came from; the others are not touched

Partly annotated data sets never meet: each has its own softmax, with its own background, so what one calls background another may
call liver. No class is shared either, and nobody is told that two branches mean the same organ; the features are what is common.

Source: Chen, Ma, Zheng 2019, arXiv:1904.00625, and the released code MedicalNet, whose names are kept. It has no branches:
released are the encoders and one head, ``conv_seg``. The paper's branches are simple and end at the image's size by up-sampling;
here each has the form of the released head before that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.errors import ModelError, ScanError

LAYERS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3),
          200: (3, 24, 36, 3)}
"""Depth -> blocks of each layer; from 50 on a block is a bottleneck. He et al. 2016, doi:10.1109/CVPR.2016.90, table 1."""

SIZES = {
    "published": {},
    "nano": dict(depth=10, width=16),
}
"""Settings of ``Med3D`` by name; the first is published."""


class Subsampled(nn.Module):
    """Shortcut A, without parameters: every ``stride``-th voxel, and channels of zeros for those that are new."""

    def __init__(self, new: int, stride: int):
        super().__init__()
        self.new, self.stride = new, stride

    def forward(self, x: Tensor) -> Tensor:
        s = self.stride
        return F.pad(x[:, :, ::s, ::s, ::s], (0, 0, 0, 0, 0, 0, 0, self.new))


class Basic(nn.Module):
    """Two 3x3x3 convolutions, both dilated, batch norm after each, and a shortcut: (B, in, ...) to (B, width, ...)."""

    widening = 1

    def __init__(self, inputs: int, width: int, stride: int, dilation: int, shortcut: nn.Module | None):
        super().__init__()
        self.conv1 = _conv(inputs, width, 3, stride, dilation)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = _conv(width, width, 3, 1, dilation)
        self.bn2 = nn.BatchNorm3d(width)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        h = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(h + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1x1, dilated 3x3x3 and 1x1x1 convolutions, batch norm after each: (B, in, ...) to (B, 4 width, ...)."""

    widening = 4

    def __init__(self, inputs: int, width: int, stride: int, dilation: int, shortcut: nn.Module | None):
        super().__init__()
        self.conv1 = _conv(inputs, width, 1)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = _conv(width, width, 3, stride, dilation)
        self.bn2 = nn.BatchNorm3d(width)
        self.conv3 = _conv(width, 4 * width, 1)
        self.bn3 = nn.BatchNorm3d(4 * width)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn1(self.conv1(x)))
        h = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(h)))))
        return F.relu(h + (x if self.downsample is None else self.downsample(x)))


class Med3D(nn.Module):
    """14,514,464 parameters at depth 10, 33,145,120 at 18, 63,454,752 at 34 and 46,707,232 at 50, with a head of two classes.

    depth: one of LAYERS. classes: of the released head, background included; or {data set: its classes}, a branch each; or None
    for the encoder alone. width: channels of the first layer. shortcut: "A" as released for 18 and 34, "B" for the others.
    ModelError for settings or input that do not fit.

    Layers 3 and 4 keep 1/8 of the sides and look further apart instead, by 2 and 4 voxels: segmentation wants places, and
    ImageNet's 1/32 has few left.
    """

    parts = {"encoder": ("conv1.", "bn1.", "layer"), "decoder": ("conv_seg.",)}

    def __init__(self, depth: int = 10, classes: int | Mapping[str, int] | None = 2, in_channels: int = 1, width: int = 64,
                 shortcut: str | None = None):
        super().__init__()
        if depth not in LAYERS or shortcut not in (None, "A", "B"):
            raise ModelError(f"There is no ResNet-{depth} with shortcut {shortcut!r}; depths are {', '.join(map(str, LAYERS))}, "
                             "shortcuts 'A' and 'B'.")
        if width < 2 or classes is not None and min(_branches(classes).values(), default=0) < 2:
            raise ModelError(f"Med3D(classes={classes!r}, width={width}) cannot be; a width is 2 or more, and so are the classes "
                             "of every data set, of which one is background.")
        block = Basic if depth < 50 else Bottleneck
        kind = shortcut or ("A" if depth in (18, 34) else "B")
        self.conv1 = nn.Conv3d(in_channels, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        inputs = width
        for number, (blocks, stride, dilation) in enumerate(zip(LAYERS[depth], (1, 2, 1, 1), (1, 1, 2, 4))):
            outputs = width * 2 ** number
            layer = [block(inputs, outputs, stride, dilation, _shortcut(kind, inputs, outputs * block.widening, stride))]
            inputs = outputs * block.widening
            layer += [block(inputs, outputs, 1, dilation, None) for _ in range(blocks - 1)]
            self.add_module(f"layer{number + 1}", nn.Sequential(*layer))
        if isinstance(classes, Mapping):
            self.conv_seg = nn.ModuleDict({name: _head(inputs, width // 2, count) for name, count in classes.items()})
        elif classes is not None:
            self.conv_seg = _head(inputs, width // 2, classes)
        self.in_channels, self.deep_channels, self.classes = in_channels, inputs, classes
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def encode(self, x: Tensor) -> Tensor:
        """The features (B, 512 or 2048, X/8, Y/8, Z/8), sides rounded up, of x (B, in_channels, X, Y, Z): what is transferred."""
        if x.ndim != 5 or x.shape[1] != self.in_channels or 0 in x.shape:
            raise ModelError(f"Med3D was given {tuple(x.shape)}; it takes (B, {self.in_channels}, X, Y, Z).")
        h = F.max_pool3d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(h))))

    def head(self, dataset: str | None) -> nn.Module:
        """The branch of a data set, or the released head where there are no branches. ModelError where there is no such one."""
        if self.classes is None or isinstance(self.classes, Mapping) != (dataset is not None):
            known = "no head" if self.classes is None else "one head" if dataset is not None else "a branch a data set"
            raise ModelError(f"This Med3D has {known}, so data set {dataset!r} cannot be asked for.")
        if dataset is None:
            return self.conv_seg
        if dataset not in self.classes:
            raise ModelError(f"There is no branch {dataset!r}; the data sets are {', '.join(self.classes)}.")
        return self.conv_seg[dataset]

    def forward(self, x: Tensor, dataset: str | None = None) -> Tensor:
        """Logits (B, classes, X/4, Y/4, Z/4) of x (B, in_channels, X, Y, Z), as the released head gives them.

        dataset: which branch; None where there is one head.
        """
        return self.head(dataset)(self.encode(x))

    def whole(self, x: Tensor, dataset: str | None = None) -> Tensor:
        """The same at the size of x, (B, classes, X, Y, Z), trilinear, as in the paper."""
        return _upsampled(self(x, dataset), x)

    def of_datasets(self, x: Tensor, datasets: Sequence[str]) -> list[Tensor]:
        """For each sample of a mixed batch the logits (1, its classes, X, Y, Z) of its own data set. The encoder runs once."""
        if len(datasets) != len(x):
            raise ModelError(f"{len(datasets)} data sets for {len(x)} samples; name one a sample.")
        h, found = self.encode(x), {}
        for name in dict.fromkeys(datasets):
            mine = [i for i, other in enumerate(datasets) if other == name]
            found |= dict(zip(mine, _upsampled(self.head(name)(h[mine]), x).split(1)))  # together, as a branch has batch norms
        return [found[i] for i in range(len(x))]


def released_loss(model: Med3D, x: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy as released: labels (B, 1, X, Y, Z), whole numbers, are brought to the head's grid by the nearest voxel."""
    logits = model(x)
    _check(labels, x, logits.shape[1])
    small = F.interpolate(labels.float(), size=logits.shape[2:], mode="nearest")
    return F.cross_entropy(logits, small[:, 0].long())


def branch_loss(model: Med3D, x: Tensor, labels: Tensor, datasets: Sequence[str]) -> Tensor:
    """Cross-entropy of the paper: every sample by its data set's branch, at the image's size; mean over voxels and samples.

    labels (B, 1, X, Y, Z): each sample's in the numbering of its own data set, 0 background. ScanError for others.
    """
    found = model.of_datasets(x, datasets)
    for label, logits in zip(labels, found):
        _check(label[None], x[:1], logits.shape[1])
    return torch.stack([F.cross_entropy(logits, label.long()) for logits, label in zip(found, labels)]).mean()


def _check(labels: Tensor, x: Tensor, classes: int) -> None:
    if labels.shape != (len(x), 1, *x.shape[2:]) or labels.numel() and not 0 <= labels.min() <= labels.max() < classes:
        raise ScanError(f"Labels {tuple(labels.shape)} do not fit images {tuple(x.shape)} and {classes} classes; give one a "
                        f"voxel, (B, 1, X, Y, Z), from 0 to {classes - 1}.")


def _branches(classes: int | Mapping[str, int]) -> Mapping[str, int]:
    return classes if isinstance(classes, Mapping) else {"": classes}


def _upsampled(logits: Tensor, x: Tensor) -> Tensor:
    return F.interpolate(logits, size=x.shape[2:], mode="trilinear", align_corners=False)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv3d:
    return nn.Conv3d(inputs, outputs, kernel, stride, padding=dilation * (kernel // 2), dilation=dilation, bias=False)


def _shortcut(kind: str, inputs: int, outputs: int, stride: int) -> nn.Module | None:
    if stride == 1 and inputs == outputs:
        return None
    if kind == "A":
        return Subsampled(outputs - inputs, stride)
    return nn.Sequential(_conv(inputs, outputs, 1, stride), nn.BatchNorm3d(outputs))


def _head(inputs: int, hidden: int, classes: int) -> nn.Sequential:
    """The released ``conv_seg``: twice the sides, then two convolutions."""
    return nn.Sequential(
        nn.ConvTranspose3d(inputs, hidden, 2, 2), nn.BatchNorm3d(hidden), nn.ReLU(inplace=True),
        _conv(hidden, hidden, 3), nn.BatchNorm3d(hidden), nn.ReLU(inplace=True), _conv(hidden, classes, 1))


def med3d(size: str = "published", **changes) -> Med3D:
    """A ``Med3D`` by the name of its size: one of SIZES; changes: settings of ``Med3D`` that differ from it."""
    if size not in SIZES:
        raise ModelError(f"There is no Med3D of size {size!r}; choose one of {', '.join(SIZES)}.")
    return Med3D(**(SIZES[size] | changes))
