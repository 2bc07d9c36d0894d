"""Losses that ask nothing about what a data set did not annotate.

Notation of the slides: Z = theta_f(X) features, Yhat = sigma(theta_c(Z)) one probability per class and voxel, and

    min over theta_f, theta_c of  sum_n  1 / (sum_k w_nk)  sum_k w_nk L_SEG(Y_nk, Yhat_nk).

Every loss here takes logits theta_c(Z) (B, K, X, Y, Z) before the sigmoid, target Y (B, K, X, Y, Z) in {0, 1} of any dtype, and
w (B, K) in {0, 1}; any number of spatial axes will do. It returns one number, in float32 at least (also under bf16 autocast).

What the corners mean, in all of them:
- An unannotated pair (w_nk = 0) is never read: its target may hold anything (-1, 255), and its gradient is exactly zero because
  the pair is left out before anything is computed, not multiplied by zero (0 x inf would be NaN).
- A sample with nothing annotated is left out of the mean. A batch with nothing annotated costs 0 with zero gradient.
- A class never annotated in the batch gets exactly zero gradient.
- An annotated class without foreground is a statement, "not here": it costs something and teaches. How much, each loss says.

All raise ScanError where shapes do not fit, where w is not 0/1, or where an annotated target leaves [0, 1].
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from fmlab.errors import ScanError, SettingsError


class Pairs(NamedTuple):
    """The M annotated (sample, class) pairs of a batch, in order of sample and class.

    logits, target: (M, X, Y, Z) floating. sample, classes: (M,) int64, which n and which k each pair is.
    """

    logits: Tensor
    target: Tensor
    sample: Tensor
    classes: Tensor


def annotated_pairs(logits: Tensor, target: Tensor, w: Tensor) -> Pairs:
    """Pick what is annotated; everything else takes no further part. Shapes and errors: see the module."""
    if logits.ndim < 3 or target.shape != logits.shape or w.shape != logits.shape[:2]:
        raise ScanError(
            f"logits {tuple(logits.shape)}, target {tuple(target.shape)} and w {tuple(w.shape)} do not fit; "
            "give (B, K, X, Y, Z) twice and (B, K).")
    chosen = w.to(logits.device) == 1
    if not (chosen | (w.to(logits.device) == 0)).all():
        raise ScanError("w holds values other than 0 and 1; it says which class of which sample is annotated, not how much.")
    sample, classes = chosen.nonzero(as_tuple=True)
    exact = torch.promote_types(logits.dtype, torch.float32)  # sums over a volume do not fit bf16
    y = target.to(logits.device)[chosen]
    if y.numel() and y.dtype is not torch.bool and not (y.min() >= 0 and y.max() <= 1):
        raise ScanError(f"An annotated target runs from {y.min():g} to {y.max():g}; it must be 0 or 1 where w is 1.")
    return Pairs(logits[chosen].to(exact), y.to(exact), sample, classes)


def bce_per_pair(pairs: Pairs) -> Tensor:
    """Binary cross-entropy, mean over the voxels of each pair: (M,)."""
    return F.binary_cross_entropy_with_logits(pairs.logits, pairs.target, reduction="none").flatten(1).mean(1)


def dice_per_pair(pairs: Pairs, above: float, below: float) -> Tensor:
    """1 - (2 sum Y Yhat + above) / (sum Y + sum Yhat + below), sums over the voxels of each pair: (M,)."""
    y, yhat = pairs.target.flatten(1), pairs.logits.flatten(1).sigmoid()
    return 1 - (2 * (y * yhat).sum(1) + above) / (y.sum(1) + yhat.sum(1) + below)


def mean_over_pairs(values: Tensor) -> Tensor:
    """Mean of (M,) values over all annotated pairs; 0, still connected to the graph, where there is none."""
    return values.sum() / max(values.numel(), 1)


def mean_over_samples(values: Tensor, sample: Tensor) -> Tensor:
    """The slides' mean of (M,) values: over each sample's annotated classes first, then over the samples that have any."""
    _, index, count = sample.unique(return_inverse=True, return_counts=True)
    return (values / count[index]).sum() / max(count.numel(), 1)


def masked_bce(logits: Tensor, target: Tensor, w: Tensor) -> Tensor:
    """The slides' objective with L_SEG = binary cross-entropy, mean over voxels.

    (1/N) sum_n 1/(sum_k w_nk) sum_k w_nk mean_v BCE(Y_nkv, Yhat_nkv), N the samples with anything annotated: an organ weighs more
    in a sample with few annotated classes. Empty foreground: costs the cross-entropy of saying "here" anywhere.
    """
    pairs = annotated_pairs(logits, target, w)
    return mean_over_samples(bce_per_pair(pairs), pairs.sample)


def masked_dice(logits: Tensor, target: Tensor, w: Tensor, smooth: float = 1.0) -> Tensor:
    """The slides' objective with L_SEG = soft Dice: the loss of FSEFT's foundation model, which uses no cross-entropy.

    (1/N) sum_n 1/(sum_k w_nk) sum_k w_nk [1 - (2 sum_v Y Yhat + smooth) / (sum_v Y + sum_v Yhat + smooth)], one Dice per sample
    and class. Empty foreground: 1 - smooth / (sum Yhat + smooth), so that predicting nothing costs nothing.
    Source: Silva-Rodriguez et al., Medical Image Analysis 2025, doi:10.48550/arXiv.2303.17051.
    """
    pairs = annotated_pairs(logits, target, w)
    return mean_over_samples(dice_per_pair(pairs, smooth, smooth), pairs.sample)


def masked_bce_dice(logits: Tensor, target: Tensor, w: Tensor, smooth: float = 1.0, reward_empty: bool = False) -> Tensor:
    """masked_bce + Dice, computed in one pass: what the course's own universal model is trained with.

    reward_empty: True makes the Dice that of ``masked_dice``. By default ``smooth`` stands below the line only,
    1 - 2 sum Y Yhat / (sum Y + sum Yhat + smooth), as in CLIP-driven's and MultiTalent's: an empty foreground costs 1 with zero
    gradient, and the cross-entropy alone teaches absence. Most classes are absent from most patches, and a Dice that is perfect
    for predicting nothing is learnt first: with it the nano model had not found spleen, femurs or trachea after 1600 steps.
    """
    pairs = annotated_pairs(logits, target, w)
    return mean_over_samples(bce_per_pair(pairs) + dice_per_pair(pairs, smooth if reward_empty else 0, smooth), pairs.sample)


def clip_driven_bce(logits: Tensor, target: Tensor, w: Tensor) -> Tensor:
    """CLIP-driven's masked cross-entropy: mean over voxels, then over all annotated pairs of the batch at once.

    1/(sum_nk w_nk) sum_nk w_nk mean_v BCE: a sample with many annotated classes weighs more than in ``masked_bce``.
    """
    return mean_over_pairs(bce_per_pair(annotated_pairs(logits, target, w)))


def clip_driven_dice(logits: Tensor, target: Tensor, w: Tensor, form: Literal["slices", "volume"] = "slices") -> Tensor:
    """CLIP-driven's masked Dice, mean over all annotated pairs of the batch.

    form "slices", as the published weights were trained: one Dice for each slice of the first spatial axis, 1 - 2 sum Y Yhat /
    (sum Y + sum Yhat + 1), mean over slices. The 1 stands below the line only, so a slice without the class costs exactly 1
    whatever is predicted, with zero gradient: the loss stays high where organs are short. form "volume": the same fraction once
    over all voxels, which is what the authors meant; empty foreground costs exactly 1 there too.
    Raises SettingsError for another form. Source: Liu et al. 2023, doi:10.48550/arXiv.2301.00785.
    """
    if form not in ("slices", "volume"):
        raise SettingsError(f"clip_driven_dice(form={form!r}): choose 'slices' (as trained) or 'volume'.")
    pairs = annotated_pairs(logits, target, w)
    if form == "volume":
        return mean_over_pairs(dice_per_pair(pairs, 0, 1))
    return mean_over_pairs(slice_dice_per_pair(pairs))


def slice_dice_per_pair(pairs: Pairs) -> Tensor:
    """One Dice cost per slice of the first spatial axis, 1 below the line only, mean over the slices of each pair: (M,)."""
    y, yhat = pairs.target.flatten(2), pairs.logits.flatten(2).sigmoid()  # (M, X, rest)
    return (1 - 2 * (y * yhat).sum(2) / (y.sum(2) + yhat.sum(2) + 1)).mean(1)


def clip_driven(logits: Tensor, target: Tensor, w: Tensor, form: Literal["slices", "volume"] = "slices") -> Tensor:
    """CLIP-driven's loss: clip_driven_bce + clip_driven_dice, equal weights. Source: doi:10.48550/arXiv.2301.00785."""
    return clip_driven_bce(logits, target, w) + clip_driven_dice(logits, target, w, form)


