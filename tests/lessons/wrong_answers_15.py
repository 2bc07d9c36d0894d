"""Typical wrong answers to the exercise of lesson 15, each with words of the message that it must get."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def z_scored(x):
    deviation, mean = torch.std_mean(x, (2, 3, 4), keepdim=True)
    return (x - mean) / deviation.clamp(min=1e-6)


def hidden_over_all(prediction, x, visible):
    return F.mse_loss(prediction, z_scored(x))


def hidden_over_visible(prediction, x, visible):
    wrong = (prediction - z_scored(x)) ** 2
    return wrong[visible.expand_as(wrong)].mean()


def hidden_multiplied_and_mean(prediction, x, visible):
    return ((prediction - z_scored(x)) ** 2 * ~visible).mean()


def hidden_masked_before(prediction, x, visible):
    hidden = ~visible
    return F.mse_loss(prediction * hidden, z_scored(x) * hidden)


def hidden_by_visible_count(prediction, x, visible):
    wrong = (prediction - z_scored(x)) ** 2
    return (wrong * ~visible).sum() / visible.expand_as(wrong).sum()


def hidden_sum(prediction, x, visible):
    return ((prediction - z_scored(x)) ** 2 * ~visible).sum()


def hidden_by_cubes(prediction, x, visible):
    return ((prediction - z_scored(x)) ** 2 * ~visible).sum((1, 2, 3, 4)).mean()


def hidden_count_of_one_channel(prediction, x, visible):
    return ((prediction - z_scored(x)) ** 2 * ~visible).sum() / (~visible).sum()


def hidden_sum_of_cubes(prediction, x, visible):
    wrong, hidden = (prediction - z_scored(x)) ** 2, (~visible).expand_as(x)
    return ((wrong * hidden).sum((1, 2, 3, 4)) / hidden.sum((1, 2, 3, 4))).sum()


def hidden_raw_target(prediction, x, visible):
    return ((prediction - x) ** 2)[(~visible).expand_as(x)].mean()


def hidden_mean_only(prediction, x, visible):
    return ((prediction - (x - x.mean((2, 3, 4), keepdim=True))) ** 2)[(~visible).expand_as(x)].mean()


def hidden_variance(prediction, x, visible):
    target = (x - x.mean((2, 3, 4), keepdim=True)) / x.var((2, 3, 4), keepdim=True)
    return ((prediction - target) ** 2)[(~visible).expand_as(x)].mean()


def hidden_moments_of_hidden(prediction, x, visible):
    cubes = [(cube - cube[:, ~v[0]].mean(1).view(-1, 1, 1, 1)) / cube[:, ~v[0]].std(1).view(-1, 1, 1, 1).clamp(min=1e-6)
             for cube, v in zip(x, visible)]
    return ((prediction - torch.stack(cubes)) ** 2)[(~visible).expand_as(x)].mean()


def hidden_moments_of_visible(prediction, x, visible):
    cubes = [(cube - cube[:, v[0]].mean(1).view(-1, 1, 1, 1)) / cube[:, v[0]].std(1).view(-1, 1, 1, 1).clamp(min=1e-6)
             for cube, v in zip(x, visible)]
    return ((prediction - torch.stack(cubes)) ** 2)[(~visible).expand_as(x)].mean()


def hidden_whole_batch(prediction, x, visible):
    return ((prediction - (x - x.mean()) / x.std()) ** 2)[(~visible).expand_as(x)].mean()


def hidden_over_batch(prediction, x, visible):
    axes = (0, 2, 3, 4)
    target = (x - x.mean(axes, keepdim=True)) / x.std(axes, keepdim=True)
    return ((prediction - target) ** 2)[(~visible).expand_as(x)].mean()


def hidden_over_channels(prediction, x, visible):
    deviation, mean = torch.std_mean(x, (1, 2, 3, 4), keepdim=True)
    return ((prediction - (x - mean) / deviation.clamp(min=1e-6)) ** 2)[(~visible).expand_as(x)].mean()


def hidden_prediction_too(prediction, x, visible):
    return ((z_scored(prediction) - z_scored(x)) ** 2)[(~visible).expand_as(x)].mean()


def hidden_absolute(prediction, x, visible):
    return (prediction - z_scored(x)).abs()[(~visible).expand_as(x)].mean()


def hidden_root(prediction, x, visible):
    return ((prediction - z_scored(x)) ** 2)[(~visible).expand_as(x)].mean().sqrt()


def hidden_nan(prediction, x, visible):
    target = (x - x.mean((2, 3, 4), keepdim=True)) / x.std((2, 3, 4), keepdim=True)
    return ((prediction - target) ** 2)[(~visible).expand_as(x)].mean()


def hidden_not_expanded(prediction, x, visible):
    return ((prediction - z_scored(x)) ** 2)[~visible].mean()


def hidden_in_every_voxel(prediction, x, visible):
    return (prediction - z_scored(x)) ** 2 * ~visible


def hidden_item(prediction, x, visible):
    return ((prediction - z_scored(x)) ** 2)[(~visible).expand_as(x)].mean().item()


def hidden_pushes_visible(prediction, x, visible):
    loss = ((prediction - z_scored(x)) ** 2)[(~visible).expand_as(x)].mean()
    shown = prediction[visible.expand_as(x)].mean()
    return loss + shown - shown.detach()


def hidden_half_detached(prediction, x, visible):
    loss = ((prediction - z_scored(x)) ** 2)[(~visible).expand_as(x)].mean()
    return 0.5 * loss + 0.5 * loss.detach()


def hidden_twice(prediction, x, visible):
    return 2 * ((prediction - z_scored(x)) ** 2)[(~visible).expand_as(x)].mean()


WRONG = {
    "15-hidden": [
        (hidden_over_all, "You average over all voxels"), (hidden_over_visible, "*visible* voxels"),
        (hidden_multiplied_and_mean, "divides by *all* voxels"), (hidden_by_visible_count, "number of visible voxels"),
        (hidden_sum, "do not divide by their number"),
        (hidden_count_of_one_channel, "of one channel"), (hidden_sum_of_cubes, "add up the cubes' means"),
        (hidden_raw_target, "is x itself"), (hidden_mean_only, "lacks the division"), (hidden_variance, "by the variance"),
        (hidden_moments_of_hidden, "hidden voxels alone"), (hidden_moments_of_visible, "visible voxels alone"),
        (hidden_whole_batch, "whole batch at once"), (hidden_over_batch, "over the batch, each channel"),
        (hidden_over_channels, "all channels of a cube together"), (hidden_prediction_too, "the prediction as well"),
        (hidden_absolute, "absolute error"), (hidden_root, "root of the mean"), (hidden_nan, "0/0 is nan"),
        (hidden_not_expanded, "expand_as(x)` is as large"), (hidden_in_every_voxel, "not one number"),
        (hidden_item, "cannot train"), (hidden_pushes_visible, "pushes on the prediction at visible"),
        (hidden_half_detached, "its gradient is not"), (hidden_twice, "is right, and your function gives"),
    ],
}

SAME_MESSAGE = {"15-hidden": [(hidden_masked_before, "divides by *all* voxels"), (hidden_by_cubes, "do not divide by their "
                                                                                                   "number")]}
"""Other ways to the same wrong idea."""
