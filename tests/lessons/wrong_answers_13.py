"""Typical wrong answers to the exercises of lesson 13, each with words of the message that it must get."""

from __future__ import annotations

import torch


def cut(theta, c, order="wwwbbb"):
    """The three weights and the three biases of theta (..., P), which hold them in this order."""
    sizes = {"w": [c * c, c * c, c], "b": [c, c, 1]}
    counts = {"w": 0, "b": 0}
    found = {"w": [], "b": []}
    start = 0
    for kind in order:
        size = sizes[kind][counts[kind]]
        found[kind].append(theta[..., start:start + size])
        counts[kind] += 1
        start += size
    return found["w"], found["b"]


def one(f, theta, order="wwwbbb", between=torch.relu):
    """Logits (X, Y, Z) of f (C, X, Y, Z) and one class's theta (P,)."""
    c = len(f)
    (w1, w2, w3), (b1, b2, b3) = cut(theta, c, order)
    h = between(torch.einsum("oi,ixyz->oxyz", w1.reshape(c, c), f) + b1[:, None, None, None])
    h = between(torch.einsum("oi,ixyz->oxyz", w2.reshape(c, c), h) + b2[:, None, None, None])
    return torch.einsum("i,ixyz->xyz", w3, h) + b3


def every(f, theta, **options):
    """Logits (B, K, X, Y, Z), one class of one image after the other."""
    return torch.stack([torch.stack([one(f[n], row, **options) for row in theta[n]]) for n in range(len(f))])


def head_interleaved(f, theta):
    return every(f, theta, order="wbwbwb")


def head_biases_first(f, theta):
    return every(f, theta, order="bbbwww")


def head_on_its_side(f, theta):
    c = f.shape[1]
    (w1, w2, w3), (b1, b2, b3) = cut(theta, c)
    h = torch.einsum("bkio,bixyz->bkoxyz", w1.unflatten(-1, (c, c)), f) + b1[..., None, None, None]
    h = torch.einsum("bkio,bkixyz->bkoxyz", w2.unflatten(-1, (c, c)), h.relu()) + b2[..., None, None, None]
    return torch.einsum("bki,bkixyz->bkxyz", w3, h.relu()) + b3[..., None, None]


def head_no_biases(f, theta):
    c = f.shape[1]
    return every(f, torch.cat([theta[..., :-2 * c - 1], torch.zeros_like(theta[..., -2 * c - 1:])], -1))


def head_relu_at_the_end(f, theta):
    return every(f, theta).clamp(min=0)


def head_probabilities(f, theta):
    return 1 / (1 + torch.exp(-every(f, theta)))


def head_softmax(f, theta):
    z = every(f, theta)
    return z.exp() / z.exp().sum(1, keepdim=True)


def head_sigmoid_inside(f, theta):
    return every(f, theta, between=torch.sigmoid)


def head_linear(f, theta):
    return every(f, theta, between=lambda h: h)


def head_first_relu_only(f, theta):
    count = [0]

    def between(h):
        count[0] += 1
        return h.relu() if count[0] % 2 else h

    return every(f, theta, between=between)


def head_second_relu_only(f, theta):
    count = [0]

    def between(h):
        count[0] += 1
        return h if count[0] % 2 else h.relu()

    return every(f, theta, between=between)


def head_one_for_all(f, theta):
    single = every(f, theta[:, :1])
    return single.expand(-1, theta.shape[1], -1, -1, -1)


def head_mean_of_heads(f, theta):
    return every(f, theta.mean(1, keepdim=True)).repeat(1, theta.shape[1], 1, 1, 1)


def head_first_image(f, theta):
    return every(f, torch.stack([theta[0]] * len(f)))


def head_axis_too_many(f, theta):
    return every(f, theta)[:, :, None]


def head_in_a_row(f, theta):
    return every(f, theta).flatten(2)


def head_sum_of_classes(f, theta):
    return every(f, theta).sum(dim=1)


def head_classes_first(f, theta):
    return every(f, theta).transpose(0, 1)


def head_against_the_mean(f, theta):
    z = every(f, theta)
    return z - z.mean(1, keepdim=True)


def head_normalised(f, theta):
    z = every(f, theta)
    return z - z.mean((2, 3, 4), keepdim=True)


def head_cut_from_theta(f, theta):
    return every(f, theta.detach())


def head_cut_from_the_map(f, theta):
    return every(f.detach(), theta)


