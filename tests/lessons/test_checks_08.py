"""Lesson 08: right answers pass, whatever their style, and the exercises are what the package does."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fmlab.interactive.mask_prompts import best_logits
from fmlab.interactive.prompt_encoder import PromptEncoder
from fmlab.interactive.two_way import TwoWayBlock
from fmlab.lessons.check import judge
from fmlab.lessons.exercise import exercise


def code_in_a_loop(points, size, matrix):
    rows = []
    for x, y in points.tolist():
        u, v = 2 * (x + 0.5) / size[0] - 1, 2 * (y + 0.5) / size[1] - 1
        angles = [2 * math.pi * (u * a + v * b) for a, b in matrix.T.tolist()]
        rows.append([math.sin(a) for a in angles] + [math.cos(a) for a in angles])
    return torch.tensor(rows).reshape(len(points), 2 * matrix.shape[1])


def code_in_numpy(points, size, matrix):
    c = (points.numpy() + 0.5) / np.array(size)
    angles = 2 * np.pi * (2 * c - 1) @ matrix.numpy()
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)


def code_by_hand(points, size, matrix):
    c = torch.stack([(points[:, 0] + 0.5) / size[0], (points[:, 1] + 0.5) / size[1]], dim=1)
    angles = (c * 2 - 1) @ (matrix * 2 * torch.pi)
    return torch.hstack((torch.sin(angles), torch.cos(angles)))


def read_by_torch(tokens, token_pe, image, image_pe):
    return F.scaled_dot_product_attention((tokens + token_pe)[None], (image + image_pe)[None], image[None])[0] + tokens


def read_in_a_loop(tokens, token_pe, image, image_pe):
    rows = []
    for token, place in zip(tokens, token_pe):
        scores = ((image + image_pe) * (token + place)).sum(1) / math.sqrt(len(token))
        weights = torch.exp(scores - scores.max())
        rows.append(token + (weights[:, None] * image).sum(0) / weights.sum())
    return torch.stack(rows)


def again_in_a_loop(low, iou):
    best = max(range(len(iou)), key=lambda m: iou[m].item())
    return low[best]


def again_in_numpy(low, iou):
    return low.numpy()[int(np.argmax(iou.numpy()))]


RIGHT = [("08-code", code_in_a_loop), ("08-code", code_in_numpy), ("08-code", code_by_hand), ("08-read", read_by_torch),
         ("08-read", read_in_a_loop), ("08-again", again_in_a_loop), ("08-again", again_in_numpy)]


@pytest.mark.parametrize(("name", "function"), RIGHT, ids=[function.__name__ for _, function in RIGHT])
def test_right_answers_pass(name, function):
    outcome = judge(exercise(name), function)
    assert outcome.passed, outcome.message


def test_code_is_what_the_prompt_encoder_adds_to_the_kind_of_a_click():
    torch.manual_seed(0)
    encoder = PromptEncoder(16, grid=(5, 8), size=(40, 64)).requires_grad_(False)
    points, labels = torch.tensor([[63.0, 0.0], [10.0, 39.0]]), torch.tensor([1, 0])
    tokens, _ = encoder(points[None], labels[None])
    codes = exercise("08-code").reference(points, (64, 40), encoder.pe_layer.positional_encoding_gaussian_matrix)
    kinds = torch.cat([encoder.point_embeddings[label].weight for label in (1, 0)])
    torch.testing.assert_close(tokens[0, :2], codes + kinds)


def test_read_is_the_second_step_of_a_two_way_block():
    """A block whose other steps and norms do nothing, with projections that change nothing."""
    torch.manual_seed(1)
    block = TwoWayBlock(4, heads=1, hidden=8, first=False, smaller=1).requires_grad_(False)
    block.norm1 = block.norm2 = block.norm3 = torch.nn.Identity()
    for weight in (*block.self_attn.out_proj.parameters(), *block.mlp.parameters()):
        torch.nn.init.zeros_(weight)
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        projection = getattr(block.cross_attn_token_to_image, name)
        torch.nn.init.eye_(projection.weight)
        torch.nn.init.zeros_(projection.bias)
    tokens, token_pe, image, image_pe = (torch.randn(n, 4) for n in (3, 3, 6, 6))
    read, _ = block(tokens[None], image[None], token_pe[None], image_pe[None])
    torch.testing.assert_close(read[0], exercise("08-read").reference(tokens, token_pe, image, image_pe))


def test_again_is_what_simulated_interaction_feeds_back():
    low, iou = torch.randn(2, 3, 8, 8), torch.tensor([[0.2, 0.7, 0.5], [0.9, 0.1, 0.3]])
    fed = best_logits(low, iou)
    for n in range(2):
        torch.testing.assert_close(fed[n, 0], exercise("08-again").reference(low[n], iou[n]))
