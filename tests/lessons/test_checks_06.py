"""Lesson 06: right answers pass, whatever their style, and the exercises are what the package does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fmlab.incontext import examples, predict
from fmlab.incontext.cross_block import CrossBlock
from fmlab.lessons.check import judge
from fmlab.lessons.exercise import exercise


def cross_in_a_loop(u, v, weight, bias):
    total = torch.zeros(len(weight), *u.shape[1:])
    for one in v:
        total += F.conv2d(torch.cat((u, one), 0)[None], weight, bias, padding=1)[0]
    return total / v.shape[0]


def cross_with_repeat(u, v, weight, bias):
    many = u.unsqueeze(0).repeat(v.size(0), 1, 1, 1)
    z = F.conv2d(torch.cat((many, v), 1), weight, bias, padding="same")
    return torch.mean(z, dim=0)


def cross_with_a_layer(u, v, weight, bias):
    layer = torch.nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
    layer.weight.data, layer.bias.data = weight, bias
    return layer(torch.cat([u.expand(len(v), -1, -1, -1), v], 1)).mean(0)


def cross_unrolled(u, v, weight, bias):
    """Without a convolution at all: the kernel as a matrix."""
    columns = F.unfold(torch.cat([u.expand(len(v), *u.shape), v], 1), 3, padding=1)
    return (weight.flatten(1) @ columns + bias[:, None]).mean(0).view(len(weight), *u.shape[1:])


def fast_of_one_pair(u, v, weight, bias):
    return F.conv2d(torch.cat([u, v.mean(dim=0)]), weight, bias, padding=1)


def fast_with_the_bias_of_the_support(u, v, weight, bias):
    of_u, of_v = weight.split([u.shape[0], v.shape[1]], dim=1)
    return F.conv2d(u[None], of_u, padding=1)[0] + F.conv2d((v.sum(0) / len(v))[None], of_v, bias, padding=1)[0]


def ensemble_in_a_loop(logits):
    total = 0
    for z in logits:
        total = total + 1 / (1 + torch.exp(-z))
    return total > len(logits) / 2


def ensemble_in_numpy(logits):
    return (1 / (1 + np.exp(-logits.numpy()))).mean(axis=0) > 0.5


def ensemble_as_numbers(logits):
    return (torch.sigmoid(logits).mean(0) > 0.5).int()


RIGHT = [("06-cross", cross_in_a_loop), ("06-cross", cross_with_repeat), ("06-cross", cross_with_a_layer),
         ("06-cross", cross_unrolled), ("06-fast", fast_of_one_pair), ("06-fast", fast_with_the_bias_of_the_support),
         ("06-ensemble", ensemble_in_a_loop), ("06-ensemble", ensemble_in_numpy), ("06-ensemble", ensemble_as_numbers)]


@pytest.mark.parametrize(("name", "function"), RIGHT, ids=[function.__name__ for _, function in RIGHT])
def test_right_answers_pass(name, function):
    outcome = judge(exercise(name), function)
    assert outcome.passed, outcome.message


def test_cross_and_fast_are_the_blocks_inner_half():
    """What the package's block makes of the exercises' result is the block's result, in both forms."""
    torch.manual_seed(0)
    block, u, v = CrossBlock((2, 3), (4, 5)).requires_grad_(False), torch.randn(2, 8, 8), torch.randn(6, 3, 8, 8)
    conv = block.cross.cross_conv
    for name, form in (("06-cross", block.literal), ("06-fast", block)):
        z = exercise(name).reference(u, v, conv.weight, conv.bias)
        torch.testing.assert_close(block.target(z[None, None]), form(u[None, None], v[None])[0], atol=1e-5, rtol=1e-4)


class Says(torch.nn.Module):
    """Says other logits at each call."""

    def __init__(self, logits):
        super().__init__()
        self.weight, self.logits = torch.nn.Parameter(torch.zeros(1)), iter(logits)

    def forward(self, query, images, masks, chunk=None):
        return next(self.logits)[None, None]


def test_ensemble_is_what_predict_does():
    logits = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(1)) * 4
    pool = examples.Examples(torch.rand(5, 1, 8, 8), torch.ones(5, 1, 8, 8))
    answer = predict(Says(logits), torch.rand(1, 1, 8, 8), {"task": pool}, shots=2, ensemble=3)
    assert torch.equal(answer.labels[0] > 0, exercise("06-ensemble").reference(logits))
