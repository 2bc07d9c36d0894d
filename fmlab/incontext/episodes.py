"""Episodes: what a network that learns from examples is trained on. Each is a task of its own, met once.

    min over theta  E_t  E_{(x, y), S ~ t}  L(y, f_theta(x, S))

Source: Butoi et al. 2023, doi:10.1109/ICCV51070.2023.01960, algorithm 1. One label an episode; a retrained model that ignores its
support has usually seen too few tasks, or one of them too often.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from fmlab.errors import DataError
from fmlab.incontext.augment import NANO, Augmentation, augmented

SIZES = (1, 2, 4, 8, 16)  # of support sets in training


class Source(Protocol):
    """Where tasks come from: ``Bodies``, ``Pictures``, ``Shapes``, or your own."""

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor, list[str]]:
        """Images (count, 1, H, W) in [0, 1], masks (count, 1, H, W) and subjects; the first is the query, no other is of its
        subject."""


class Episodes(Dataset):
    """Endless episodes for ``training.train``. sources: with ``weights``, the share of each. support: examples an episode, S.

    drawn_by: how readers draw the masks (N, 1, H, W) anew, as ``readers.redrawn``. length: what counts as an epoch; item n is
    another episode at each call. Items: query (1, H, W), target (1, H, W), images
    (S, 1, H, W), masks (S, 1, H, W), name (the query's subject). Random numbers come from torch's global generator, which
    ``train`` seeds for every draw. Raises DataError for weights that do not fit, and if a source puts the query's subject into
    its support.
    """

    def __init__(self, sources: Sequence[Source], weights: Sequence[float] | None = None, support: int = max(SIZES),
                 augmentation: Augmentation = NANO, length: int = 1000,
                 drawn_by: Callable[[Tensor, np.random.Generator], Tensor] | None = None):
        self.sources, self.support, self.augmentation, self.length = list(sources), support, augmentation, length
        self.drawn_by = drawn_by
        shares = np.ones(len(self.sources)) if weights is None else np.asarray(weights, float)
        if len(shares) != len(self.sources) or not len(shares) or shares.min() < 0 or shares.sum() <= 0:
            raise DataError(f"{len(self.sources)} sources with weights {weights}: give each source a share of 0 or more.")
        if support < 1:
            raise DataError(f"A support of {support} examples is none; give 1 or more.")
        self.shares = shares / shares.sum()

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict:
        rng = np.random.default_rng(int(torch.randint(2**31, ())))
        source = self.sources[rng.choice(len(self.sources), p=self.shares)]
        images, masks, subjects = source.draw(rng, self.support + 1)
        if subjects[0] in subjects[1:]:
            raise DataError(f"{type(source).__name__} drew {subjects[0]} as query and as its own example; split by subject.")
        images, masks = augmented(images, masks, self.augmentation, rng)
        masks = self.drawn_by(masks, rng) if self.drawn_by else masks
        return {"query": images[0], "target": masks[0], "images": images[1:], "masks": masks[1:], "name": subjects[0]}


def in_context(model: nn.Module, batch: dict) -> Tensor:
    """Soft Dice + cross-entropy of a deterministic model, with a support of a size drawn from SIZES: ``train``'s loss."""
    images, masks = some(batch)
    return dice_and_entropy(model(batch["query"], images, masks), batch["target"]).mean()


def some(batch: dict) -> tuple[Tensor, Tensor]:
    """The first S support images and masks of a batch, S drawn from SIZES, each as likely as another."""
    size = SIZES[int(torch.randint(len(SIZES), ()))]
    return batch["images"][:, :size], batch["masks"][:, :size]


def dice_and_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """1 - 2 sum(y p) / (sum y + sum p + 1), plus the mean cross-entropy, of each picture: logits, target (..., H, W) to (...).

    The published loss is the Dice alone; the cross-entropy helps a small network over its first steps, when it says nothing.
    """
    logits, target = logits.float(), target.float()
    p, pixels = logits.sigmoid(), (-2, -1)
    dice = 1 - 2 * (target * p).sum(pixels) / (target.sum(pixels) + p.sum(pixels) + 1)
    entropy = nn.functional.binary_cross_entropy_with_logits(logits, target.expand_as(logits), reduction="none").mean(pixels)
    return dice + entropy
