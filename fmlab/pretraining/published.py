"""The losses of four further systems, in the form of their code: SuPreM, Hermes, DoDNet, UniSeg.

Shapes, corners and errors as in ``masked``, unless the function says otherwise. Each cross-entropy is the mean over voxels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from fmlab.errors import ScanError
from fmlab.pretraining.masked import (
    Pairs,
    annotated_pairs,
    bce_per_pair,
    clip_driven_bce,
    dice_per_pair,
    mean_over_pairs,
    slice_dice_per_pair,
)


def suprem_dice(logits: Tensor, target: Tensor, w: Tensor) -> Tensor:
    """SuPreM's Dice: CLIP-driven's Dice per slice, over the pairs with foreground in the patch only.

    Without any foreground it is the constant 1, gradient zero. The authors' data are fully annotated (w = 1).
    Source: Li, Yuille, Zhou 2024 (SuPreM), doi:10.48550/arXiv.2501.11253.
    """
    pairs = annotated_pairs(logits, target, w)
    present = pairs.target.flatten(1).any(1)
    if not present.any():
        return pairs.logits[:0].sum() + 1
    return slice_dice_per_pair(Pairs(*(part[present] for part in pairs))).mean()


def suprem(logits: Tensor, target: Tensor, w: Tensor) -> Tensor:
    """SuPreM's loss: mean cross-entropy over all annotated pairs + suprem_dice."""
    return clip_driven_bce(logits, target, w) + suprem_dice(logits, target, w)


def hermes_dice(logits: Tensor, target: Tensor, w: Tensor) -> Tensor:
    """Hermes's Dice: 1 - TP / (TP + a FP + (1 - a) FN + 1e-6), a = FP / (FP + FN) held in [0.2, 0.8]; mean over the pairs.

    The more frequent error is punished more, and the gradient flows through a as well. Empty foreground costs 1.
    Source: Gao et al. 2024, doi:10.48550/arXiv.2306.02416.
    """
    pairs = annotated_pairs(logits, target, w)
    y, yhat = pairs.target.flatten(1), pairs.logits.flatten(1).sigmoid()
    tp, fp, fn = (y * yhat).sum(1), ((1 - y) * yhat).sum(1), (y * (1 - yhat)).sum(1)
    wrong = fp + fn
    a = (fp / wrong.clamp(min=torch.finfo(wrong.dtype).tiny)).clamp(0.2, 0.8)  # a perfect prediction has no errors to weigh
    return mean_over_pairs(1 - tp / (tp + a * fp + (1 - a) * fn + 1e-6))


def hermes(logits: Tensor, target: Tensor, w: Tensor) -> Tensor:
    """Hermes's segmentation loss: mean cross-entropy over the pairs + hermes_dice (its modality term is not one of masks)."""
    return clip_driven_bce(logits, target, w) + hermes_dice(logits, target, w)


def mean_over_classes(values: Tensor, classes: Tensor) -> Tensor:
    """DoDNet's mean of (M,) values: over the samples that annotate a class first, then over the classes that have any."""
    _, index, count = classes.unique(return_inverse=True, return_counts=True)
    return (values / count[index]).sum() / max(count.numel(), 1)


def dodnet_bce(logits: Tensor, target: Tensor, w: Tensor) -> Tensor:
    """DoDNet's cross-entropy: mean over voxels, over the samples that annotate a channel, then over channels."""
    pairs = annotated_pairs(logits, target, w)
    return mean_over_classes(bce_per_pair(pairs), pairs.classes)


def dodnet_dice(logits: Tensor, target: Tensor, w: Tensor) -> Tensor:
    """DoDNet's Dice: 1 - 2 sum Y Yhat / (sum Y + sum Yhat + 1) per sample and channel, averaged as ``dodnet_bce``.

    Empty foreground costs exactly 1. Source: Zhang et al. 2021, doi:10.48550/arXiv.2011.10217.
    """
    pairs = annotated_pairs(logits, target, w)
    return mean_over_classes(dice_per_pair(pairs, 0, 1), pairs.classes)


def dodnet(logits: Tensor, target: Tensor, w: Tensor) -> Tensor:
    """DoDNet's loss: dodnet_bce + dodnet_dice; K = 2 channels, organ and tumour, of whichever task each sample has."""
    return dodnet_bce(logits, target, w) + dodnet_dice(logits, target, w)


def uniseg(logits: Sequence[Tensor], labels: Sequence[Tensor], classes: int, weights: Sequence[float]) -> Tensor:
    """UniSeg's loss over scales: weights_s [cross-entropy - batch Dice], by softmax over the task's own channels.

    logits: per scale (B, C, X, Y, Z); only channels 0 .. classes - 1 are used, 0 being background, so channels beyond the task
    get exactly zero gradient. labels: per scale (B, 1, X, Y, Z), whole numbers below ``classes``. weights: per scale. Dice is
    (2 tp + s) / (2 tp + fp + fn + s + 1e-8), s = 1e-5, sums over batch and voxels, mean over the foreground classes.
    A batch is of one task. Raises ScanError where shapes do not fit. Source: Ye et al. 2023, doi:10.48550/arXiv.2304.03493.
    """
    if not len(logits) == len(labels) == len(weights) or not len(logits):
        raise ScanError(f"uniseg: {len(logits)} logits, {len(labels)} labels, {len(weights)} weights; give one of each a scale.")
    return sum(weight * _uniseg_scale(z, y, classes) for z, y, weight in zip(logits, labels, weights) if weight != 0)


def _uniseg_scale(logits: Tensor, labels: Tensor, classes: int) -> Tensor:
    if labels.shape != (logits.shape[0], 1, *logits.shape[2:]) or not 2 <= classes <= logits.shape[1]:
        raise ScanError(f"uniseg: logits {tuple(logits.shape)}, labels {tuple(labels.shape)}, {classes} classes do not fit.")
    if labels.numel() and not 0 <= labels.min() <= labels.max() < classes:
        raise ScanError(f"uniseg: labels from {labels.min():g} to {labels.max():g}; the task has the values 0 to {classes - 1}.")
    used = logits[:, :classes].to(torch.promote_types(logits.dtype, torch.float32))
    y = labels[:, 0].long()
    onehot = F.one_hot(y, classes).movedim(-1, 1)[:, 1:].transpose(0, 1).flatten(1)  # (classes - 1, voxels of the batch)
    yhat = used.softmax(1)[:, 1:].transpose(0, 1).flatten(1)
    twice, size = 2 * (onehot * yhat).sum(1), onehot.sum(1) + yhat.sum(1)
    dice = (twice + 1e-5) / (size + 1e-5 + 1e-8)
    return F.cross_entropy(used, y) - dice.mean()
