"""Typical wrong answers to the exercises of lesson 02, each with words of the message that it must get."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def goal_of(categories):
    same = (categories[:, None] == categories[None]).float()
    return same / same.sum(1, keepdim=True)


def pairing_by_identity(logits, categories):
    own = torch.eye(len(logits))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def pairing_pictures_only(logits, categories):
    return -(goal_of(categories) * logits.log_softmax(1)).sum(1).mean()


def pairing_captions_only(logits, categories):
    return -(goal_of(categories) * logits.log_softmax(0)).sum(0).mean()


def pairing_both_added(logits, categories):
    goal = goal_of(categories)
    return F.cross_entropy(logits, goal) + F.cross_entropy(logits.T, goal)


def pairing_not_divided(logits, categories):
    same = (categories[:, None] == categories[None]).float()
    return (F.cross_entropy(logits, same) + F.cross_entropy(logits.T, same)) / 2


def pairing_divided_by_all(logits, categories):
    same = (categories[:, None] == categories[None]).float()
    same = same / same.sum()
    return (F.cross_entropy(logits, same) + F.cross_entropy(logits.T, same)) / 2


def pairing_softmax_twice(logits, categories):
    goal = goal_of(categories)
    return (F.cross_entropy(logits.softmax(1), goal) + F.cross_entropy(logits.T.softmax(1), goal)) / 2


def pairing_summed(logits, categories):
    goal = goal_of(categories)
    return -(goal * (logits.log_softmax(1) + logits.log_softmax(0))).sum() / 2


def pairing_squared(logits, categories):
    goal = goal_of(categories)
    return (F.mse_loss(logits.softmax(1), goal) + F.mse_loss(logits.T.softmax(1), goal)) / 2


def pairing_sigmoid(logits, categories):
    same = (categories[:, None] == categories[None]).float()
    return F.binary_cross_entropy_with_logits(logits, same)


def pairing_item(logits, categories):
    goal = goal_of(categories)
    return (F.cross_entropy(logits, goal).item() + F.cross_entropy(logits.T, goal).item()) / 2


def ensemble_raw(embeddings):
    return torch.stack([each.mean(0) for each in embeddings])


def ensemble_summed(embeddings):
    return torch.stack([each.sum(0) for each in embeddings])


def ensemble_maximum(embeddings):
    return torch.stack([each.max(0).values / each.max(0).values.norm() for each in embeddings])


def ensemble_first(embeddings):
    return torch.cat([each[:1] for each in embeddings])


def ensemble_other_axis(embeddings):
    means = torch.stack([each.mean(0) for each in embeddings])
    return means / means.norm(dim=0, keepdim=True)


def ensemble_largest_length(embeddings):
    means = torch.stack([each.mean(0) for each in embeddings])
    return means / means.norm(dim=1).max()


def ensemble_by_sum(embeddings):
    means = torch.stack([each.mean(0) for each in embeddings])
    return means / means.sum(1, keepdim=True)


def ensemble_squared_length(embeddings):
    means = torch.stack([each.mean(0) for each in embeddings])
    return means / (means * means).sum(1, keepdim=True)


def ensemble_softmax(embeddings):
    return torch.stack([each.mean(0) for each in embeddings]).softmax(1)


WRONG = {
    "02-pairing": [
        (pairing_by_identity, "That is CLIP's loss"), (pairing_pictures_only, "each picture looks for its captions"),
        (pairing_captions_only, "each caption looks for its pictures"), (pairing_both_added, "You add the two directions"),
        (pairing_not_divided, "do not add up to 1"), (pairing_divided_by_all, "of the whole matrix"),
        (pairing_softmax_twice, "softmax before the cross-entropy"), (pairing_summed, "You add up over the batch"),
        (pairing_squared, "by squared error"), (pairing_sigmoid, "SigLIP's idea"), (pairing_item, "cannot train"),
    ],
    "02-ensemble": [
        (ensemble_raw, "as FLAIR's code does"), (ensemble_summed, "six times as loud"),
        (ensemble_maximum, "largest value in each"),
        (ensemble_first, "first text of each class"), (ensemble_other_axis, "over the classes (axis 0)"),
        (ensemble_largest_length, "largest of all lengths"), (ensemble_by_sum, "sum of the values"),
        (ensemble_squared_length, "square of the length"), (ensemble_softmax, "directions and no probabilities"),
    ],
}
