"""Features of the support set, computed once: what a linear probe and a spatial adapter are trained on.

theta_f runs once over each cube; after that an epoch costs what the head costs. Features are kept in float16, in memory up to a
limit and on disk beyond it (``backbones.FeatureCache``).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from fmlab.adaptation.shots import Shots
from fmlab.backbones.caching import FeatureCache
from fmlab.backbones.segmenter import Segmenter
from fmlab.errors import ModelError

LIMIT = 2**30  # bytes


class Features(Dataset):
    """Z of every cube in place of the cube: items are those of ``Shots`` with "image" (C, S, S, S), float16.

    model: whose backbone gives Z, in eval mode; its weights must not change afterwards. limit: bytes of memory for features; what
    does not fit lies on disk, and is read when it is asked for. runs: how often theta_f has run.
    """

    def __init__(self, model: Segmenter, shots: Shots, limit: int = LIMIT):
        self.shots, self.disk, self.limit = shots, FeatureCache(model.backbone), limit
        self.backbone, self.kept, self.bytes, self.runs = model.backbone, {}, 0, 0

    def __len__(self) -> int:
        return len(self.shots)

    def __getitem__(self, index: int) -> dict:
        item = self.shots.items[index]
        return item | {"image": self._features(index, item["image"])}

    def _features(self, index: int, x: Tensor) -> Tensor:
        if index in self.kept:
            return self.kept[index]
        if self.bytes >= self.limit:
            before = self.disk.misses
            z = self.disk(x[None])[0].half()
            self.runs += self.disk.misses - before
            return z
        device, was_training = next(self.backbone.parameters()).device, self.backbone.training
        self.backbone.eval()
        try:
            with torch.no_grad():
                z = self.backbone.features(x[None].to(device))[0].half().cpu()
        finally:
            self.backbone.train(was_training)
        if not z.isfinite().all():
            raise ModelError("A feature is NaN or above 65504, which float16 cannot hold; normalise the scan's values.")
        self.kept[index], self.bytes, self.runs = z, self.bytes + z.nbytes, self.runs + 1
        return z


class Head(nn.Module):
    """What lies behind theta_f, as a model of its own: logits (B, K, X, Y, Z) of features (B, C, X, Y, Z) in float16 or wider."""

    def __init__(self, model: Segmenter):
        super().__init__()
        self.head = model.head

    def forward(self, z: Tensor) -> Tensor:
        return self.head(z.to(next(self.head.parameters()).dtype))
