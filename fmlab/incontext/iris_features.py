"""A first stage for a small Iris: features that tell structures apart, before the model learns to read tasks from them.

    min over theta  E_(x, y)  L(y, sum_l Up(W_l F_l(x)))          F_l: the encoder's levels, W_l: linear, thrown away afterwards

The paper trains on episodes from the start, 80,000 steps of 32. In the thousand steps that a laptop has, tokens pooled from
untrained features say little, and little comes back. So the encoder first learns to tell the training's own structures apart,
every voxel of every image at once; what is held out is not among them. The linear maps are what makes it fit: a structure's
mean features then say what it is, and a mean is what the foreground token takes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.incontext.iris import dice_and_balanced_entropy
from fmlab.incontext.residual_unet import ResidualUNet
from fmlab.vocabulary import region


class FirstStage(nn.Module):
    """The encoder to be trained, and a linear map of each of its levels to logits of n structures.

    channels: of its levels, finest first, C of F being the last. structures: names; a voxel counts for all regions it lies in.
    """

    def __init__(self, encoder: ResidualUNet, channels: Sequence[int], structures: Sequence[str]):
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleList(nn.Conv3d(n, len(structures), kernel_size=1) for n in channels)
        nn.init.constant_(self.heads[0].bias, -4.0)  # at first every structure is rare
        table = torch.zeros(256, len(structures))
        for k, name in enumerate(structures):
            table[list(region(name)), k] = 1
        self.register_buffer("table", table, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, n, X/2, Y/2, Z/2) of images (B, 1, X, Y, Z), at every second voxel: an eighth of the cost."""
        features = self.encoder(images)
        levels = (features.fine[0][:, :, ::2, ::2, ::2], *features.fine[1:], features.coarse)
        maps = [head(level) for head, level in zip(self.heads, levels, strict=True)]
        return maps[0] + sum(F.interpolate(m, size=maps[0].shape[2:], mode="trilinear", align_corners=False) for m in maps[1:])

    def targets(self, labels: Tensor) -> Tensor:
        """Masks (B, n, X/2, Y/2, Z/2) of label maps (B, X, Y, Z), at the same voxels."""
        return self.table[labels[:, ::2, ::2, ::2].long()].movedim(-1, 1)


def first_loss(model: FirstStage, batch: dict) -> Tensor:
    """Soft Dice + balanced cross-entropy of the structures that an image shows: ``train``'s loss on ``VolumeEpisodes``."""
    images, labels = batch["images"].flatten(0, 1), batch["labels"].flatten(0, 1)
    target = model.targets(labels)
    each = dice_and_balanced_entropy(model(images).flatten(2), target.flatten(2))
    shown = target.flatten(2).any(-1)
    return (each * shown).sum() / shown.sum().clamp(min=1)
