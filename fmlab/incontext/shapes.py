"""Synthetic tasks: label maps out of smoothed noise, deformed for each subject, with an intensity for each label.

They look like nothing in particular, and so teach the one thing that all tasks share: to look at the support.
Source: Butoi et al. 2023, doi:10.1109/ICCV51070.2023.01960, section 3.3, after Hoffmann et al. 2022,
doi:10.1109/TMI.2021.3116879.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fmlab.incontext.augment import blurred

LABELS = 16
SMALLEST, LARGEST = 0.01, 0.4  # share of the picture that a task's label takes


class Shapes:
    """A source of synthetic tasks, each made when it is drawn. size: of the pictures, pixels."""

    name = "shapes"

    def __init__(self, size: int = 64):
        self.size = size

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor, list[str]]:
        """``count`` subjects of a new task: images (N, 1, H, W) in [0, 1], masks (N, 1, H, W), and who each is."""
        labels = self._labels(rng, count)
        shares = torch.bincount(labels[0].flatten(), minlength=LABELS) / labels[0].numel()
        fit = [k for k, share in enumerate(shares.tolist()) if SMALLEST <= share <= LARGEST]
        chosen = int(rng.choice(fit)) if fit else int(shares.argmax())
        return self._images(labels, rng), (labels == chosen).float()[:, None], [f"shape {i}" for i in range(count)]

    def _labels(self, rng: np.random.Generator, count: int) -> Tensor:
        """(N, H, W) int64: the arg max of LABELS smooth fields, each subject's own part of which is small."""
        knots, wide = int(rng.integers(4, 9)), int(rng.integers(3, LABELS + 1))
        common = rng.normal(size=(1, wide, knots, knots))
        own = rng.normal(size=(count, wide, knots, knots)) * rng.uniform(0.1, 0.35)
        fields = F.interpolate(torch.from_numpy((common + own).astype(np.float32)), size=(self.size,) * 2, mode="bicubic",
                               align_corners=False)
        return fields.argmax(1)

    def _images(self, labels: Tensor, rng: np.random.Generator) -> Tensor:
        """(N, 1, H, W): a grey of each label, a little different in each subject, with noise and blur."""
        greys = np.clip(rng.uniform(0, 1, (1, LABELS)) + rng.normal(0, 0.03, (len(labels), LABELS)), 0, 1).astype(np.float32)
        images = torch.gather(torch.from_numpy(greys), 1, labels.flatten(1)).view(len(labels), 1, self.size, self.size)
        noise = torch.from_numpy(rng.standard_normal(tuple(images.shape), dtype=np.float32)) * rng.uniform(0, 0.1)
        return blurred(images + noise, rng.uniform(0.3, 1.0)).clamp(0, 1)
