"""Typical wrong answers to the exercises of lesson 04, each with words of the message that it must get."""

from __future__ import annotations

import numpy as np
import torch


def paired_over_findings(images, present, absent, scale):
    return torch.softmax(scale * images @ present.T, dim=-1)


def paired_present_only(images, present, absent, scale):
    return torch.sigmoid(scale * (images @ present.T))


def paired_absent(images, present, absent, scale):
    both = scale * torch.stack([images @ present.T, images @ absent.T])
    return both.softmax(0)[1]


def paired_unscaled(images, present, absent, scale):
    return torch.stack([images @ present.T, images @ absent.T]).softmax(0)[0]


def paired_divided(images, present, absent, scale):
    return (torch.stack([images @ present.T, images @ absent.T]) / scale).softmax(0)[0]


def paired_over_pictures(images, present, absent, scale):
    return torch.softmax(scale * images @ present.T, dim=0)


def paired_logit(images, present, absent, scale):
    return scale * (images @ present.T - images @ absent.T)


def paired_decided(images, present, absent, scale):
    return (images @ present.T > images @ absent.T).float()


def paired_all_prompts(images, present, absent, scale):
    logits = scale * images @ torch.cat([present, absent]).T
    return logits.softmax(-1)[:, : len(present)]


def centred(values, sets):
    values = values.astype(float).copy()
    for name in np.unique(sets):
        values[sets == name] -= values[sets == name].mean()
    return values


def fitted(x, y):
    return float(np.polyfit(x, y, 1)[0])


def within_pooled(counts, accuracy, sets):
    seen = counts > 0
    return fitted(np.log10(counts[seen]), accuracy[seen])


def within_means(counts, accuracy, sets):
    seen = counts > 0
    x, y, s = np.log10(counts[seen]), accuracy[seen], sets[seen]
    if len(np.unique(s)) < 2:
        return float("nan")
    return fitted([x[s == name].mean() for name in np.unique(s)], [y[s == name].mean() for name in np.unique(s)])


def within_averaged(counts, accuracy, sets):
    seen = counts > 0
    x, y, s = np.log10(counts[seen]), accuracy[seen], sets[seen]
    return float(np.mean([fitted(x[s == name], y[s == name]) for name in np.unique(s) if (s == name).sum() > 1]))


def within_half(counts, accuracy, sets):
    seen = counts > 0
    return fitted(np.log10(counts[seen]), centred(accuracy[seen], sets[seen]))


def within_natural(counts, accuracy, sets):
    seen = counts > 0
    return fitted(centred(np.log(counts[seen]), sets[seen]), centred(accuracy[seen], sets[seen]))


def within_doublings(counts, accuracy, sets):
    seen = counts > 0
    return fitted(centred(np.log2(counts[seen]), sets[seen]), centred(accuracy[seen], sets[seen]))


def within_correlation(counts, accuracy, sets):
    seen = counts > 0
    x, y = centred(np.log10(counts[seen]), sets[seen]), centred(accuracy[seen], sets[seen])
    return float((x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum()))


def within_plus_one(counts, accuracy, sets):
    return fitted(centred(np.log10(counts + 1), sets), centred(accuracy, sets))


def within_no_logarithm(counts, accuracy, sets):
    seen = counts > 0
    return fitted(centred(counts[seen], sets[seen]), centred(accuracy[seen], sets[seen]))


WRONG = {
    "04-paired": [
        (paired_over_findings, "over the findings"), (paired_present_only, "leave the absent prompt out"),
        (paired_absent, "of the absent prompt"), (paired_unscaled, "forget the scale"), (paired_divided, "divide by the scale"),
        (paired_over_pictures, "over the pictures"), (paired_logit, "difference of the two logits"),
        (paired_decided, "You decide"), (paired_all_prompts, "all 2K prompts"),
    ],
    "04-within": [
        (within_pooled, "one line through all"), (within_means, "means of the test sets"),
        (within_averaged, "average the slopes"),
        (within_half, "not the frequency"), (within_natural, "natural logarithm"), (within_doublings, "per doubling"),
        (within_correlation, "return the correlation"), (within_plus_one, "add 1 to every count"),
        (within_no_logarithm, "without the logarithm"),
    ],
}
