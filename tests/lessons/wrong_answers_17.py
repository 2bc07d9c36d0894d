"""Typical wrong answers to the exercises of lesson 17, each with words of the message that it must get."""

from __future__ import annotations

import torch

# ---- what is trained

def trained_skips(names, peft):
    return [name in peft or "coder" in name or name.startswith("head") for name in names]


def trained_all_but_the_swin(names, peft):
    return [name in peft or "swinViT" not in name for name in names]


def trained_swin_for_decoder(names, peft):
    return ["encoder" not in name for name in names]


def trained_no_head(names, peft):
    return [name in peft or "decoder" in name for name in names]


def trained_no_decoder(names, peft):
    return [name in peft or name.startswith("head.") for name in names]


def trained_no_peft(names, peft):
    return [name.startswith(("backbone.decoder", "head.")) for name in names]


def trained_transformer(names, peft):
    return [name.startswith(("backbone.swinViT", "backbone.decoder", "head.")) for name in names]


def trained_everything(names, peft):
    return [True for _ in names]


def trained_whole_layers(names, peft):
    layers = {name.rsplit(".", 1)[0] for name in peft}
    return ["decoder" in name or name.startswith("head.") or any(layer in name for layer in layers) for name in names]


def trained_head_by_name(names, peft):
    return [name in peft or "decoder" in name or name in ("head.weight", "head.bias") for name in names]


def trained_upside_down(names, peft):
    return [not (name in peft or name.startswith(("backbone.decoder", "head."))) for name in names]


def trained_names(names, peft):
    return [name for name in names if name in peft or name.startswith(("backbone.decoder", "head."))]


# ---- a head of old and new rows

def head_by_place(base, own, wanted, fresh):
    weight, bias = fresh[0].clone(), fresh[1].clone()
    for k, name in enumerate(wanted):
        if name in own:
            weight[k], bias[k] = base[0][k], base[1][k]
    return weight, bias


def head_without_bias(base, own, wanted, fresh):
    weight, bias = fresh[0].clone(), fresh[1].clone()
    for k, name in enumerate(wanted):
        if name in own:
            weight[k] = base[0][own.index(name)]
    return weight, bias


def head_all_fresh(base, own, wanted, fresh):
    return fresh[0].clone(), fresh[1].clone()


def head_known_first(base, own, wanted, fresh):
    known, new = [own.index(n) for n in wanted if n in own], [k for k, n in enumerate(wanted) if n not in own]
    return tuple(torch.cat([b[known], f[new]]) for b, f in zip(base, fresh))


def head_grown(base, own, wanted, fresh):
    new = [n not in own for n in wanted]
    return tuple(torch.cat([b, f[new]]) for b, f in zip(base, fresh))


def head_of_zeros(base, own, wanted, fresh):
    weight, bias = torch.zeros_like(fresh[0]), torch.zeros_like(fresh[1])
    for k, name in enumerate(wanted):
        if name in own:
            weight[k], bias[k] = base[0][own.index(name)], base[1][own.index(name)]
    return weight, bias


def head_bias_of_zeros(base, own, wanted, fresh):
    weight, bias = fresh[0].clone(), torch.zeros_like(fresh[1])
    for k, name in enumerate(wanted):
        if name in own:
            weight[k], bias[k] = base[0][own.index(name)], base[1][own.index(name)]
    return weight, bias


def head_weight_of_zeros(base, own, wanted, fresh):
    return head_of_zeros(base, own, wanted, fresh)[0], torch.stack([base[1][own.index(n)] if n in own else fresh[1][k]
                                                                    for k, n in enumerate(wanted)])


def head_that_shares(base, own, wanted, fresh):
    if list(wanted) == list(own):
        return base
    weight, bias = fresh[0].clone(), fresh[1].clone()
    for k, name in enumerate(wanted):
        if name in own:
            weight[k], bias[k] = base[0][own.index(name)], base[1][own.index(name)]
    return weight, bias


def head_into_fresh(base, own, wanted, fresh):
    for k, name in enumerate(wanted):
        if name in own:
            fresh[0][k], fresh[1][k] = base[0][own.index(name)], base[1][own.index(name)]
    return fresh


