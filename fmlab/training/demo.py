"""A net and a task of a few seconds, to try the loop on: find the ball among noise."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset


class Balls(Dataset):
    """Noise with a brighter ball; a case is {"image", "label"}, each (1, X, Y, Z) float32, and "name".

    The noise is new each time that a case is drawn.
    """

    def __init__(self, cases: int = 16, size: int = 16):
        self.cases, self.size = cases, size

    def __len__(self) -> int:
        return self.cases

    def __getitem__(self, index: int) -> dict:
        own = torch.Generator().manual_seed(index)
        centre, radius = self.size * (0.25 + 0.5 * torch.rand(3, generator=own)), self.size * 0.2
        voxels = torch.stack(torch.meshgrid(*[torch.arange(self.size)] * 3, indexing="ij"), dim=-1)
        ball = ((voxels - centre).norm(dim=-1) < radius).float()[None]
        return {"image": ball + 0.5 * torch.randn(ball.shape), "label": ball, "name": f"ball {index}"}


def net(width: int = 8, dropout: float = 0.1) -> nn.Module:
    """Three convolutions with dropout between them: (B, 1, X, Y, Z) to logits of the same shape."""
    return nn.Sequential(
        nn.Conv3d(1, width, 3, padding=1), nn.LeakyReLU(), nn.Dropout(dropout),
        nn.Conv3d(width, width, 3, padding=1), nn.LeakyReLU(), nn.Conv3d(width, 1, 1))


def loss(model: nn.Module, batch: dict) -> Tensor:
    """Mean binary cross-entropy over the voxels."""
    return nn.functional.binary_cross_entropy_with_logits(model(batch["image"]).float(), batch["label"])


def balls() -> tuple[nn.Module, object, Dataset]:
    """The recipe that ``python -m fmlab.train`` takes when it is given none."""
    return net(), loss, Balls()
