"""Which slice to annotate next: where the model is least sure, at random, or evenly spaced.

    H_s = - sum over pixels  p log p + (1 - p) log(1 - p)            next = argmax of H_s over the slices without a box

An annotator begins with a box in the first and in the last slice of a structure; those between are interpolated, and the model
answers them all. Each further box goes where the policy says. Uncertainty sampling: Lewis and Gale 1994, arXiv:cmp-lg/9407020;
the entropy of a mask is the usual choice in segmentation. Predicted IoU: Kirillov et al. 2023, arXiv:2304.02643.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from torch import Tensor

from fmlab.interactive.coverage import slice_scores
from fmlab.interactive.crowd import interpolated
from fmlab.interactive.pictures import AXES
from fmlab.interactive.sliced import SliceAnswers, SlicedVolume

Policy = Callable[[SliceAnswers, np.ndarray, np.random.Generator], int]


def entropy(p: np.ndarray) -> np.ndarray:
    """How unsure a model is of each slice: probabilities (S, H, W) to the sum over pixels (S,), in nats. 0 and 1 are sure."""
    q = 1 - p
    with np.errstate(divide="ignore", invalid="ignore"):
        each = -np.where(p > 0, p * np.log(p), 0) - np.where(q > 0, q * np.log(q), 0)
    return each.sum((1, 2))


def next_slice(p: np.ndarray, done: np.ndarray) -> int:
    """The slice without annotation, done (S,) bool, whose mask has the largest entropy: probabilities (S, H, W) to its number."""
    return int(np.where(done, -np.inf, entropy(p)).argmax())


def by_entropy(answers: SliceAnswers, done: np.ndarray, rng: np.random.Generator) -> int:
    """Where the entropy of the mask is largest."""
    return next_slice(answers.logits.double().sigmoid().numpy(), done)


def by_predicted_iou(answers: SliceAnswers, done: np.ndarray, rng: np.random.Generator) -> int:
    """Where the model expects the worst mask of itself."""
    return int(np.where(done, np.inf, answers.iou.numpy()).argmin())


def at_random(answers: SliceAnswers, done: np.ndarray, rng: np.random.Generator) -> int:
    """Anywhere."""
    return int(rng.choice(np.flatnonzero(~done)))


def evenly(answers: SliceAnswers, done: np.ndarray, rng: np.random.Generator) -> int:
    """In the middle of the longest gap, without looking at the model."""
    known = np.flatnonzero(done)
    widest = np.diff(known).argmax()
    return int((known[widest] + known[widest + 1]) // 2)


POLICIES: Mapping[str, Policy] = {"mask entropy": by_entropy, "predicted IoU": by_predicted_iou, "at random": at_random,
                                  "evenly spaced": evenly}


def annotate(sliced: SlicedVolume, truth: np.ndarray, boxes: Mapping[int, Tensor], policy: Policy, count: int,
             rng: np.random.Generator) -> np.ndarray:
    """Dice of the volume (count - 1,) after 2, 3, ... ``count`` boxes, taken from ``boxes`` where the policy says.

    truth: (X, Y, Z). boxes: what the annotator would draw in each slice; its first and last slice come first. With fewer slices
    than ``count`` the last value stays.
    """
    slices = sorted(boxes)
    done = np.zeros(len(slices), dtype=bool)
    done[[0, -1]] = True
    axis, dices = AXES[sliced.axis], []
    for number in range(2, count + 1):
        answers = sliced.answers(interpolated({index: boxes[index] for index, drawn in zip(slices, done) if drawn}))
        dices.append(slice_scores(sliced.volume_of(answers), truth, axis).volume_dice)
        if number < count and not done.all():
            done[policy(_of(answers, slices), done, rng)] = True
    return np.array(dices)


def _of(answers: SliceAnswers, slices: list[int]) -> SliceAnswers:
    """The answers of the slices that can be chosen."""
    places = [answers.indices.index(index) for index in slices]
    return SliceAnswers(tuple(slices), answers.logits[places], answers.iou[places])