def head_asks_for_all(base, own, wanted, fresh):
    rows = [own.index(name) for name in wanted]
    return base[0][rows], base[1][rows]


# ---- the size prior

def e(share, expected):
    return (expected - share) / torch.clamp(share.detach(), min=expected)


def size_no_margin(share, expected, margin):
    return e(share, expected).abs()


def size_gate(share, expected, margin):
    size = e(share, expected).abs()
    return size if size > margin else 0 * size


def size_below_zero(share, expected, margin):
    return e(share, expected).abs() - margin


def size_too_small_only(share, expected, margin):
    return torch.clamp(e(share, expected) - margin, min=0)


def size_too_large_only(share, expected, margin):
    return torch.relu((share - expected) / torch.clamp(share.detach(), min=expected) - margin)


def size_in_voxels(share, expected, margin):
    return torch.clamp((expected - share).abs() - margin, min=0)


def size_over_expected(share, expected, margin):
    return torch.clamp(((expected - share) / expected).abs() - margin, min=0)


def size_over_share(share, expected, margin):
    return torch.clamp(((expected - share) / share.detach()).abs() - margin, min=0)


def size_over_smaller(share, expected, margin):
    return torch.clamp((expected - share).abs() / torch.clamp(share.detach(), max=expected) - margin, min=0)


def size_squared(share, expected, margin):
    return torch.clamp(e(share, expected) ** 2 - margin, min=0)


def size_as_coded(share, expected, margin):
    error = e(share, expected)
    if error > margin:
        return error - margin
    return -error + margin if error < -margin else 0 * error


def size_item(share, expected, margin):
    return max(abs((expected - share.item()) / max(share.item(), expected)) - margin, 0)


def size_in_a_list(share, expected, margin):
    return torch.clamp(e(share, expected).abs() - margin, min=0)[None]


def size_through_the_denominator(share, expected, margin):
    return torch.clamp((expected - share).abs() / torch.clamp(share, min=expected) - margin, min=0)


def size_half_detached(share, expected, margin):
    right = torch.clamp(e(share, expected).abs() - margin, min=0)
    return 0.5 * right + 0.5 * right.detach()


WRONG = {
    "17-trained": [
        (trained_skips, "blocks on the skips. They"), (trained_swin_for_decoder, "the whole transformer"),
        (trained_no_head, "forget the head"), (trained_no_decoder, "forget the decoder"), (trained_no_peft, "forget PEFT"),
        (trained_everything, "train everything"), (trained_whole_layers, "whole layers"),
        (trained_head_by_name, "name the head's two tensors"),
        (trained_upside_down, "upside down"), (trained_names, "and not the names themselves"),
    ],
    "17-head": [
        (head_by_place, "by place"), (head_without_bias, "forget the bias"), (head_all_fresh, "keep nothing"),
        (head_known_first, "known ones first"), (head_grown, "all the rows of the base model"), (head_of_zeros, "new rows are 0"),
        (head_weight_of_zeros, "weights are 0"), (head_bias_of_zeros, "biases are 0"), (head_that_shares, "shares memory"),
        (head_into_fresh, "changes its input"), (head_asks_for_all, "stops with ValueError"),
    ],
    "17-size": [
        (size_no_margin, "leave the margin out"), (size_gate, "is a gate"), (size_below_zero, "do not stop at 0"),
        (size_too_small_only, "Only an organ too small"), (size_too_large_only, "Only an organ too large"),
        (size_in_voxels, "without the denominator"), (size_over_expected, "by the expected share always"),
        (size_over_share, "by the predicted share always"), (size_over_smaller, "by the smaller"), (size_squared, "square e"),
        (size_as_coded, "the published code"), (size_item, "cannot train"), (size_in_a_list, "not one number"),
        (size_through_the_denominator, "through the denominator"), (size_half_detached, "but its gradient is not"),
    ],
}

SAME_MESSAGE = {"17-trained": [(trained_all_but_the_swin, "blocks on the skips. They"),
                               (trained_transformer, "the whole transformer")]}
"""Other ways to the same wrong idea."""
