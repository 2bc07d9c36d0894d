"""Lesson 10: right answers pass, whatever their style, and the exercises are what the package does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from fmlab.interactive.clicks import centre_of_largest_error, depth
from fmlab.interactive.volume_attention import VolumeAttention
from fmlab.lessons.check import judge
from fmlab.lessons.exercise import exercise


def click_by_a_rim(prediction, truth):
    best = None
    for label, region in ((0, prediction & ~truth), (1, truth & ~prediction)):
        inside = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1, 1:-1]
        if best is None or inside.max() > best[0]:
            best = inside.max(), np.unravel_index(inside.argmax(), inside.shape), label
    return list(best[1]), best[2]


def click_in_torch(prediction, truth):
    errors = torch.from_numpy(truth & ~prediction), torch.from_numpy(prediction & ~truth)
    depths = [torch.from_numpy(depth(error.numpy())) for error in errors]
    which = int(depths[1].max() >= depths[0].max())
    return torch.tensor(np.unravel_index(int(depths[which].argmax()), truth.shape)), 1 - which


def whole_by_padding(logits, start, truth):
    n = len(logits)
    found = np.zeros([size + 2 * n for size in truth.shape], dtype=bool)
    i, j, k = (s + n for s in start)
    found[i:i + n, j:j + n, k:k + n] = logits > 0
    found = found[n:-n, n:-n, n:-n]
    return 2 * np.sum(found & truth) / (found.sum() + truth.sum())


def whole_voxel_by_voxel(logits, start, truth):
    shared = size = 0
    for place in np.argwhere(logits > 0):
        there = place + start
        if (there >= 0).all() and (there < truth.shape).all():
            size, shared = size + 1, shared + int(truth[tuple(there)])
    return torch.tensor(2 * shared / (size + truth.sum()))


def empty_by_exponentials(q, k, v, key, value, bias):
    """Numerator and denominator by hand, with the largest taken off."""
    scores, empty = q @ k.T / q.shape[1] ** 0.5, q @ key / q.shape[1] ** 0.5
    top = torch.maximum(scores.amax(1), empty + bias.amax(1))[:, None]
    weights, of_empty = (scores - top).exp(), (empty[:, None] + bias - top).exp().sum(1, keepdim=True)
    return (weights @ v + of_empty * value) / (weights.sum(1, keepdim=True) + of_empty)


def empty_by_attention(q, k, v, key, value, bias):
    keys, values = torch.cat([k, key[None]]), torch.cat([v, value[None]])
    extra = torch.cat([torch.zeros(len(q), len(k)), bias.logsumexp(1, keepdim=True)], 1)
    return torch.nn.functional.scaled_dot_product_attention(q[None], keys[None], values[None], extra[None])[0]


RIGHT = [("10-click", click_by_a_rim), ("10-click", click_in_torch), ("10-whole", whole_by_padding),
         ("10-whole", whole_voxel_by_voxel), ("10-empty", empty_by_exponentials), ("10-empty", empty_by_attention)]


@pytest.mark.parametrize(("name", "function"), RIGHT, ids=[function.__name__ for _, function in RIGHT])
def test_right_answers_pass(name, function):
    outcome = judge(exercise(name), function)
    assert outcome.passed, outcome.message


def test_the_click_is_as_deep_as_the_packages_and_of_the_same_error():
    """Of several deepest places the package takes another one."""
    rng, spec = np.random.default_rng(0), exercise("10-click")
    for case in spec.cases:
        prediction, truth = case.make(rng)
        place, label = spec.reference(prediction, truth)
        points, labels = centre_of_largest_error(prediction, truth)
        inside = depth(truth & ~prediction if label else prediction & ~truth)
        assert int(labels[0]) == label
        assert inside[tuple(place)] == inside[tuple(points[0].int())] == inside.max()


def test_one_key_for_all_empty_ones_is_what_the_volumes_attention_does():
    """A window of 3 voxels a side of which 2 are real, one head, no projections: token by token."""
    torch.manual_seed(1)
    attention = VolumeAttention(4, 1, (3, 3, 3), textbook=True).requires_grad_(False)
    for table in (attention.rel_pos_d, attention.rel_pos_h, attention.rel_pos_w):
        torch.nn.init.normal_(table)
    torch.nn.init.eye_(attention.proj.weight)
    torch.nn.init.zeros_(attention.proj.bias)
    x = torch.randn(1, 2, 2, 2, 4)
    q, k, v = (each.flatten(2, 4)[0, 0] for each in attention.queries_keys_values(x))
    terms = attention.terms(attention.queries_keys_values(x)[0])
    bias = sum(part.expand(1, 1, 2, 2, 2, 3, 3, 3) for part in (
        terms[0][..., :, None, :], terms[1][..., None, :, :], terms[2][..., None, None, :]))[0, 0].flatten(0, 2)  # (8, 3, 3, 3)
    real = torch.zeros(3, 3, 3, dtype=torch.bool)
    real[:2, :2, :2] = True
    _, key, value = attention.qkv.bias.view(3, 4)
    found = []
    for i in range(8):  # the exercise's real keys have no bias: give it to the key, along a direction that reads it alone
        along = torch.cat([k, bias[i][real][:, None] * 5**0.5], 1)
        query = torch.cat([q[i] * 5**0.5 / 2, torch.ones(1)])[None]  # 1 / sqrt(5) there, 1 / sqrt(4) here
        empty = torch.cat([key, torch.zeros(1)])
        found.append(exercise("10-empty").reference(query, along, v, empty, value, bias[i][~real][None]))
    torch.testing.assert_close(torch.cat(found).view(1, 2, 2, 2, 4), attention(x), atol=1e-5, rtol=1e-4)
