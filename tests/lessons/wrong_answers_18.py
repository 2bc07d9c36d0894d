"""Typical wrong answers to the exercises of lesson 18, each with words of the message that it must get."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def outputs(x, w0, delta):
    return F.linear(x, w0) + F.linear(x, delta), delta


def gated_no_gates(x, w0, a, b, v):
    return outputs(x, w0, b @ a)


def gated_inputs(x, w0, a, b, v):
    return outputs(x, w0, b @ a @ torch.diag(v))


def gated_outputs(x, w0, a, b, v):
    return outputs(x, w0, torch.diag(v) @ b @ a)


def gated_twice(x, w0, a, b, v):
    d = torch.diag(v)
    return outputs(x, w0, (b @ d) @ (d @ a))


def gated_unsigned(x, w0, a, b, v):
    return outputs(x, w0, b @ torch.diag(v.abs()) @ a)


def gated_scaled(x, w0, a, b, v):
    return outputs(x, w0, b @ torch.diag(v) @ a / v.numel())


def gated_no_base(x, w0, a, b, v):
    delta = b @ torch.diag(v) @ a
    return F.linear(x, delta), delta


def gated_whole_weight(x, w0, a, b, v):
    weight = w0 + b @ torch.diag(v) @ a
    return F.linear(x, weight), weight


def gated_not_transposed(x, w0, a, b, v):
    delta = b @ torch.diag(v) @ a
    return x @ w0 + x @ delta, delta


def gated_order(x, w0, a, b, v):
    y, delta = outputs(x, w0, (b * v) @ a)
    return delta, y


def gated_flattens(x, w0, a, b, v):
    delta = (b * v) @ a
    return torch.mm(x, (w0 + delta).T), delta


def gated_keeps_a_trace(x, w0, a, b, v):
    delta = (b * v) @ a
    return F.linear(x, w0 + delta) + 0.01 * F.linear(x, b @ a), delta


def threshold_none(v, move, lr, lam):
    return v + move


def threshold_before(v, move, lr, lam):
    return v.sign() * (v.abs() - lam * lr).clamp(min=0) + move


def threshold_hard(v, move, lr, lam):
    u = v + move
    return u * (u.abs() > lam * lr)


def threshold_unsigned(v, move, lr, lam):
    return ((v + move).abs() - lam * lr).clamp(min=0)


def threshold_positive_only(v, move, lr, lam):
    return F.relu(v + move - lam * lr)


def threshold_no_rate(v, move, lr, lam):
    return F.softshrink(v + move, lam)


def threshold_no_lambda(v, move, lr, lam):
    return F.softshrink(v + move, lr)


def threshold_rate_twice(v, move, lr, lam):
    return F.softshrink(v + lr * move, lam * lr)


def threshold_minus(v, move, lr, lam):
    return F.softshrink(v - move, lam * lr)


def threshold_gradient(v, move, lr, lam):
    u = v + move
    return u - lr * lam * torch.sign(u)


def threshold_old_signs(v, move, lr, lam):
    return torch.sign(v) * torch.relu(torch.abs(v + move) - lam * lr)


def threshold_smooth(v, move, lr, lam):
    """Nearly the soft threshold, and never 0."""
    u, by = v + move, lam * lr
    return u * torch.sigmoid(50 * (u.abs() - by) / max(by, 1e-12)) if by else u


def threshold_in_place(v, move, lr, lam):
    v += move
    return v.sign() * (v.abs() - lam * lr).clamp(min=0)


def prune_columns_of_a(a, b, v):
    return a[:, v != 0], (b * v)[:, v != 0]


def prune_rows_of_b(a, b, v):
    return a[v != 0], (b * v)[v != 0]


def prune_twice(a, b, v):
    left = v != 0
    return (torch.diag(v) @ a)[left], (b @ torch.diag(v))[:, left]


def prune_not_folded(a, b, v):
    return a[v != 0], b[:, v != 0]


def prune_into_a(a, b, v):
    return (v[:, None] * a)[v != 0], b[:, v != 0]


def prune_small(a, b, v):
    left = v.abs() > 0.1
    return a[left], (b * v)[:, left]


def prune_negative(a, b, v):
    return a[v > 0], (b * v)[:, v > 0]


def prune_upside_down(a, b, v):
    return a[v == 0], (b * v)[:, v == 0]


def prune_nothing(a, b, v):
    return a, b * v


def prune_order(a, b, v):
    left = v != 0
    return (b * v)[:, left], a[left]


def prune_squeezed(a, b, v):
    left = v.nonzero().squeeze()
    return a[left], (b * v)[:, left]


def prune_another_scale(a, b, v):
    left = v != 0
    return a[left], b[:, left] * v[left] / left.float().mean()


WRONG = {
    "18-gated": [
        (gated_no_gates, "gates are missing"), (gated_inputs, "d *inputs*"), (gated_outputs, "*outputs*, diag(v) B A"),
        (gated_twice, "count twice"), (gated_unsigned, "lose their sign"), (gated_scaled, "divide by the rank"),
        (gated_no_base, "the update alone"), (gated_whole_weight, "contains W0"), (gated_not_transposed, "it is W^T"),
        (gated_order, "delta first"), (gated_flattens, "any axes before its last one"),
        (gated_keeps_a_trace, "is not the base layer"),
    ],
    "18-threshold": [
        (threshold_none, "threshold is missing"), (threshold_before, "*before* the move"), (threshold_hard, "hard threshold"),
        (threshold_unsigned, "sign is lost"), (threshold_positive_only, "Negative gates are lost"),
        (threshold_no_rate, "without the rate"), (threshold_no_lambda, "without lambda"),
        (threshold_rate_twice, "multiply the move by the rate"), (threshold_minus, "You subtract"),
        (threshold_gradient, "*gradient* of lam"), (threshold_old_signs, "before the move: a gate"),
        (threshold_smooth, "do not land on it"), (threshold_in_place, "changes its input"),
    ],
    "18-prune": [
        (prune_columns_of_a, "*columns* out of A"), (prune_rows_of_b, "*rows* out of B"), (prune_twice, "fold v twice"),
        (prune_not_folded, "do not fold v"), (prune_into_a, "fold v into A"), (prune_small, "take out small gates"),
        (prune_negative, "negative gates too"), (prune_upside_down, "keep the closed ranks"),
        (prune_nothing, "take nothing out"), (prune_order, "B first"), (prune_squeezed, "would lose an axis"),
        (prune_another_scale, "adds something else"),
    ],
}
