"""Typical wrong answers to the exercises of lesson 12, each with words of the message that it must get."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F


def masks(labels, regions):
    return np.stack([np.isin(np.asarray(labels), ids) for ids in regions]).astype(np.uint8)


def targets_first_id(labels, regions, annotated):
    return np.stack([np.asarray(labels) == ids[0] for ids in regions]), np.array(annotated)


def targets_interval(labels, regions, annotated):
    labels = np.asarray(labels)
    return np.stack([(labels >= min(ids)) & (labels <= max(ids)) for ids in regions]), np.array(annotated)


def targets_equals_list(labels, regions, annotated):
    return np.stack([np.asarray(labels) == np.asarray(ids) for ids in regions]), np.array(annotated)


def targets_keeps_ids(labels, regions, annotated):
    labels = np.asarray(labels)
    return [np.stack([np.where(np.isin(labels, ids), labels, 0) for ids in regions]), np.array(annotated)]


def targets_exclusive(labels, regions, annotated):
    classes = np.zeros(np.shape(labels), int)
    for k, ids in enumerate(regions):
        classes[np.isin(np.asarray(labels), ids)] = k + 1
    return np.stack([classes == k + 1 for k in range(len(regions))]), np.array(annotated)


def targets_exclusive_first(labels, regions, annotated):
    free = np.ones(np.shape(labels), bool)
    y = []
    for ids in regions:
        y.append(np.isin(np.asarray(labels), ids) & free)
        free &= ~y[-1]
    return np.stack(y), np.array(annotated)


def targets_present(labels, regions, annotated):
    y = masks(labels, regions)
    return y, [int(mask.any()) for mask in y]


def targets_present_and_annotated(labels, regions, annotated):
    y = masks(labels, regions)
    return y, [int(mask.any() and known) for mask, known in zip(y, annotated)]


def targets_always_one(labels, regions, annotated):
    return masks(labels, regions), np.ones(len(regions))


def targets_upside_down(labels, regions, annotated):
    return masks(labels, regions), [int(not known) for known in annotated]


def targets_emptied(labels, regions, annotated):
    w = np.array(annotated, int)
    return masks(labels, regions) * w[:, None, None, None], w


def targets_minus_one(labels, regions, annotated):
    y = masks(labels, regions).astype(int)
    y[~np.array(annotated)] = -1
    return y, np.array(annotated, int)


def targets_y_only(labels, regions, annotated):
    return masks(labels, regions)


def targets_w_first(labels, regions, annotated):
    return np.array(annotated), masks(labels, regions)


def targets_last_axis(labels, regions, annotated):
    return np.stack([np.isin(labels, ids) for ids in regions], axis=-1), np.array(annotated)


def targets_w_in_every_voxel(labels, regions, annotated):
    y = masks(labels, regions)
    return y, np.stack([np.full(mask.shape, known) for mask, known in zip(y, annotated)])


def targets_one_map(labels, regions, annotated):
    return masks(labels, regions).max(0), np.array(annotated)


def targets_inverted_masks(labels, regions, annotated):
    return 1 - masks(labels, regions), np.array(annotated)


def targets_half_w(labels, regions, annotated):
    return masks(labels, regions), np.array(annotated) * 0.5


def targets_list_of_ids(labels, regions, annotated):
    return masks(labels, regions), [k for k, known in enumerate(annotated) if known]


def targets_numpy_only(labels, regions, annotated):
    return np.stack([np.isin(labels.astype(int), ids) for ids in regions]), np.array(annotated)


def targets_in_place(labels, regions, annotated):
    y = masks(labels, regions)
    labels[labels > 0] = 1
    return y, np.array(annotated)


def bce(logits, target):
    return F.binary_cross_entropy_with_logits(logits, target.float(), reduction="none").flatten(2).mean(2)


def average(costs, w):
    known = w.sum(1) > 0
    each = (w * costs).sum(1)[known] / w.sum(1)[known]
    return each.sum() / max(len(each), 1)


def masked_unmasked(logits, target, w):
    return F.binary_cross_entropy_with_logits(logits, target.float())


def masked_by_k(logits, target, w):
    return (w * bce(logits, target)).sum(1).div(logits.shape[1]).mean()


def masked_pairs(logits, target, w):
    return bce(logits, target)[w == 1].mean()


def masked_no_sigmoid(logits, target, w):
    return average(F.binary_cross_entropy(logits, target.float(), reduction="none").flatten(2).mean(2), w)


def masked_no_sigmoid_by_hand(logits, target, w):
    cost = -(target * torch.log(logits) + (1 - target) * torch.log(1 - logits))
    return average(cost.flatten(2).mean(2), w)


def masked_two_sigmoids(logits, target, w):
    return average(bce(torch.sigmoid(logits), target), w)


def masked_logits(logits, target, w):
    keep = w.reshape(*w.shape, 1, 1, 1)
    return F.binary_cross_entropy_with_logits(logits * keep, target)


def masked_logits_by_annotated(logits, target, w):
    keep = w.reshape(*w.shape, 1, 1, 1)
    return (bce(logits * keep, target).sum(1) / w.sum(1)).mean()


def masked_sum_of_voxels(logits, target, w):
    cost = F.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(dim=(2, 3, 4))
    return average(cost, w)


def masked_sum_of_classes(logits, target, w):
    return (w * bce(logits, target)).sum(1).mean()


def masked_sum_of_samples(logits, target, w):
    return ((w * bce(logits, target)).sum(1) / w.sum(1)).sum()


def masked_classes_first(logits, target, w):
    costs = bce(logits, target)
    return torch.stack([costs[w[:, k] == 1, k].mean() for k in range(w.shape[1]) if w[:, k].any()]).mean()


def masked_skips_empty(logits, target, w):
    return average(bce(logits, target), w * target.flatten(2).any(2))


def masked_nan_sample(logits, target, w):
    return ((w * bce(logits, target)).sum(1) / w.sum(1)).mean()


def masked_free_sample(logits, target, w):
    return ((w * bce(logits, target)).sum(1) / w.sum(1).clamp(min=1)).mean()


def masked_nan_batch(logits, target, w):
    costs = bce(logits, target)
    known = w.sum(1) > 0
    return ((w * costs).sum(1)[known] / w.sum(1)[known]).mean()


def masked_logarithm(logits, target, w):
    p = torch.sigmoid(logits)
    cost = -(target * torch.log(p) + (1 - target) * torch.log(1 - p))
    return average(cost.flatten(2).mean(2), w)


def masked_cut_off(logits, target, w):
    target = target.float() * w.float().reshape(*w.shape, 1, 1, 1)
    return average(F.binary_cross_entropy(logits.sigmoid(), target, reduction="none").flatten(2).mean(2), w)


def masked_stops_at_marks(logits, target, w):
    return average(F.binary_cross_entropy(logits.sigmoid(), target.float(), reduction="none").flatten(2).mean(2), w)


def masked_five_axes(logits, target, w):
    return (w * F.binary_cross_entropy_with_logits(logits, target, reduction="none")).mean()


def masked_whole_number_target(logits, target, w):
    return average(F.binary_cross_entropy_with_logits(logits, target, reduction="none").flatten(2).mean(2), w)


def masked_not_averaged(logits, target, w):
    return w * bce(logits, target)


def masked_twice_as_much(logits, target, w):
    return 2 * average(bce(logits, target), w)


def masked_item(logits, target, w):
    return average(bce(logits, target), w).item()


def masked_reads_targets(logits, target, w):
    return average(bce(logits, target), w) + 0.01 * (target.flatten(2).mean(2) * (1 - w)).mean()


def masked_regularised(logits, target, w):
    return average(bce(logits, target), w) + 0.01 * ((1 - w) * logits.flatten(2).square().mean(2)).mean()


def masked_half_detached(logits, target, w):
    costs = bce(logits, target)
    return average(costs.detach() + 0.5 * (costs - costs.detach()), w)


def masked_hidden_nan(logits, target, w):
    each = (w * bce(logits, target)).sum(1) / w.sum(1)
    return torch.nan_to_num(each, nan=0.0).sum() / (w.sum(1) > 0).sum().clamp(min=1)


def masked_cut_zero(logits, target, w):
    return average(bce(logits, target), w) if w.any() else torch.zeros(())


WRONG = {
    "12-targets": [
        (targets_first_id, "hole in the liver"), (targets_interval, "not an interval"),
        (targets_equals_list, "`labels == ids` compares something else"), (targets_keeps_ids, "keeps the ids"),
        (targets_exclusive, "cut out of the liver"), (targets_exclusive_first, "lost to the liver"),
        (targets_present, "is *present*"), (targets_always_one, "1 for every structure"),
        (targets_upside_down, "upside down"), (targets_emptied, "You empty Y_k"), (targets_minus_one, "with -1"),
        (targets_y_only, "You return Y alone"), (targets_w_first, "w first"), (targets_last_axis, "last axis"),
        (targets_w_in_every_voxel, "every voxel"), (targets_one_map, "has not the shape (K, X, Y, Z)"),
        (targets_inverted_masks, "exactly where the label"), (targets_half_w, "something else than 0 and 1"),
        (targets_list_of_ids, "has not the shape (K,)"), (targets_numpy_only, "np.asarray(labels)"),
        (targets_in_place, "changes its input"),
    ],
    "12-masked": [
        (masked_unmasked, "w is not used"), (masked_by_k, "divide by K"), (masked_pairs, "CLIP-driven's form"),
        (masked_no_sigmoid, "sigmoid is forgotten"), (masked_two_sigmoids, "comes twice"), (masked_logits, "mask the logits"),
        (masked_logits_by_annotated, "mask the logits, not the cost, and then"), (masked_sum_of_voxels, "add up the voxels"),
        (masked_sum_of_classes, "1 / sum_k w_nk is missing"), (masked_sum_of_samples, "add up the samples"),
        (masked_classes_first, "DoDNet's form"), (masked_skips_empty, "without foreground"),
        (masked_nan_sample, "whole loss nan"), (masked_free_sample, "as a perfect one"),
        (masked_nan_batch, "a mean over no samples"), (masked_logarithm, "by hand"), (masked_cut_off, "cuts the cost off at 100"),
        (masked_stops_at_marks, "-1 or 255"), (masked_five_axes, "in its line 2"),
        (masked_whole_number_target, "`target.float()`"), (masked_not_averaged, "not one number"),
        (masked_item, "cannot train"), (masked_reads_targets, "changes with the targets"),
        (masked_regularised, "pushes on logits"), (masked_half_detached, "its gradient is not"),
        (masked_hidden_nan, "hides on the way forward"), (masked_cut_zero, "`backward` stops the training"),
        (masked_twice_as_much, "is right, and your function gives"),
    ],
}

SAME_MESSAGE = {"12-targets": [(targets_present_and_annotated, "is *present*")],
                "12-masked": [(masked_no_sigmoid_by_hand, "sigmoid is forgotten")]}
"""Other ways to the same wrong idea."""
