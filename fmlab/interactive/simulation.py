"""A simulated person at work: points at something, looks at the answer, corrects it, again and again; in training and in tests.

    pass 1: a click in the structure, or a box          pass i: one click where truth and answer differ, and the last logits

Source: Kirillov et al. 2023, arXiv:2304.02643, appendix A; in 3-D Wang et al. 2023, arXiv:2310.15161. The clicks look at the
ground truth, which nobody has who annotates: numbers made with them flatter (lesson 10).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fmlab.interactive.boxes import tight_box
from fmlab.interactive.clicks import Clicks, random_error, random_foreground
from fmlab.interactive.mask_prompts import best_logits, previous_logits

Decode = Callable[..., tuple[Tensor, Tensor]]
Correction = Callable[[np.ndarray, np.ndarray, np.random.Generator], Clicks]


@dataclass(frozen=True)
class Pass:
    """One answer. logits: (N, M, *size) at the size of the truth; iou: (N, M), predicted; low: (N, M, ...) as decoded."""

    logits: Tensor
    iou: Tensor
    low: Tensor

    def best(self) -> Tensor:
        """The mask (N, *size) bool that the model trusts most."""
        return best_logits(self.logits, self.iou)[:, 0] > 0


def corrected(prediction: np.ndarray, truth: np.ndarray, rng: np.random.Generator) -> Clicks:
    """A uniform click on what is wrong, or anywhere in the structure where nothing is."""
    return random_error(prediction, truth, rng, otherwise="foreground")


def passes(decode: Decode, truth: Tensor, rng: np.random.Generator, count: int, box: Callable[..., Tensor] | None = None,
           correction: Correction = corrected, first_mask: Tensor | None = None, several: bool = True,
           first: Callable[[np.ndarray, np.random.Generator], Clicks] = random_foreground) -> Iterator[Pass]:
    """``count`` answers to N structures at a time, each after one click more.

    decode: takes points (N, P, D), labels (N, P), boxes (N, 2 D) or None, masks (N, 1, ...) or None, multimask; gives logits and
    IoU of low resolution. truth: (N, *size) bool, none of them empty. box: makes the first prompt of a truth, ``None`` for a
    click. first_mask: logits that go in at first. several: whether a single click is answered by three masks.
    """
    masks, device = truth.cpu().numpy(), truth.device
    boxes = None if box is None else torch.stack([box(mask, rng) for mask in masks]).to(device)
    points = labels = None
    low, prediction = first_mask, None
    for number in range(count):
        if number or box is None:
            new = [correction(p, t, rng) for p, t in zip(prediction, masks)] if number else [first(t, rng) for t in masks]
            points = joined(points, torch.stack([c.points for c in new]).to(device))
            labels = joined(labels, torch.stack([c.labels for c in new]).to(device))
        multimask = several and number == 0 and box is None
        logits, iou = decode(points=points, labels=labels, boxes=boxes, masks=low, multimask=multimask)
        answer = Pass(resized(logits, truth.shape[1:]), iou, logits)
        yield answer
        low, prediction = previous_logits(best_logits(logits, iou)), answer.best().cpu().numpy()


def tight(truth: np.ndarray, rng: np.random.Generator) -> Tensor:
    """``tight_box``, called as the boxes that are drawn are."""
    return tight_box(truth)


def joined(before: Tensor | None, new: Tensor) -> Tensor:
    """Points or labels of all passes so far."""
    return new if before is None else torch.cat([before, new], dim=1)


def resized(logits: Tensor, size: tuple[int, ...]) -> Tensor:
    """Logits (N, M, ...) at another size, linearly."""
    mode = "bilinear" if len(size) == 2 else "trilinear"
    return logits if logits.shape[2:] == size else F.interpolate(logits, size=size, mode=mode, align_corners=False)
