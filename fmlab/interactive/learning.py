"""Training by simulated interaction: the loss of a small SAM in 2-D and of a small SAM-Med3D, for ``training.train``.

Source: Kirillov et al. 2023, arXiv:2304.02643, appendix A; Wang et al. 2023, arXiv:2310.15161. The papers take 11 passes an
object, and begin with an encoder that knows images already (SAM: a masked autoencoder). Here everything begins at random. A first
stage does without the decoder's transformer (``glance``), in a second one each object gets one prompt, which is cheap, and then 2
to ``MOST`` of them, few more often than many.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fmlab.interactive import losses
from fmlab.interactive.boxes import jittered_box
from fmlab.interactive.glance import cross_entropy, glance_loss
from fmlab.interactive.preprocess_sam import normalised
from fmlab.interactive.sam import Sam
from fmlab.interactive.sam_med3d import SamMed3D
from fmlab.interactive.simulation import Pass, passes

MOST = 6  # passes


def as_sam_sees(images: Tensor) -> Tensor:
    """Grey pictures (B, 1, H, W) in [0, 1] as SAM's three normed channels (B, 3, H, W)."""
    return normalised(255 * images.expand(-1, 3, -1, -1))


def sam_loss(model: Sam, batch: dict, most: int = MOST) -> Tensor:
    """Mean over passes. batch: image (B, 1, H, W) in [0, 1], masks (B, M, H, W), as ``Slices`` gives them. most: 0 to glance.

    Each image is encoded once for all its objects and passes. The first prompt of a step is a click or a jittered box. All four
    masks learn at every pass, where SAM trains its single mask on prompts without doubt only: a small model needs each lesson.
    """
    if not most:
        return glance_loss(model, as_sam_sees(batch["image"]), batch["masks"])
    rng = np.random.default_rng(int(torch.randint(2**31, ())))
    images, truth = batch["image"], batch["masks"].flatten(0, 1) > 0
    features = model.image_encoder(as_sam_sees(images))
    image_of = torch.arange(len(images), device=images.device).repeat_interleave(batch["masks"].shape[1])

    def decode(multimask: bool, **prompts) -> tuple[Tensor, Tensor]:
        return model.decode_all(features, **prompts, image_of=image_of)

    box = None if rng.random() < 0.5 else jittered_box
    answers = passes(decode, truth, rng, count_of(rng, most), box)
    return torch.stack([answer_loss(answer, truth) for answer in answers]).mean()


def sam_med3d_loss(model: SamMed3D, batch: dict, most: int = MOST) -> Tensor:
    """The same in 3-D: image (B, 1, X, Y, Z), normed, masks (B, M, X, Y, Z), as ``Cubes`` gives them; clicks alone."""
    if not most:
        return glance_loss(model, batch["image"], batch["masks"])
    rng = np.random.default_rng(int(torch.randint(2**31, ())))
    truth = batch["masks"].flatten(0, 1) > 0
    features = model.image_encoder(batch["image"])
    image_of = torch.arange(len(features), device=features.device).repeat_interleave(batch["masks"].shape[1])

    def decode(points: Tensor, labels: Tensor, masks: Tensor, boxes: None, multimask: bool) -> tuple[Tensor, Tensor]:
        return model.decode(features, points, labels, masks, image_of, multimask)

    answers = passes(decode, truth, rng, count_of(rng, most), first_mask=model.no_mask(len(truth)), several=False)
    return torch.stack([answer_loss(answer, truth) for answer in answers]).mean()


def answer_loss(answer: Pass, truth: Tensor) -> Tensor:
    """Mask 0 learns, of the others the best, all by Dice and cross-entropy, and every predicted IoU; truth: (N, *size).

    SAM takes 20 focal + Dice, SAM-Med3D Dice + cross-entropy (``losses``). An object has one pixel in a hundred, and with a mean
    over all pixels a small model soon says "nowhere", where neither Dice nor focal loss has a slope to speak of. So what lies
    inside weighs more (``glance.cross_entropy``). SAM-Med3D leaves its IoU head untrained; here it learns, for it is shown.
    """
    target = truth[:, None].to(answer.logits.dtype)
    each = losses.dice_per_mask(answer.logits, target.expand_as(answer.logits)) + cross_entropy(answer.logits, target, 0.7)
    error = (answer.iou - losses.iou_per_mask(answer.logits.detach() > 0, target.expand_as(answer.logits))).square()
    several = each[:, 1:].amin(1) if each.shape[1] > 1 else each[:, 0]
    return ((each[:, 0] + several) / 2 + error.mean(1)).mean()


def count_of(rng: np.random.Generator, most: int = MOST) -> int:
    """2 to ``most`` passes, few more often than many; 1 where that is the most."""
    return 1 if most == 1 else int(rng.integers(2, most + 1, 2).min())
