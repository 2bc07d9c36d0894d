"""Typical wrong answers to the exercises of lesson 06, each with words of the message that it must get."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def each_pair(u, v, weight, bias, padding=1):
    """Conv([u, v_j]) for each j, as a list."""
    return [F.conv2d(torch.cat([u, one])[None], weight, bias, padding=padding)[0] for one in v]


def cross_support_first(u, v, weight, bias):
    pairs = torch.stack([torch.cat([one, u]) for one in v])
    return F.conv2d(pairs, weight, bias, padding=1).mean(0)


def cross_mean_of_channels(u, v, weight, bias):
    return torch.stack(each_pair(u, v, weight, bias)).mean(dim=1)


def cross_all_results(u, v, weight, bias):
    return torch.stack(each_pair(u, v, weight, bias))


def cross_leaky(u, v, weight, bias):
    return sum(F.leaky_relu(z, 0.01) for z in each_pair(u, v, weight, bias)) / len(v)


def cross_relu(u, v, weight, bias):
    return torch.stack([torch.relu(z) for z in each_pair(u, v, weight, bias)]).mean(0)


def cross_activated_mean(u, v, weight, bias):
    return F.leaky_relu(torch.stack(each_pair(u, v, weight, bias)).mean(0))


def cross_sum(u, v, weight, bias):
    total = 0
    for z in each_pair(u, v, weight, bias):
        total = total + z
    return total


def cross_max(u, v, weight, bias):
    return torch.stack(each_pair(u, v, weight, bias)).amax(0)


def cross_no_bias(u, v, weight, bias):
    return torch.stack(each_pair(u, v, weight, None)).mean(0)


def cross_no_padding(u, v, weight, bias):
    return torch.stack(each_pair(u, v, weight, bias, padding=0)).mean(0)


def cross_adds_maps(u, v, weight, bias):
    both = u + v
    return F.conv2d(torch.cat([both, both], dim=1)[:, : weight.shape[1]], weight, bias, padding=1).mean(0)


def cross_first_support_only(u, v, weight, bias):
    return each_pair(u, v, weight, bias)[0]


def cross_keeps_an_axis(u, v, weight, bias):
    return torch.stack(each_pair(u, v, weight, bias)).mean(0, keepdim=True)


def cross_on_the_batch(u, v, weight, bias):
    return F.conv2d(torch.cat([u[None], v], dim=0), weight, bias, padding=1).mean(0)


def cross_later_ones_louder(u, v, weight, bias):
    weights = torch.linspace(1, 2, len(v))
    return torch.einsum("s,schw->chw", weights / weights.sum(), torch.stack(each_pair(u, v, weight, bias)))


def halves(u, v, weight, of_u, of_v, cut=None):
    c = u.shape[0] if cut is None else cut
    return F.conv2d(u, weight[:, :c], of_u, padding=1) + F.conv2d(v, weight[:, c:], of_v, padding=1)


def fast_two_biases(u, v, weight, bias):
    return halves(u, v.mean(0), weight, bias, bias)


def fast_no_bias(u, v, weight, bias):
    return halves(u, v.mean(0), weight, None, None)


def fast_halves_swapped(u, v, weight, bias):
    c = v.shape[1]
    return F.conv2d(v.mean(0), weight[:, :c], bias, padding=1) + F.conv2d(u, weight[:, c:], padding=1)


def fast_sum(u, v, weight, bias):
    return halves(u, v.sum(0), weight, bias, None)


def fast_no_query(u, v, weight, bias):
    return F.conv2d(v.mean(0), weight[:, len(u) :], bias, padding=1)


def fast_pairs(u, v, weight, bias):
    return torch.stack(each_pair(u, v, weight, bias)).mean(0)


def fast_mean_late(u, v, weight, bias):
    c = len(u)
    return F.conv2d(u, weight[:, :c], bias, padding=1) + F.conv2d(v, weight[:, c:], padding=1).mean(0)


def fast_query_many_times(u, v, weight, bias):
    c = len(u)
    queries = [F.conv2d(u, weight[:, :c], bias, padding=1) for _ in range(3)]
    return sum(queries) / 3 + F.conv2d(v.mean(0), weight[:, c:], padding=1)


def fast_cut_in_the_middle(u, v, weight, bias):
    return halves(u, v.mean(0), weight, bias, None, cut=weight.shape[1] // 2)


def ensemble_of_logits(logits):
    return torch.sigmoid(torch.mean(logits, dim=0)) > 0.5


def ensemble_of_logits_above_zero(logits):
    return logits.mean(0) > 0


def ensemble_majority(logits):
    votes = (logits.sigmoid() > 0.5).sum(0)
    return votes > len(logits) / 2


def ensemble_threshold_zero(logits):
    return torch.sigmoid(logits).mean(0) > 0


def ensemble_probabilities(logits):
    return torch.sigmoid(logits).mean(0)


def ensemble_no_sigmoid(logits):
    return logits.mean(0) > 0.5


def ensemble_union(logits):
    mask = logits[0].sigmoid() > 0.5
    for z in logits[1:]:
        mask = mask | (z.sigmoid() > 0.5)
    return mask


def ensemble_in_place(logits):
    return logits.sigmoid_().mean(0) > 0.5


def ensemble_flat(logits):
    return bool(logits.sigmoid().mean() > 0.5)


WRONG = {
    "06-cross": [
        (cross_support_first, "support first"), (cross_mean_of_channels, "mean over the channels"),
        (cross_all_results, "keep the S results apart"), (cross_leaky, "an activation on z"), (cross_relu, "a ReLU on z"),
        (cross_activated_mean, "activation on the mean"), (cross_sum, "add the examples up"), (cross_max, "largest of"),
        (cross_no_bias, "forget the bias"), (cross_no_padding, "lost a rim"), (cross_adds_maps, "sum of u and v_j"),
        (cross_keeps_an_axis, "has not the shape (C, H, W)"),
        (cross_on_the_batch, "in its line 2"), (cross_later_ones_louder, "order of the support"),
    ],
    "06-fast": [
        (fast_two_biases, "the bias twice"), (fast_no_bias, "Neither half"), (fast_halves_swapped, "last channels of the kernel"),
        (fast_sum, "sum of the supports"), (fast_no_query, "left the query out"), (fast_pairs, "cost grows with the number"),
        (fast_query_many_times, "more than that of one pair"), (fast_cut_in_the_middle, "in its line 2"),
    ],
    "06-ensemble": [
        (ensemble_of_logits, "average the logits"), (ensemble_majority, "majority"), (ensemble_threshold_zero, "mean at 0"),
        (ensemble_probabilities, "return the probabilities"), (ensemble_no_sigmoid, "forgot the sigmoid"),
        (ensemble_union, "union of all"), (ensemble_in_place, "changes its input"), (ensemble_flat, "is right, and your"),
    ],
}

SAME_MESSAGE = {"06-cross": [(cross_first_support_only, "order of the support")],
                "06-fast": [(fast_mean_late, "cost grows with the number")],
                "06-ensemble": [(ensemble_of_logits_above_zero, "average the logits")]}
"""Other ways to the same wrong idea."""
