"""Typical wrong answers to the exercises of lesson 16, each with words of the message that it must get."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


def probe_right(z, weight, bias, rows):
    return torch.einsum("bcxyz,kc->bkxyz", z, weight[rows]) + bias[rows].view(-1, 1, 1, 1)


def probe_whole_head(z, weight, bias, rows):
    return torch.einsum("bcxyz,kc->bkxyz", z, weight) + bias.view(-1, 1, 1, 1)


def probe_first_rows(z, weight, bias, rows):
    k = len(rows)
    return torch.einsum("bcxyz,kc->bkxyz", z, weight[:k]) + bias[:k].view(-1, 1, 1, 1)


def probe_sorted(z, weight, bias, rows):
    mask = torch.zeros(len(weight), dtype=torch.bool)
    mask[rows] = True
    return torch.einsum("bcxyz,kc->bkxyz", z, weight[mask]) + bias[mask].view(-1, 1, 1, 1)


def probe_other_biases(z, weight, bias, rows):
    return torch.einsum("bcxyz,kc->bkxyz", z, weight[rows]) + bias[:len(rows)].view(-1, 1, 1, 1)


def probe_no_bias(z, weight, bias, rows):
    return torch.einsum("bcxyz,kc->bkxyz", z, weight[rows])


def probe_zeros(z, weight, bias, rows):
    return torch.zeros(len(z), len(rows), *z.shape[2:])


def probe_random(z, weight, bias, rows):
    return nn.Conv3d(z.shape[1], len(rows), 1)(z)


def probe_sigmoid(z, weight, bias, rows):
    return probe_right(z, weight, bias, rows).sigmoid()


def probe_softmax(z, weight, bias, rows):
    return probe_right(z, weight, bias, rows).softmax(1)


def probe_mask(z, weight, bias, rows):
    return (probe_right(z, weight, bias, rows) > 0).float()


def probe_last_axis(z, weight, bias, rows):
    return z.movedim(1, -1) @ weight[rows].T + bias[rows]


def probe_pooled(z, weight, bias, rows):
    return z.mean((2, 3, 4)) @ weight[rows].T + bias[rows]


def probe_bias_on_the_last_axis(z, weight, bias, rows):
    return torch.einsum("bcxyz,kc->bkxyz", z, weight[rows]) + bias[rows]


def probe_detached(z, weight, bias, rows):
    return probe_right(z, weight.detach(), bias.detach(), rows)


def probe_smoothed(z, weight, bias, rows):
    return probe_right(F.avg_pool3d(z, 3, 1, 1), weight, bias, rows)


def same(z, w):
    return F.conv3d(z, w, padding=w.shape[-1] // 2)


def spatial_no_residual(z, w1, w2):
    return same(same(z, w1).relu(), w2)


def spatial_no_relu(z, w1, w2):
    return z + same(same(z, w1), w2)


def spatial_relu_late(z, w1, w2):
    return z + same(same(z, w1), w2).relu()


def spatial_relu_around(z, w1, w2):
    return F.relu(z + same(F.relu(same(z, w1)), w2))


def spatial_relu_first(z, w1, w2):
    return z + same(same(F.relu(z), w1), w2)


def spatial_two_relus(z, w1, w2):
    return z + F.relu(same(F.relu(same(z, w1)), w2))


def spatial_inner_residual(z, w1, w2):
    z = F.relu(same(z, w1))
    return z + same(z, w2)


def spatial_swapped(z, w1, w2):
    return z + same(F.relu(same(z, w2)), w1)


def spatial_one_kernel(z, w1, w2):
    return z + same(F.relu(same(z, w1)), w1)


def spatial_leaky(z, w1, w2):
    return z + same(F.leaky_relu(same(z, w1), 0.01), w2)


def spatial_gelu(z, w1, w2):
    return z + same(F.gelu(same(z, w1)), w2)


def spatial_no_padding(z, w1, w2):
    return z + F.conv3d(F.conv3d(z, w1).relu(), w2)


def spatial_padding_of_one(z, w1, w2):
    return z + F.conv3d(F.conv3d(z, w1, padding=1).relu(), w2, padding=1)


def spatial_no_gradient(z, w1, w2):
    with torch.no_grad():
        return z + same(F.relu(same(z, w1)), w2)


def spatial_first_kernel_cut_off(z, w1, w2):
    return z + same(F.relu(same(z, w1)).detach(), w2)


def spatial_half(z, w1, w2):
    return z + 0.5 * same(F.relu(same(z, w1)), w2)


def spatial_changes_z(z, w1, w2):
    z += same(F.relu(same(z, w1)), w2)
    return z


def lora_swapped(x, w0, b0, A, B, scale):
    y = F.linear(x, w0, b0) + scale * F.linear(F.linear(x, B), A)
    return y, w0 + scale * A @ B


def lora_no_scale(x, w0, b0, A, B, scale):
    return F.linear(x, w0, b0) + F.linear(F.linear(x, A), B), w0 + B @ A


def lora_alpha_over_rank(x, w0, b0, A, B, scale):
    scale = scale / A.shape[0]
    return F.linear(x, w0, b0) + scale * F.linear(F.linear(x, A), B), w0 + scale * B @ A


def lora_not_transposed(x, w0, b0, A, B, scale):
    return x @ w0.T + b0 + scale * (x @ A) @ B, w0 + scale * B @ A


def lora_update_alone(x, w0, b0, A, B, scale):
    return scale * F.linear(F.linear(x, A), B), w0 + scale * B @ A


def lora_no_base(x, w0, b0, A, B, scale):
    return scale * F.linear(F.linear(x, A), B, b0 / scale), w0 + scale * B @ A


def lora_no_bias(x, w0, b0, A, B, scale):
    return F.linear(x, w0) + scale * F.linear(F.linear(x, A), B), w0 + scale * B @ A


def lora_two_biases(x, w0, b0, A, B, scale):
    return F.linear(x, w0, b0) + scale * F.linear(F.linear(x, A), B) + b0, w0 + scale * B @ A


def lora_scales_all(x, w0, b0, A, B, scale):
    return scale * (F.linear(x, w0, b0) + F.linear(F.linear(x, A), B)), w0 + scale * B @ A


def lora_base_alone(x, w0, b0, A, B, scale):
    return F.linear(x, w0, b0), w0 + scale * B @ A


def lora_relu(x, w0, b0, A, B, scale):
    return F.linear(x, w0, b0) + scale * F.linear(F.relu(F.linear(x, A)), B), w0 + scale * B @ A


def lora_merged_without_base(x, w0, b0, A, B, scale):
    return F.linear(x, w0, b0) + scale * F.linear(F.linear(x, A), B), scale * B @ A


def lora_merged_without_scale(x, w0, b0, A, B, scale):
    return F.linear(x, w0, b0) + scale * F.linear(F.linear(x, A), B), w0 + B @ A


def lora_merged_nothing(x, w0, b0, A, B, scale):
    return F.linear(x, w0, b0) + scale * F.linear(F.linear(x, A), B), w0


def lora_merged_transposed(x, w0, b0, A, B, scale):
    return F.linear(x, w0, b0) + scale * F.linear(F.linear(x, A), B), w0.T + scale * A.T @ B.T


def lora_no_merge(x, w0, b0, A, B, scale):
    return F.linear(x, w0, b0) + scale * F.linear(F.linear(x, A), B)


def lora_wants_a_stack(x, w0, b0, A, B, scale):
    q, k, v = w0.chunk(3)
    return F.linear(x, torch.cat([q, k, v])) + scale * F.linear(F.linear(x, A[:4]), B.view(3, -1, 4)[0]), w0


def lora_no_gradient(x, w0, b0, A, B, scale):
    y = F.linear(x, w0, b0) + scale * F.linear(F.linear(x, A.detach()), B)
    return y, w0 + scale * B @ A


def lora_doubled_at_first(x, w0, b0, A, B, scale):
    w0 = 2 * w0
    return F.linear(x, w0, b0) + scale * F.linear(F.linear(x, A), B), w0 + scale * B @ A


WRONG = {
    "16-probe": [
        (probe_whole_head, "the whole head"), (probe_first_rows, "first K rows"), (probe_sorted, "in the head's order"),
        (probe_other_biases, "biases of the first ones"), (probe_no_bias, "lack the bias"), (probe_zeros, "begins at zero"),
        (probe_random, "begins at random"), (probe_sigmoid, "give probabilities"), (probe_softmax, "softmax over the structures"),
        (probe_mask, "give masks"), (probe_last_axis, "on the last axis"), (probe_pooled, "average over the voxels"),
        (probe_bias_on_the_last_axis, "stops with RuntimeError"), (probe_detached, "cannot be trained"),
        (probe_smoothed, "depends on its neighbours"),
    ],
    "16-spatial": [
        (spatial_no_residual, "left out Z itself"), (spatial_no_relu, "no relu between"), (spatial_relu_late, "relu is after W2"),
        (spatial_relu_around, "relu is around everything"), (spatial_relu_first, "relu is before W1"),
        (spatial_two_relus, "two relus"), (spatial_inner_residual, "comes out of W1"), (spatial_swapped, "changed places"),
        (spatial_one_kernel, "use W1 twice"), (spatial_leaky, "leaky relu"), (spatial_gelu, "use GELU"),
        (spatial_no_padding, "relu, the same with w2"), (spatial_padding_of_one, "A padding of 1 keeps the size"),
        (spatial_no_gradient, "no gradient comes to W2"), (spatial_first_kernel_cut_off, "W1 has to get a gradient too"),
        (spatial_half, "is right, and your function gives"), (spatial_changes_z, "changes its input"),
    ],
    "16-lora": [
        (lora_swapped, "in the other order"), (lora_no_scale, "forgot the scale"), (lora_alpha_over_rank, "scale by the rank"),
        (lora_not_transposed, "without transposing"), (lora_update_alone, "the update alone"),
        (lora_no_base, "lacks W0's own answer"), (lora_no_bias, "lacks the bias b0"), (lora_two_biases, "b0 twice"),
        (lora_scales_all, "scale what the frozen layer says"), (lora_base_alone, "the update is missing"),
        (lora_relu, "relu between A and B"), (lora_merged_without_base, "merged weight lacks W0"),
        (lora_merged_without_scale, "merged weight lacks the scale"), (lora_merged_nothing, "nothing was merged"),
        (lora_merged_transposed, "is transposed"), (lora_no_merge, "give y alone"), (lora_wants_a_stack, "stops with"),
        (lora_no_gradient, "No gradient comes to A and B"), (lora_doubled_at_first, "is not the frozen one"),
    ],
}