def multitalent_bce(logits: Tensor, target: Tensor, w: Tensor) -> Tensor:
    """MultiTalent's cross-entropy: sum_nk w_nk mean_v BCE. A sum, so that it grows with images and annotated regions."""
    return bce_per_pair(annotated_pairs(logits, target, w)).sum()


def multitalent_dice(logits: Tensor, target: Tensor, w: Tensor, batch: bool = True) -> Tensor:
    """MultiTalent's Dice gain: the sum over outputs k of 2 tp_k / max(2 tp_k + fp_k + fn_k, 1e-7).

    batch (always True in the authors' training): tp, fp and fn are summed over the images that annotate k, so small organs
    missing from one patch do no harm. Otherwise one Dice per image, summed over images too. Empty foreground everywhere: 0, no
    gain and no gradient. Under several processes the authors also sum over these; here each process sums its own images.
    """
    pairs = annotated_pairs(logits, target, w)
    y, yhat = pairs.target.flatten(1), pairs.logits.flatten(1).sigmoid()
    twice, size = 2 * (y * yhat).sum(1), y.sum(1) + yhat.sum(1)  # size = 2 tp + fp + fn
    if batch:
        per_class = twice.new_zeros(logits.shape[1])
        twice, size = per_class.index_add(0, pairs.classes, twice), per_class.index_add(0, pairs.classes, size)
    return (twice / size.clamp(min=1e-7)).sum()


def multitalent(logits: Tensor, target: Tensor, w: Tensor, batch: bool = True) -> Tensor:
    """MultiTalent's loss: multitalent_bce - multitalent_dice; it may be negative, and a class is a region of one data set.

    The regions may overlap (liver = liver and tumour), which one sigmoid per region allows. Deep supervision: the caller adds
    this over scales. Source: Ulrich et al. 2023, doi:10.48550/arXiv.2303.14444.
    """
    return multitalent_bce(logits, target, w) - multitalent_dice(logits, target, w, batch)
