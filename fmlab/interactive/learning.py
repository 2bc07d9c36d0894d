"""Training by simulated interaction: the loss of a small SAM in 2-D and of a small SAM-Med3D, for ``training.train``.

Source: Kirillov et al. 2023, arXiv:2304.02643, appendix A; Wang et al. 2023, arXiv:2310.15161. The papers take 11 passes an
object; here it is 2 to ``MOST``, drawn anew at each step, so that the network meets few clicks often and many now and then.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fmlab.interactive import losses
from fmlab.interactive.boxes import jittered_box
from fmlab.interactive.preprocess_sam import normalised
from fmlab.interactive.sam import Sam
from fmlab.interactive.sam_med3d import SamMed3D
from fmlab.interactive.simulation import Pass, passes

MOST = 6  # passes


def as_sam_sees(images: Tensor) -> Tensor:
    """Grey pictures (B, 1, H, W) in [0, 1] as SAM's three normed channels (B, 3, H, W)."""
    return normalised(255 * images.expand(-1, 3, -1, -1))


def sam_loss(model: Sam, batch: dict) -> Tensor:
    """Mean over passes of SAM's loss. batch: image (B, 1, H, W), masks (B, M, H, W), as ``Slices`` gives them.

    Each image is encoded once for all its objects and passes. The first prompt of a step is a click or a jittered box.
    """
    rng = np.random.default_rng(int(torch.randint(2**31, ())))
    images, truth = batch["image"], batch["masks"].flatten(0, 1) > 0
    features = model.image_encoder(as_sam_sees(images))
    image_of = torch.arange(len(images), device=images.device).repeat_interleave(batch["masks"].shape[1])

    def decode(**prompts) -> tuple[Tensor, Tensor]:
        return model.decode(features, **prompts, image_of=image_of)

    box = None if rng.random() < 0.5 else jittered_box
    answers = passes(decode, truth, rng, count_of(rng), box)
    return torch.stack([sam_pass(answer, truth) for answer in answers]).mean()


def sam_med3d_loss(model: SamMed3D, batch: dict) -> Tensor:
    """The same in 3-D: batch: image (B, 1, X, Y, Z), normed, masks (B, M, X, Y, Z), as ``Cubes`` gives them.

    The published model learns from its only mask by Dice and cross-entropy, and leaves its IoU head untrained; here the head
    learns too, for the canvas shows what it says.
    """
    rng = np.random.default_rng(int(torch.randint(2**31, ())))
    truth = batch["masks"].flatten(0, 1) > 0
    features = model.image_encoder(batch["image"])
    image_of = torch.arange(len(features), device=features.device).repeat_interleave(batch["masks"].shape[1])

    def decode(points: Tensor, labels: Tensor, masks: Tensor, boxes: None, multimask: bool) -> tuple[Tensor, Tensor]:
        return model.decode(features, points, labels, masks, image_of, multimask)

    answers = passes(decode, truth, rng, count_of(rng), first_mask=model.no_mask(len(truth)), several=False)
    return torch.stack([sam_med3d_pass(answer, truth) for answer in answers]).mean()


def sam_med3d_pass(answer: Pass, truth: Tensor) -> Tensor:
    """Dice and cross-entropy of one answer to truth (N, *size), and the error of the predicted IoU."""
    target = truth[:, None].float()
    error = answer.iou - losses.iou_per_mask(answer.logits.detach() > 0, target)
    return losses.sam_med3d(answer.logits, target) + error.square().mean()


def sam_pass(answer: Pass, truth: Tensor) -> Tensor:
    """SAM's loss of one answer to truth (N, *size)."""
    return losses.sam(answer.logits, truth[:, None].float(), answer.iou, rank_all=True)


def count_of(rng: np.random.Generator, most: int = MOST) -> int:
    """2 to ``most`` passes, few more often than many."""
    return int(min(rng.integers(2, most + 1), rng.integers(2, most + 1)))