def head_axes_mixed(f, theta):
    return every(f, theta.transpose(0, 1)) if theta.shape[0] == theta.shape[1] else every(f, theta)


def head_eight_channels(f, theta):
    c = 8
    return every(f, theta) if f.shape[1] == c else every(f[:, :c], theta.reshape(len(f), -1, 2 * c * c + 3 * c + 1))


def head_twice(f, theta):
    return 2 * every(f, theta)


def halves(weight, texts):
    t = texts.shape[1]
    return weight[:, :-t], weight[:, -t:]


def fold_no_bias(weight, bias, texts):
    of_image, of_text = halves(weight, texts)
    return of_image, torch.einsum("pt,kt->kp", of_text, texts)


def fold_text_first(weight, bias, texts):
    t = texts.shape[1]
    return weight[:, t:], torch.einsum("pt,kt->kp", weight[:, :t], texts) + bias


def fold_constants_first(weight, bias, texts):
    of_image, of_text = halves(weight, texts)
    return texts @ of_text.T + bias, of_image


def fold_on_its_side(weight, bias, texts):
    of_image, of_text = halves(weight, texts)
    return of_image, of_text @ texts.T + bias[:, None]


def fold_whole_weight(weight, bias, texts):
    return weight, torch.stack([halves(weight, texts)[1] @ w + bias for w in texts])


def fold_in_the_middle(weight, bias, texts):
    of_image, of_text = weight.chunk(2, dim=1)
    return of_image, texts @ of_text.T + bias


def fold_relu(weight, bias, texts):
    of_image, of_text = halves(weight, texts)
    return of_image, torch.relu(texts @ of_text.T + bias)


def fold_mean_of_texts(weight, bias, texts):
    of_image, of_text = halves(weight, texts)
    return of_image, (of_text @ texts.mean(0) + bias).repeat(len(texts), 1)


def fold_constants_alone(weight, bias, texts):
    return texts @ halves(weight, texts)[1].T + bias


def fold_three_things(weight, bias, texts):
    of_image, of_text = halves(weight, texts)
    return of_image, texts @ of_text.T, bias


def fold_bias_twice(weight, bias, texts):
    of_image, of_text = halves(weight, texts)
    return of_image, texts @ of_text.T + 2 * bias


def fold_cut_off(weight, bias, texts):
    of_image, of_text = halves(weight, texts)
    return of_image, (texts @ of_text.T + bias).detach()


def fold_stops(weight, bias, texts):
    of_image, of_text = halves(weight, texts)
    return of_image, of_text @ texts + bias


WRONG = {
    "13-head": [
        (head_interleaved, "in turn"), (head_biases_first, "biases first"), (head_on_its_side, "on their side"),
        (head_no_biases, "forget the biases"), (head_relu_at_the_end, "after the last layer as well"),
        (head_probabilities, "return probabilities"), (head_softmax, "kidney *and* tumour"),
        (head_sigmoid_inside, "sigmoids between"), (head_linear, "nothing between"),
        (head_first_relu_only, "after the first layer only"), (head_second_relu_only, "after the second layer only"),
        (head_one_for_all, "head of class 0"), (head_mean_of_heads, "average the heads"),
        (head_first_image, "first image for all"), (head_axis_too_many, "an axis too many"), (head_in_a_row, "in a row"),
        (head_sum_of_classes, "add up the classes"), (head_classes_first, "has not the shape (B, K, X, Y, Z)"),
        (head_against_the_mean, "Nothing passes between classes"), (head_normalised, "each voxel is on its own"),
        (head_cut_from_theta, "cut off from theta"), (head_cut_from_the_map, "cut off from F"),
        (head_axes_mixed, "Axes are mixed up"), (head_eight_channels, "stops with RuntimeError"),
        (head_twice, "is right, and your function gives"),
    ],
    "13-fold": [
        (fold_no_bias, "forget the bias"), (fold_text_first, "take the text first"), (fold_constants_first, "order is (W_f, c)"),
        (fold_on_its_side, "a row for each class"), (fold_whole_weight, "whole weight"), (fold_in_the_middle, "in its middle"),
        (fold_relu, "ReLU on your constants"), (fold_mean_of_texts, "average the classes"),
        (fold_constants_alone, "return the constants alone"), (fold_three_things, "return two things"),
        (fold_bias_twice, "halves are not the whole"), (fold_cut_off, "cut off from weight and texts"),
        (fold_stops, "stops with RuntimeError"),
    ],
}
