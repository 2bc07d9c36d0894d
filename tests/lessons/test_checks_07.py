"""Lesson 07: right answers pass, whatever their style, and the exercises are what the package does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fmlab.incontext.candidates import best_candidate_loss, ged
from fmlab.incontext.episodes import dice_and_entropy
from fmlab.lessons.check import judge
from fmlab.lessons.exercise import exercise
from fmlab.lessons.quiz import questions


def best_in_a_loop(losses):
    total = 0
    for row in losses:
        best = row[0]
        for loss in row:
            best = loss if loss < best else best
        total = total + best
    return total / len(losses)


def best_by_place(losses):
    place = losses.argmin(dim=1, keepdim=True)
    return losses.gather(1, place).mean()


def best_by_sorting(losses):
    return torch.mean(torch.sort(losses, dim=1)[0][:, 0])


def best_by_a_mask(losses):
    chosen = F.one_hot(losses.argmin(1), losses.shape[1])
    return (losses * chosen).sum() / len(losses)


def ged_in_loops(candidates, readers):
    def d(a, b):
        union = (a.bool() | b.bool()).sum().item()
        return 1 - (a.bool() & b.bool()).sum().item() / union if union else 0

    def mean(first, second):
        return sum(d(a, b) for a in first for b in second) / (len(first) * len(second))

    return 2 * mean(candidates, readers) - mean(candidates, candidates) - mean(readers, readers)


def ged_in_numpy(candidates, readers):
    a, b = (x.numpy().astype(bool) for x in (candidates, readers))

    def mean(x, y):
        common = (x[:, None] & y[None]).sum((2, 3))
        union = (x[:, None] | y[None]).sum((2, 3))
        return np.mean(np.where(union == 0, 0.0, 1 - common / np.maximum(union, 1)))

    return 2 * mean(a, b) - mean(a, a) - mean(b, b)


def ged_by_broadcasting(candidates, readers):
    def d(x, y):
        x, y = x[:, None].bool(), y[None].bool()
        iou = (x & y).sum((-2, -1)) / (x | y).sum((-2, -1))
        return 1 - torch.nan_to_num(iou, nan=1.0)

    return 2 * d(candidates, readers).mean() - d(candidates, candidates).mean() - d(readers, readers).mean()


def token_by_picking(features, mask):
    up = F.interpolate(features.unsqueeze(0), size=tuple(mask.shape))[0]
    inside = up[:, mask > 0]
    return inside.mean(dim=1) if inside.numel() else torch.zeros(features.shape[0])


def token_by_share(features, mask):
    """As the package does it: the mask's share of each feature voxel, no large map."""
    share = F.adaptive_avg_pool3d(mask[None], features.shape[1:])[0]
    return (features * share).flatten(1).sum(1) / share.sum().clamp(min=1e-6)


def token_by_repeating(features, mask):
    r = mask.shape[0] // features.shape[1]
    up = features.repeat_interleave(r, 1).repeat_interleave(r, 2).repeat_interleave(r, 3)
    return torch.einsum("cxyz,xyz->c", up, mask) / max(float(mask.sum()), 1.0)


def token_in_a_loop(features, mask):
    r, total, places = mask.shape[0] // features.shape[1], torch.zeros(len(features)), mask.nonzero()
    for x, y, z in places:
        total += features[:, x // r, y // r, z // r]
    return total / max(1, len(places))


RIGHT = [("07-best", best_in_a_loop), ("07-best", best_by_place), ("07-best", best_by_sorting), ("07-best", best_by_a_mask),
         ("07-ged", ged_in_loops), ("07-ged", ged_in_numpy), ("07-ged", ged_by_broadcasting),
         ("07-foreground", token_by_picking), ("07-foreground", token_by_share), ("07-foreground", token_by_repeating),
         ("07-foreground", token_in_a_loop)]


@pytest.mark.parametrize(("name", "function"), RIGHT, ids=[function.__name__ for _, function in RIGHT])
def test_right_answers_pass(name, function):
    outcome = judge(exercise(name), function)
    assert outcome.passed, outcome.message


def test_best_is_the_packages_loss():
    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(3, 4, 8, 8, generator=generator), (torch.rand(3, 1, 8, 8, generator=generator) > 0.5).float()
    losses = dice_and_entropy(logits, target)
    assert losses.shape == (3, 4)
    torch.testing.assert_close(exercise("07-best").reference(losses), best_candidate_loss(logits, target))


def test_ged_is_the_packages_own():
    assert exercise("07-ged").reference is ged


def test_quiz_has_five_questions():
    assert len(questions("07")) == 5
