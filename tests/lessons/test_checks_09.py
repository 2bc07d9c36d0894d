"""Lesson 09: right answers pass, whatever their style, and the exercises are what the package does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fmlab.interactive.boxes import relaxed_box, tight_box
from fmlab.interactive.ma_sam import FactoredQKV, SliceBlock
from fmlab.lessons.check import judge
from fmlab.lessons.exercise import exercise


def relax_by_hand(box, by, size):
    x0, y0, x1, y1 = box.tolist()
    left, top, right, bottom = by.tolist()
    return [max(0, x0 - left), max(0, y0 - top), min(size[0], x1 + right), min(size[1], y1 + bottom)]


def relax_in_numpy(box, by, size):
    box, by = np.asarray(box), np.asarray(by)
    return np.clip(box + by * [-1, -1, 1, 1], 0, [*size, *size])


def slices_patient_by_patient(x, slices, down, weight, bias, up):
    out = []
    for patient in x.split(slices):
        h = torch.einsum("shwc,dc->dshw", patient, down)[None]
        h = F.gelu(F.conv3d(h, weight, bias, padding=(1, 0, 0)))[0]
        out.append(patient + torch.einsum("dshw,cd->shwc", h, up))
    return torch.cat(out)


def slices_in_one_dimension(x, slices, down, weight, bias, up):
    """Each place on its own: a convolution of a line of slices."""
    n, rows, columns, _ = x.shape
    h = F.linear(x, down).reshape(n // slices, slices, rows, columns, -1).permute(0, 2, 3, 4, 1)
    lines = F.gelu(F.conv1d(h.flatten(0, 2), weight[..., 0, 0], bias, padding=1)).view(h.shape)
    return x + F.linear(lines.permute(0, 4, 1, 2, 3).reshape(n, rows, columns, -1), up)


def slices_shifted(x, slices, down, weight, bias, up):
    """Without a convolution: each slice, and its neighbours on either side."""
    h = (x @ down.T).unflatten(0, (-1, slices))
    nothing = torch.zeros_like(h[:, :1])
    near = torch.cat([nothing, h[:, :-1]], 1), h, torch.cat([h[:, 1:], nothing], 1)
    total = sum(part @ weight[:, :, i, 0, 0].T for i, part in enumerate(near)) + bias
    return x + F.gelu(total).flatten(0, 1) @ up.T


def fact_merged(x, weight, bias, u, v, r_q, r_v, s):
    """The change as part of the weights, as one may keep it after training."""
    change = torch.cat([s * v @ r_q @ u, torch.zeros(len(v), u.shape[1]), s * v @ r_v @ u])
    return F.linear(x, weight + change, bias)


def fact_in_place(x, weight, bias, u, v, r_q, r_v, s):
    out, c = x @ weight.T + bias, x.shape[1]
    out[:, :c] += s * (v @ r_q @ u @ x.T).T
    out[:, 2 * c :] += s * (v @ r_v @ u @ x.T).T
    return out


RIGHT = [("09-relax", relax_by_hand), ("09-relax", relax_in_numpy), ("09-slices", slices_patient_by_patient),
         ("09-slices", slices_in_one_dimension), ("09-slices", slices_shifted), ("09-fact", fact_merged),
         ("09-fact", fact_in_place)]


@pytest.mark.parametrize(("name", "function"), RIGHT, ids=[function.__name__ for _, function in RIGHT])
def test_right_answers_pass(name, function):
    outcome = judge(exercise(name), function)
    assert outcome.passed, outcome.message


def test_relax_is_what_relaxed_box_does_with_its_draws():
    mask = np.zeros((40, 60), bool)
    mask[2:20, 30:58] = True
    near_x, far_x, near_y, far_y = (np.random.default_rng(seed := 3).integers(0, 21, 4))
    by = torch.tensor([near_x, near_y, far_x, far_y]).float()
    expected = relaxed_box(mask, np.random.default_rng(seed))
    assert torch.equal(exercise("09-relax").reference(tight_box(mask), by, (60, 40)), expected)


def test_slices_is_the_adapter_of_ma_sam_but_for_the_norm():
    torch.manual_seed(0)
    block = SliceBlock(8, 2, (4, 4), 0, 3, 6, (nn.Linear(8, 2, bias=False), nn.Linear(2, 8, bias=False)), 1.0)
    nn.init.normal_(block.adapter_linear_up.weight)
    block.adapter_norm, x = nn.Identity(), torch.randn(6, 4, 4, 8)
    parts = (block.adapter_linear_down.weight, block.adapter_conv.weight, block.adapter_conv.bias, block.adapter_linear_up.weight)
    with torch.no_grad():
        torch.testing.assert_close(x + block.along_slices(x, ""), exercise("09-slices").reference(x, 3, *parts))


def test_fact_is_the_change_of_ma_sam():
    torch.manual_seed(0)
    u, v = nn.Linear(8, 2, bias=False), nn.Linear(2, 8, bias=False)
    ours, x = FactoredQKV(nn.Linear(8, 24), (u, v), 0.5).eval(), torch.randn(5, 8)
    parts = (ours.qkv.weight, ours.qkv.bias, u.weight, v.weight, ours.q_FacTs.weight, ours.v_FacTs.weight, 0.5)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), exercise("09-fact").reference(x, *parts))
