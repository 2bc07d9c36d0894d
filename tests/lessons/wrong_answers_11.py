"""Typical wrong answers to the exercises of lesson 11, each with words of the message that it must get."""

from __future__ import annotations

import warnings

import numpy as np


def covered(found, true):
    return ((found > 0) & (true > 0)).sum() / (true > 0).sum()


def weighted(dice, weight):
    return np.nansum(dice * weight) / np.where(np.isnan(dice), 0, weight).sum()


def volume_answered_slices(dice, found, true):
    both = np.logical_and(found > 0, true > 0)
    return covered(found, true), dice[both].mean()


def volume_all_answers(dice, found, true):
    return covered(found, true), np.nanmean([d for d, p in zip(dice, found) if p > 0])


def volume_plain_mean(dice, found, true):
    return covered(found, true), np.nanmean(dice)


def volume_mean_where_shown(dice, found, true):
    return covered(found, true), np.mean(dice[true > 0])


def volume_by_truth(dice, found, true):
    return covered(found, true), weighted(dice, true)


def volume_by_found(dice, found, true):
    return covered(found, true), weighted(dice, found)


def volume_with_nan(dice, found, true):
    return covered(found, true), np.sum(dice * (found + true)) / np.sum(found + true)


def volume_share_of_all(dice, found, true):
    return ((found > 0) & (true > 0)).sum() / len(true), weighted(dice, found + true)


def volume_counts_false_slices(dice, found, true):
    return np.count_nonzero(found) / np.count_nonzero(true), weighted(dice, found + true)


def volume_precision(dice, found, true):
    return ((found > 0) & (true > 0)).sum() / (found > 0).sum(), weighted(dice, found + true)


def volume_of_pixels(dice, found, true):
    return true[found > 0].sum() / true.sum(), weighted(dice, found + true)


def volume_swapped(dice, found, true):
    return weighted(dice, found + true), covered(found, true)


def volume_one_number(dice, found, true):
    return weighted(dice, found + true)


def there(boxes):
    return boxes[~np.isnan(boxes[:, 0])]


def unless_nobody(change):
    def merge(boxes):
        return change(there(boxes)) if len(there(boxes)) else np.full(4, np.nan)
    merge.__name__ = change.__name__
    return merge


def merge_with_nan(boxes):
    return np.median(boxes, axis=0)


def merge_mean(boxes):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.nanmean(boxes, axis=0)


def merge_mean_with_nan(boxes):
    return boxes.sum(0) / len(boxes)


@unless_nobody
def merge_outer(boxes):
    return np.array([boxes[:, 0].min(), boxes[:, 1].min(), boxes[:, 2].max(), boxes[:, 3].max()])


@unless_nobody
def merge_inner(boxes):
    return np.array([boxes[:, 0].max(), boxes[:, 1].max(), boxes[:, 2].min(), boxes[:, 3].min()])


def merge_zeros(boxes):
    return np.median(np.where(np.isnan(boxes), 0, boxes), axis=0)


@unless_nobody
def merge_first(boxes):
    return boxes[0]


@unless_nobody
def merge_least(boxes):
    return np.amin(boxes, axis=0)


@unless_nobody
def merge_one_median(boxes):
    return np.repeat(np.median(boxes), 4)


@unless_nobody
def merge_as_torch(boxes):
    import torch
    return torch.from_numpy(boxes).median(0).values


@unless_nobody
def merge_trimmed_to_one(boxes):
    return np.median(boxes, axis=0)[None]


@unless_nobody
def merge_last_counts_twice(boxes):
    return np.median(np.concatenate([boxes, boxes[-1:]]), axis=0)


def bits(p):
    p = np.clip(p, 1e-12, 1 - 1e-12)
    return -(p * np.log2(p) + (1 - p) * np.log2(1 - p)).sum(axis=(1, 2))


def next_surest(p, done):
    h = bits(p)
    h[done] = np.inf
    return h.argmin()


def next_of_all(p, done):
    return np.argmax(bits(p))


def next_renumbered(p, done):
    return np.argmax(bits(p[~done]))


def next_of_done(p, done):
    h = bits(p)
    h[~done] = -1
    return h.argmax() if done.any() else 0


def next_largest(p, done):
    return max(np.flatnonzero(~done), key=lambda k: p[k].sum())


def next_smallest(p, done):
    return min(np.flatnonzero(~done), key=lambda k: p[k].sum())


def next_half_entropy(p, done):
    h = -(p * np.log(np.clip(p, 1e-12, 1))).sum((1, 2))
    return np.where(done, -np.inf, h).argmax()


def next_nan(p, done):
    h = -(p * np.log(p) + (1 - p) * np.log(1 - p)).sum((1, 2))
    h[done] = -np.inf
    return h.argmax()


def next_one_pixel(p, done):
    doubt = 0.5 - np.abs(p - 0.5)
    return np.where(done, -1, doubt.max(axis=(1, 2))).argmax()


def next_entropies(p, done):
    h = bits(p) * np.log(2)
    h[done] = -np.inf
    return h


def next_always_first(p, done):
    return int(np.flatnonzero(~done)[0])


WRONG = {
    "11-volume": [
        (volume_answered_slices, "the number that flatters"), (volume_all_answers, "those in which nothing is true included"),
        (volume_plain_mean, "You average the slices' Dice"), (volume_mean_where_shown, "over the slices that show"),
        (volume_by_truth, "by the true pixels alone"), (volume_by_found, "by the pixels found alone"),
        (volume_with_nan, "is NaN where"), (volume_share_of_all, "a share of all slices"),
        (volume_counts_false_slices, "counts answers in slices that show nothing"), (volume_precision, "share of the answers"),
        (volume_of_pixels, "counts pixels"), (volume_swapped, "other way round"), (volume_one_number, "two numbers"),
    ],
    "11-merge": [
        (merge_with_nan, "as soon as one person"), (merge_mean, "mean of those who drew"),
        (merge_outer, "box around all"), (merge_inner, "what all boxes share"), (merge_zeros, "NaN as 0"),
        (merge_first, "the first who drew"), (merge_least, "least of each column"), (merge_one_median, "one median for all"),
        (merge_as_torch, "the lower side"), (merge_trimmed_to_one, "shape (4,)"),
        (merge_last_counts_twice, "order of the people"),
    ],
    "11-next": [
        (next_surest, "the surest slice"), (next_of_all, "annotated already"), (next_renumbered, "lose their own numbers"),
        (next_of_done, "among the slices that are done"), (next_largest, "largest mask"), (next_smallest, "smallest mask"),
        (next_half_entropy, "left out the half"), (next_nan, "meets a 0"), (next_one_pixel, "single most unsure pixel"),
        (next_entropies, "return the entropies"), (next_always_first, "is right, and your"),
    ],
}

SAME_MESSAGE = {"11-merge": [(merge_mean_with_nan, "as soon as one person")]}
"""Another way to the same wrong idea."""
