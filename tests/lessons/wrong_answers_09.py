"""Typical wrong answers to the exercises of lesson 09, each with words of the message that it must get."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def kept(x0, y0, x1, y1, width, height):
    return torch.stack([x0.clamp(min=0), y0.clamp(min=0), x1.clamp(max=width), y1.clamp(max=height)])


def relax_shifts(box, by, size):
    x0, y0, x1, y1 = box + by
    return kept(x0, y0, x1, y1, *size)


def relax_inward(box, by, size):
    x0, y0, x1, y1 = torch.cat([box[:2] + by[:2], box[2:] - by[2:]])
    return kept(x0, y0, x1, y1, *size)


def outward(box, by):
    (x0, y0, x1, y1), (left, top, right, bottom) = box, by
    return x0 - left, y0 - top, x1 + right, y1 + bottom


def relax_uncut(box, by, size):
    return torch.stack(outward(box, by))


def relax_near_cut_only(box, by, size):
    return torch.stack(outward(box, by)).clamp(min=0)


def relax_far_cut_only(box, by, size):
    x0, y0, x1, y1 = outward(box, by)
    return torch.stack([x0, y0, x1.clamp(max=size[0]), y1.clamp(max=size[1])])


def relax_height_first(box, by, size):
    height, width = size
    return kept(*outward(box, by), width, height)


def relax_by_axis(box, by, size):
    left, right, top, bottom = by
    x0, y0, x1, y1 = box
    return kept(x0 - left, y0 - top, x1 + right, y1 + bottom, *size)


def relax_all_alike(box, by, size):
    x0, y0, x1, y1 = box
    return kept(x0 - by[0], y0 - by[0], x1 + by[0], y1 + by[0], *size)


def relax_to_the_last_pixel(box, by, size):
    return kept(*outward(box, by), size[0] - 1, size[1] - 1)


def relax_as_corners(box, by, size):
    return torch.stack(outward(box, by)).view(2, 2)


def relax_in_place(box, by, size):
    box[:2] = (box[:2] - by[:2]).clamp(min=0)
    return torch.cat([box[:2], torch.minimum(box[2:] + by[2:], torch.tensor(size).float())])


def relax_as_width_and_height(box, by, size):
    x0, y0, x1, y1 = kept(*outward(box, by), *size)
    return torch.stack([x0, y0, x1 - x0, y1 - y0])


def stacked(x, slices, down):
    """(B, D, S, H, W)."""
    return F.linear(x, down).unflatten(0, (-1, slices)).permute(0, 4, 1, 2, 3)


def back(h, up):
    return F.linear(h.permute(0, 2, 3, 4, 1).flatten(0, 1), up)


def slices_down_the_rows(x, slices, down, weight, bias, up):
    h = F.conv3d(stacked(x, slices, down), weight.reshape(*weight.shape[:2], 1, 3, 1), bias, padding=(0, 1, 0))
    return x + back(F.gelu(h), up)


def slices_along_the_columns(x, slices, down, weight, bias, up):
    h = F.conv3d(stacked(x, slices, down), weight.reshape(*weight.shape[:2], 1, 1, 3), bias, padding=(0, 0, 1))
    return x + back(F.gelu(h), up)


def slices_one_long_stack(x, slices, down, weight, bias, up):
    h = F.conv3d(stacked(x, len(x), down), weight, bias, padding=(1, 0, 0))
    return x + back(F.gelu(h), up)


def slices_dealt_out(x, slices, down, weight, bias, up):
    order = torch.arange(len(x)).view(slices, -1).T.flatten()
    h = F.gelu(F.conv3d(stacked(x[order], slices, down), weight, bias, padding=(1, 0, 0)))
    change = torch.empty_like(x)
    change[order] = back(h, up)
    return x + change


def slices_over_patients(x, slices, down, weight, bias, up):
    h = F.conv3d(stacked(x, len(x) // slices, down), weight, bias, padding=(1, 0, 0))
    return x + back(F.gelu(h), up)


def slices_viewed(x, slices, down, weight, bias, up):
    n, rows, columns, _ = x.shape
    h = F.linear(x, down).view(n // slices, len(down), slices, rows, columns)
    return x + back(F.gelu(F.conv3d(h, weight, bias, padding=(1, 0, 0))), up)


def slices_no_residual(x, slices, down, weight, bias, up):
    return back(F.gelu(F.conv3d(stacked(x, slices, down), weight, bias, padding=(1, 0, 0))), up)


def slices_no_gelu(x, slices, down, weight, bias, up):
    return x + back(F.conv3d(stacked(x, slices, down), weight, bias, padding=(1, 0, 0)), up)


def slices_relu(x, slices, down, weight, bias, up):
    return x + back(F.conv3d(stacked(x, slices, down), weight, bias, padding=(1, 0, 0)).relu(), up)


def slices_no_bias(x, slices, down, weight, bias, up):
    return x + back(F.gelu(F.conv3d(stacked(x, slices, down), weight, padding=(1, 0, 0))), up)


def slices_ends_repeated(x, slices, down, weight, bias, up):
    h = stacked(x, slices, down)
    h = F.pad(h, (0, 0, 0, 0, 1, 1), mode="replicate")
    return x + back(F.gelu(F.conv3d(h, weight, bias)), up)


def slices_no_padding(x, slices, down, weight, bias, up):
    return x + back(F.gelu(F.conv3d(stacked(x, slices, down), weight, bias)), up)


def slices_as_volumes(x, slices, down, weight, bias, up):
    return (x + back(F.gelu(F.conv3d(stacked(x, slices, down), weight, bias, padding=(1, 0, 0))), up)).unflatten(0, (-1, slices))


def parts(x, weight, bias):
    return F.linear(x, weight, bias).split(x.shape[1], dim=-1)


def low_rank(x, u, v, r, s):
    return s * F.linear(F.linear(F.linear(x, u), r), v)


def fact_keys_too(x, weight, bias, u, v, r_q, r_v, s):
    q, k, w = parts(x, weight, bias)
    return torch.cat([q + low_rank(x, u, v, r_q, s), k + low_rank(x, u, v, r_q, s), w + low_rank(x, u, v, r_v, s)], -1)


def fact_queries_and_keys(x, weight, bias, u, v, r_q, r_v, s):
    q, k, w = parts(x, weight, bias)
    return torch.cat([q + low_rank(x, u, v, r_q, s), k + low_rank(x, u, v, r_v, s), w], -1)


def fact_queries(x, weight, bias, u, v, r_q, r_v, s):
    q, k, w = parts(x, weight, bias)
    return torch.cat([q + low_rank(x, u, v, r_q, s), k, w], -1)


def fact_values(x, weight, bias, u, v, r_q, r_v, s):
    q, k, w = parts(x, weight, bias)
    return torch.cat([q, k, w + low_rank(x, u, v, r_v, s)], -1)


def fact_one_r(x, weight, bias, u, v, r_q, r_v, s):
    q, k, w = parts(x, weight, bias)
    return torch.cat([q + low_rank(x, u, v, r_q, s), k, w + low_rank(x, u, v, r_q, s)], -1)


def fact_exchanged(x, weight, bias, u, v, r_q, r_v, s):
    q, k, w = parts(x, weight, bias)
    return torch.cat([q + low_rank(x, u, v, r_v, s), k, w + low_rank(x, u, v, r_q, s)], -1)


def fact_wrong_way_round(x, weight, bias, u, v, r_q, r_v, s):
    q, k, w = parts(x, weight, bias)
    return torch.cat([q + s * (x @ u.T @ r_q @ v.T), k, w + s * (x @ u.T @ r_v @ v.T)], -1)


def fact_without_r(x, weight, bias, u, v, r_q, r_v, s):
    q, k, w = parts(x, weight, bias)
    return torch.cat([q + s * (x @ u.T @ v.T), k, w + s * (x @ u.T @ v.T)], -1)


def fact_unscaled(x, weight, bias, u, v, r_q, r_v, s):
    q, k, w = parts(x, weight, bias)
    return torch.cat([q + x @ u.T @ r_q.T @ v.T, k, w + x @ u.T @ r_v.T @ v.T], -1)


def fact_replaces(x, weight, bias, u, v, r_q, r_v, s):
    k = parts(x, weight, bias)[1]
    return torch.cat([low_rank(x, u, v, r_q, s), k, low_rank(x, u, v, r_v, s)], -1)


def fact_keys_last(x, weight, bias, u, v, r_q, r_v, s):
    q, k, w = parts(x, weight, bias)
    return torch.cat([q + low_rank(x, u, v, r_q, s), w + low_rank(x, u, v, r_v, s), k], -1)


def fact_three_apart(x, weight, bias, u, v, r_q, r_v, s):
    q, k, w = parts(x, weight, bias)
    return torch.stack([q + low_rank(x, u, v, r_q, s), k, w + low_rank(x, u, v, r_v, s)])


WRONG = {
    "09-relax": [
        (relax_shifts, "add to all four"), (relax_inward, "sides inward"), (relax_uncut, "leaves the picture"),
        (relax_near_cut_only, "forget the far sides"), (relax_far_cut_only, "near ones end at 0"),
        (relax_height_first, "exchange width and height"), (relax_by_axis, "(left, right, top, bottom)"),
        (relax_all_alike, "by the same amount"), (relax_to_the_last_pixel, "last pixel, W - 1"),
        (relax_as_corners, "four numbers"), (relax_in_place, "changes its input"),
    ],
    "09-slices": [
        (slices_down_the_rows, "down the rows"), (slices_along_the_columns, "along the columns"),
        (slices_one_long_stack, "let patients touch"), (slices_dealt_out, "like cards"), (slices_over_patients, "over patients"),
        (slices_viewed, "moved numbers"), (slices_no_residual, "forget the residual"), (slices_no_gelu, "leave out GELU"),
        (slices_relu, "take ReLU"), (slices_no_bias, "convolution's bias"), (slices_ends_repeated, "repeat the first"),
        (slices_no_padding, "in its line 2"), (slices_as_volumes, "has not the shape (B S, H, W, C)"),
    ],
    "09-fact": [
        (fact_keys_too, "keys as well"), (fact_queries_and_keys, "queries and keys"), (fact_queries, "queries alone"),
        (fact_values, "values alone"), (fact_one_r, "same R"), (fact_exchanged, "exchange R_q"),
        (fact_wrong_way_round, "wrong way round"), (fact_without_r, "leave R out"), (fact_unscaled, "forget the scale"),
        (fact_replaces, "replace queries and values"), (fact_keys_last, "order q, v, k"),
        (fact_three_apart, "has not the shape (N, 3 C)"),
    ],
}
