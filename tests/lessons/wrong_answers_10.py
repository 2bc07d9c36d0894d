"""Typical wrong answers to the exercises of lesson 10, each with words of the message that it must get."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage


def depth(region):
    return ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1, 1:-1]


def top(values):
    return np.unravel_index(np.argmax(values), values.shape)


def both(prediction, truth, depth=depth):
    return depth(truth & ~prediction), depth(prediction & ~truth)


def click_not_padded(prediction, truth):
    missed, wrong = both(prediction, truth, ndimage.distance_transform_edt)
    return (top(missed), 1) if missed.max() > wrong.max() else (top(wrong), 0)


def click_always_positive(prediction, truth):
    missed, wrong = both(prediction, truth)
    return top(missed if missed.max() > wrong.max() else wrong), 1


def click_signs_swapped(prediction, truth):
    missed, wrong = both(prediction, truth)
    return (top(missed), 0) if missed.max() > wrong.max() else (top(wrong), 1)


def click_missed_only(prediction, truth):
    return top(both(prediction, truth)[0]), 1


def click_wrong_only(prediction, truth):
    return top(both(prediction, truth)[1]), 0


def click_middle_of_truth(prediction, truth):
    return top(depth(truth)), 1


def click_middle_of_prediction(prediction, truth):
    place = top(depth(prediction))
    return place, int(truth[place])


def click_centroid(prediction, truth):
    missed, wrong = both(prediction, truth)
    region, label = (truth & ~prediction, 1) if missed.max() > wrong.max() else (prediction & ~truth, 0)
    return tuple(int(round(float(x.mean()))) for x in np.nonzero(region)), label


def click_all_errors_as_one(prediction, truth):
    place = top(depth(prediction != truth))
    return place, int(truth[place])


def click_more_voxels(prediction, truth):
    missed, wrong = truth & ~prediction, prediction & ~truth
    return (top(depth(missed)), 1) if missed.sum() > wrong.sum() else (top(depth(wrong)), 0)


def click_shallower(prediction, truth):
    missed, wrong = both(prediction, truth)
    return (top(missed), 1) if missed.max() <= wrong.max() else (top(wrong), 0)


def click_place_alone(prediction, truth):
    missed, wrong = both(prediction, truth)
    return top(missed if missed.max() > wrong.max() else wrong)


def click_in_place(prediction, truth):
    truth &= ~prediction
    return top(depth(truth)), 1


def overlap(found, truth):
    return 2 * (found & truth).sum() / (found.sum() + truth.sum())


def pasted(logits, start, shape, threshold=0.0):
    found = np.zeros(shape, dtype=bool)
    for place in np.argwhere(logits > threshold) + np.array(start):
        if (place >= 0).all() and (place < shape).all():
            found[tuple(place)] = True
    return found


def whole_in_the_cube(logits, start, truth):
    n = len(logits)
    here = tuple(slice(max(s, 0), min(s + n, size)) for s, size in zip(start, truth.shape))
    inside = tuple(slice(a.start - s, a.stop - s) for a, s in zip(here, start))
    return overlap((logits > 0)[inside], truth[here])


def whole_counts_outside(logits, start, truth):
    shared = (pasted(logits, start, truth.shape) & truth).sum()
    return 2 * shared / ((logits > 0).sum() + truth.sum())


def whole_threshold_half(logits, start, truth):
    return overlap(pasted(logits, start, truth.shape, 0.5), truth)


def whole_moved_to_the_edge(logits, start, truth):
    n, found = len(logits), np.zeros(truth.shape, dtype=bool)
    here = tuple(slice(max(s, 0), max(s, 0) + n) for s in start)
    x, y, z = found[here].shape
    found[here] = (logits > 0)[:x, :y, :z]
    return overlap(found, truth)


def whole_first_corner(logits, start, truth):
    return overlap(pasted(logits, (0, 0, 0), truth.shape), truth)


def whole_about_the_truth(logits, start, truth):
    places, n = np.argwhere(truth), len(logits)
    return overlap(pasted(logits, (places.min(0) + places.max(0) + 1 - n) // 2, truth.shape), truth)


def whole_iou(logits, start, truth):
    found = pasted(logits, start, truth.shape)
    return (found & truth).sum() / (found | truth).sum()


def whole_recall(logits, start, truth):
    return (pasted(logits, start, truth.shape) & truth).sum() / truth.sum()


def whole_negative_start(logits, start, truth):
    n, found = len(logits), np.zeros(truth.shape, dtype=bool)
    i, j, k = start
    x, y, z = found[i:i + n, j:j + n, k:k + n].shape
    found[i:i + n, j:j + n, k:k + n] = (logits > 0)[:x, :y, :z]
    return overlap(found, truth)


def attend_with(extra):
    def attend(q, k, v, key, value, bias):
        d = q.shape[-1]
        scores = torch.cat([q @ k.T / d**0.5, extra(q @ key, bias, d)[:, None]], 1)
        return scores.softmax(-1) @ torch.cat([v, value[None]])
    return attend


def attend_real_only(q, k, v, key, value, bias):
    return (q @ k.T / q.shape[-1] ** 0.5).softmax(-1) @ v


def attend_all(q, k, v, key, value, bias):
    m = bias.shape[1]
    keys, values = torch.cat([k, key.expand(m, -1)]), torch.cat([v, value.expand(m, -1)])
    scores = q @ keys.T / q.shape[-1] ** 0.5
    scores = scores + torch.cat([torch.zeros(len(q), len(k)), bias], 1)
    return scores.softmax(-1) @ values


def attend_value_many_times(q, k, v, key, value, bias):
    scores = torch.cat([q @ k.T, (q @ key)[:, None]], 1) / q.shape[-1] ** 0.5
    return scores.softmax(-1) @ torch.cat([v, bias.shape[1] * value[None]])


def attend_value_zero(q, k, v, key, value, bias):
    extra = q @ key / q.shape[-1] ** 0.5 + bias.logsumexp(-1)
    weights = torch.cat([q @ k.T / q.shape[-1] ** 0.5, extra[:, None]], 1).softmax(-1)
    return weights[:, : len(k)] @ v


WRONG = {
    "10-click": [
        (click_not_padded, "beyond the scan as part"), (click_always_positive, "always positive"),
        (click_signs_swapped, "wrong way round"), (click_missed_only, "only look for what is missed"),
        (click_wrong_only, "only look for what is wrongly there"), (click_middle_of_truth, "middle of the truth"),
        (click_middle_of_prediction, "middle of the prediction"), (click_centroid, "take the centroid"),
        (click_all_errors_as_one, "all errors for one region"), (click_more_voxels, "error of more voxels"),
        (click_shallower, "shallower"), (click_place_alone, "without its label"), (click_in_place, "changes its input"),
    ],
    "10-whole": [
        (whole_in_the_cube, "score inside the cube"), (whole_counts_outside, "beyond the scan count as found"),
        (whole_threshold_half, "threshold logits at 0.5"), (whole_negative_start, "counts from the end"),
        (whole_moved_to_the_edge, "moved to its edge"), (whole_first_corner, "first corner"),
        (whole_about_the_truth, "about the middle of the structure"), (whole_iou, "intersection over union"),
        (whole_recall, "share of the truth"),
    ],
    "10-empty": [
        (attend_real_only, "left the empty tokens out"),
        (attend_with(lambda p, bias, d: p / d**0.5), "their number is lost"),
        (attend_with(lambda p, bias, d: p / d**0.5 + bias.shape[1]), "add M to the logit"),
        (attend_with(lambda p, bias, d: p / d**0.5 + float(np.log(bias.shape[1]))), "left out their biases"),
        (attend_with(lambda p, bias, d: p / d**0.5 + bias.mean(1) + float(np.log(bias.shape[1]))), "mean of the biases"),
        (attend_with(lambda p, bias, d: p / d**0.5 + bias.sum(1)), "add up the biases themselves"),
        (attend_with(lambda p, bias, d: p / d**0.5 + bias.max(1).values), "largest bias"),
        (attend_with(lambda p, bias, d: p / d**0.5 + bias.exp().sum(1)), "forgot the logarithm"),
        (attend_with(lambda p, bias, d: p + bias.logsumexp(1)), "forgot 1 / sqrt(d)"),
        (attend_with(lambda p, bias, d: (p + bias.logsumexp(1)) / d**0.5), "scale the biases"),
        (attend_value_many_times, "multiply the empty value"), (attend_value_zero, "read as nothing"),
        (attend_all, "cost grows with the number of empty"),
    ],
}

SAME_MESSAGE = {}
"""Other ways to the same wrong idea."""
