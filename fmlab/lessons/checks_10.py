"""Exercises of lesson 10: the click in the middle of the largest error, Dice over the whole scan, and many empty keys as one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from fmlab import metrics
from fmlab.interactive.clicks import depth, missed_and_wrong
from fmlab.lessons.exercise import Case, Exercise, Invariant, Misconception
from fmlab.lessons.laws import unmoved_by

# ---- 10-click: prediction and truth (X, Y, Z) bool -> (place (3,), label)

Masks = tuple[np.ndarray, np.ndarray]
Click = tuple[np.ndarray, int]
SHAPE = (15, 16, 17)


def _box(low: np.ndarray, size: np.ndarray, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(a, a + n) for a, n in zip(low, size))] = True
    return mask


def _first(rng: np.random.Generator) -> Masks:
    """Nothing is predicted yet; the structure is one box of odd sides, well inside."""
    truth = _box(rng.integers(2, 5, 3), rng.choice([5, 7, 9], 3))
    return np.zeros_like(truth), truth


def _missed(rng: np.random.Generator) -> Masks:
    """A small false piece, and a large missed one beside what is found."""
    found = _box([2, 2, 2], [11, 3, 3])
    return found | _box(rng.integers(9, 11, 3), [3, 3, 3]), found | _box([2, 8, 8], [5, 5, 5])


def _wrong(rng: np.random.Generator) -> Masks:
    """The structure is found but for a crumb, and a large false piece lies elsewhere."""
    truth = _box([2, 2, 2], [6, 6, 6])
    crumb = _box(rng.integers(2, 5, 3), [3, 3, 3])
    return (truth & ~crumb) | _box(rng.integers(8, 10, 3), [5, 5, 5]), truth


def _either(rng: np.random.Generator) -> Masks:
    return (_missed if rng.random() < 0.5 else _wrong)(rng)


def _shell(rng: np.random.Generator) -> Masks:
    """What is missed lies around what is found, as a cup does around tea: its centroid is not in it."""
    outer, inner = _box([1, 1, 1], [13, 13, 13]), _box([4, 4, 4], [10, 7, 7])
    return inner, outer | inner


def _at_the_border(rng: np.random.Generator) -> Masks:
    """The structure is cut by the scan's edge."""
    axis, low, size = int(rng.integers(3)), np.array([4, 4, 4]), np.array([7, 7, 7])
    low[axis], size[axis] = 0, 4
    truth = _box(low, size)
    return np.zeros_like(truth), truth


def _long_and_deep(rng: np.random.Generator) -> Masks:
    """A long thin piece is false, and has more voxels than a short thick one that is missed; or the other way round."""
    thick, long = _box([1, 1, 1], [5, 5, 5]), np.zeros(SHAPE, dtype=bool)
    long[:, 8:, 8:10] = True
    return (long, thick) if rng.random() < 0.5 else (thick, long)


def _side_by_side(rng: np.random.Generator) -> Masks:
    """A missed and a false piece touch: taken together their middle lies between them."""
    shift = int(rng.integers(0, 3))
    truth, prediction = _box([2, 5, 5 + shift], [3, 7, 5]), _box([5, 5, 5 + shift], [5, 7, 5])
    return prediction, truth


def _deepest(region: np.ndarray, padded: bool = True) -> np.ndarray:
    distance = depth(region) if padded else ndimage.distance_transform_edt(region)
    return np.array(np.unravel_index(distance.argmax(), region.shape))


def _chosen(prediction: np.ndarray, truth: np.ndarray, padded: bool = True) -> Click:
    """The deepest place of the deeper error, and its label."""
    missed, wrong = missed_and_wrong(prediction, truth)
    deepest = [float((depth(r) if padded else ndimage.distance_transform_edt(r)).max()) for r in (missed, wrong)]
    positive = deepest[0] > deepest[1]
    return _deepest(missed if positive else wrong, padded), int(positive)


def _larger(prediction: np.ndarray, truth: np.ndarray) -> Click:
    missed, wrong = missed_and_wrong(prediction, truth)
    positive = missed.sum() > wrong.sum()
    return _deepest(missed if positive else wrong), int(positive)


def _as_one(prediction: np.ndarray, truth: np.ndarray) -> Click:
    place = _deepest(prediction ^ truth)
    return place, int(truth[tuple(place)])


def _centroid(prediction: np.ndarray, truth: np.ndarray) -> Click:
    positive = _chosen(prediction, truth)[1]
    region = missed_and_wrong(prediction, truth)[1 - positive]
    return np.argwhere(region).mean(0).round().astype(int), positive


def _lies_in_the_error(function: Callable, rng: np.random.Generator) -> bool:
    """For the cup."""
    prediction, truth = _shell(rng)
    place = tuple(np.asarray(function(prediction, truth)[0]).astype(int))
    return bool((prediction ^ truth)[place])


CLICK = Exercise(
    id="10-click",
    task="`click(prediction, truth)`: two masks (X, Y, Z), bool. Of what is missed and what is wrongly there take the deeper "
         "one, and return (place, label): its deepest voxel (three indices; of several the first, as argmax gives it), and 1 if "
         "it is "
         "missed, 0 if it is wrong. Depth is the Euclidean distance to what is not of that error, and beyond the scan nothing "
         "is.",
    reference=_chosen,
    meets="fmlab.interactive.clicks.centre_of_largest_error",
    cases=(
        Case("a large error and a small one", _either,
             "missed = truth & ~prediction, wrong = prediction & ~truth; each has its depth, and a label: what is right there.",
             draws=8),
        Case("a first click, with nothing predicted yet", _first, "All of the structure is missed: its middle, label 1."),
        Case("an error like a cup around what is found", _shell, "The deepest place of an error always lies in it.", draws=1),
        Case("a missed and a wrong piece, side by side", _side_by_side, "They are two errors, with two depths."),
        Case("a long thin error and a short thick one", _long_and_deep, "Deep counts, not large: a person sees the thick one.",
             draws=6),
        Case("a structure at the scan's edge", _at_the_border,
             "`np.pad(region, 1)` before the distance transform, and take the rim off again."),
    ),
    misconceptions=(
        Misconception("You count what is beyond the scan as part of the error: distance_transform_edt knows no outside. The "
                      "click then sticks to the scan's edge. Pad each error by one voxel of False first.",
                      lambda p, t: _chosen(p, t, padded=False)),
        Misconception("Your click is always positive. Where something is wrongly there the person says \"not this\": label 0.",
                      lambda p, t: (_chosen(p, t)[0], 1)),
        Misconception("Your labels are the wrong way round: 1 is \"this belongs to it\", for what is missed.",
                      lambda p, t: (_chosen(p, t)[0], 1 - _chosen(p, t)[1])),
        Misconception("You only look for what is missed. What is wrongly there is an error, too, and may be the deeper one.",
                      lambda p, t: (_deepest(t & ~p), 1)),
        Misconception("You only look for what is wrongly there. What is missed is an error, too, and at first the only one.",
                      lambda p, t: (_deepest(p & ~t), 0)),
        Misconception("You click in the middle of the truth, whatever was answered. A correction goes where the answer is "
                      "wrong.",
                      lambda p, t: (_deepest(t), 1)),
        Misconception("You click in the middle of the prediction. It may well be right there.",
                      lambda p, t: (_deepest(p), int(t[tuple(_deepest(p))]))),
        Misconception("You take the centroid. That of a cup lies in the tea: a mean of places need not be one of them. The "
                      "deepest place always is.", _centroid),
        Misconception("You take all errors for one region. A missed piece beside a false one then has its \"middle\" on their "
                      "border, where nobody would click. Two regions, two depths.", _as_one),
        Misconception("You take the error of more voxels. A thin long one may have many and no middle; \"largest\" means deepest "
                      "here.", _larger),
        Misconception("You take the shallower of the two errors.",
                      lambda p, t: (_deepest(p & ~t) if _chosen(p, t)[1] else _deepest(t & ~p), 1 - _chosen(p, t)[1])),
        Misconception("You return the place without its label: (place, label).", lambda p, t: _chosen(p, t)[0]),
    ),
    invariants=(
        Invariant("Your click does not lie in the error at all, if that is bent like a cup.", _lies_in_the_error),
    ),
    hints=(
        "Two regions: `truth & ~prediction` is missed, `prediction & ~truth` is wrong. Which one is deeper?",
        "`ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1, 1:-1]` is the depth of each voxel.",
        "`np.unravel_index(depth.argmax(), depth.shape)` is its deepest place.",
        "For each region the depth; `label = int(missed.max() > wrong.max())`; the deepest place of that one.",
    ),
)


# ---- 10-whole: logits (n, n, n) of a cube at start, truth (X, Y, Z) -> Dice over the whole scan

Scored = tuple[np.ndarray, tuple[int, int, int], np.ndarray]


def _cube(rng: np.random.Generator, start: tuple[int, int, int], side: int = 8) -> Scored:
    """A structure that goes on beyond the cube, and logits of it with noise."""
    truth = _box([2, 3, 2], [9, 8, 10])
    padded = np.pad(truth, 8)[tuple(slice(s + 8, s + 8 + side) for s in start)]
    return rng.normal(0, 1.2, (side,) * 3) + np.where(padded, 1.5, -1.5), start, truth


def _within(rng: np.random.Generator) -> Scored:
    return _cube(rng, tuple(int(x) for x in rng.integers(1, 6, 3)))


def _jutting_out(rng: np.random.Generator) -> Scored:
    """The cube begins before the scan, and ends after it: what it says of places that are none counts for nothing."""
    return _cube(rng, (-int(rng.integers(1, 4)), int(rng.integers(9, 12)), -2))


def _elsewhere(rng: np.random.Generator) -> Scored:
    """The structure lies outside of the cube."""
    logits, start, _ = _cube(rng, (0, 0, 0), 6)
    return logits, start, _box([9, 9, 9], [4, 5, 6])


def _unsure(rng: np.random.Generator) -> Scored:
    """Logits between 0 and 0.5 are many."""
    logits, start, truth = _within(rng)
    return logits / 4, start, truth


def _places(start: tuple[int, int, int], shape: tuple[int, ...], side: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where the cube lies in the scan, and the scan in the cube."""
    bounds = [(max(s, 0), min(s + side, n), s) for s, n in zip(start, shape)]
    return tuple(slice(a, b) for a, b, _ in bounds), tuple(slice(a - s, b - s) for a, b, s in bounds)


def _pasted(logits: np.ndarray, start: tuple[int, int, int], shape: tuple[int, ...], threshold: float = 0.0) -> np.ndarray:
    found = np.zeros(shape, dtype=bool)
    here, inside = _places(start, shape, len(logits))
    found[here] = (logits > threshold)[inside]
    return found


def _whole(logits: np.ndarray, start: tuple[int, int, int], truth: np.ndarray) -> float:
    return metrics.dice(_pasted(logits, start, truth.shape), truth)


def _in_the_cube(logits: np.ndarray, start: tuple[int, int, int], truth: np.ndarray) -> float:
    here, inside = _places(start, truth.shape, len(logits))
    return metrics.dice((logits > 0)[inside], truth[here])


def _counted_outside(logits: np.ndarray, start: tuple[int, int, int], truth: np.ndarray) -> float:
    """All positive logits count, also those beyond the scan."""
    shared = (_pasted(logits, start, truth.shape) & truth).sum()
    return float(2 * shared / ((logits > 0).sum() + truth.sum()))


def _wrapped(logits: np.ndarray, start: tuple[int, int, int], truth: np.ndarray) -> float:
    """numpy's slices with a negative start."""
    found = np.zeros(truth.shape, dtype=bool)
    here = tuple(slice(s, s + len(logits)) for s in start)
    sizes = tuple(slice(n) for n in found[here].shape)
    found[here] = (logits > 0)[sizes]
    return metrics.dice(found, truth)


def _cut_from_the_front(logits: np.ndarray, start: tuple[int, int, int], truth: np.ndarray) -> float:
    """A cube that begins before the scan is moved to its edge."""
    found = np.zeros(truth.shape, dtype=bool)
    here = tuple(slice(max(s, 0), min(max(s, 0) + len(logits), n)) for s, n in zip(start, truth.shape))
    found[here] = (logits > 0)[tuple(slice(s.stop - s.start) for s in here)]
    return metrics.dice(found, truth)


def _at(place: Callable[[np.ndarray, np.ndarray], tuple[int, ...]]) -> Callable[..., float]:
    """A wrong idea of where the cube lies."""
    return lambda logits, start, truth: _whole(logits, place(logits, truth), truth)


WHOLE = Exercise(
    id="10-whole",
    task="`whole(logits, start, truth)`: a model answered logits (n, n, n) in a cube of a scan, whose first voxel is `start` "
         "(i, j, "
         "k) of the scan; truth (X, Y, Z) is the whole scan's. Return Dice over the whole scan: the mask is where logits are "
         "above 0, and nothing outside of the cube. The cube may jut out of the scan; then a start is negative, or the end too "
         "far.",
    reference=_whole,
    meets="fmlab.metrics.masks.dice",
    cases=(
        Case("a cube within the scan, and a structure that goes on beyond it", _within,
             "Put the mask into an empty scan, at `start`, and score that against all of the truth.", draws=4),
        Case("a structure that the cube does not show", _elsewhere, "Nothing of it is found: Dice is 0."),
        Case("logits near 0", _unsure, "A logit of 0 is a probability of one half."),
        Case("a cube that juts out of the scan", _jutting_out,
             "Per axis: in the scan from max(s, 0) to min(s + n, size); in the cube the same, less s.", draws=4),
    ),
    misconceptions=(
        Misconception("You score inside the cube. What the structure has outside of it is missed, and false voxels there would "
                      "be false. Inside, every voxel was chosen by somebody who knew where the structure is.", _in_the_cube),
        Misconception("Your truth is the whole scan's, but voxels beyond the scan count as found: the cube juts out there, and a "
                      "mask has no voxels where there is no scan.", _counted_outside),
        Misconception("You threshold logits at 0.5: that is a probability of 0.62. Logits are cut at 0.",
                      lambda logits, start, truth: metrics.dice(_pasted(logits, start, truth.shape, 0.5), truth)),
        Misconception("A negative start counts from the end in Python: your cube lands at the other side of the scan, or "
                      "nowhere. Begin at max(start, 0), and leave out as many voxels of the cube.", _wrapped),
        Misconception("A cube that begins before the scan you moved to its edge. It stays where it is: what juts out is cut off, "
                      "so the first voxels of the cube go.", _cut_from_the_front),
        Misconception("You put the cube into the scan's first corner; it belongs at `start`.",
                      _at(lambda logits, truth: (0, 0, 0))),
        Misconception("You put the cube about the middle of the structure. Where it lies is given, by `start`; that you can "
                      "move it to where the truth is, is the trap that this lesson is about.",
                      _at(lambda logits, truth: tuple(int(a + b + 1 - len(logits)) // 2 for a, b in zip(
                          np.argwhere(truth).min(0), np.argwhere(truth).max(0))))),
        Misconception("You return the intersection over union. Dice is 2 |A and B| / (|A| + |B|).",
                      lambda logits, start, truth: _whole(logits, start, truth) / (2 - _whole(logits, start, truth))),
        Misconception("You return the share of the truth that is found. False voxels must cost something: Dice.",
                      lambda logits, start, truth: (_pasted(logits, start, truth.shape) & truth).sum() / truth.sum()),
    ),
    hints=(
        "`found = np.zeros(truth.shape, bool)`, and the mask goes into it at `start`; then Dice of found and truth.",
        "Per axis the scan's part is `slice(max(s, 0), min(s + n, size))`; the cube's part is the same less s.",
        "`here = tuple(slice(max(s, 0), min(s + n, m)) for s, m in zip(start, truth.shape))`, "
        "`inside = tuple(slice(a.start - s, a.stop - s) for a, s in zip(here, start))`",
        "`found[here] = (logits > 0)[inside]`; `return 2 * (found & truth).sum() / (found.sum() + truth.sum())`",
    ),
)


# ---- 10-empty: attention over N keys and M equal ones, as N + 1

Attended = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def _tokens(rng: np.random.Generator, queries: int = 4, real: int = 5, empty: int = 7, size: int = 6, noise: float = 1.0
            ) -> Attended:
    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return torch.from_numpy(rng.normal(scale=scale, size=shape)).float()

    return (normal(queries, size), normal(real, size), normal(real, size), normal(size), normal(size),
            normal(queries, empty, scale=noise))


def _no_bias(rng: np.random.Generator) -> Attended:
    return _tokens(rng, noise=0.0)


def _many_empty(rng: np.random.Generator) -> Attended:
    return _tokens(rng, queries=3, real=8, empty=400)


def _one_empty(rng: np.random.Generator) -> Attended:
    return _tokens(rng, empty=1)


def _loud(rng: np.random.Generator) -> Attended:
    """Biases whose exponential overflows."""
    return _tokens(rng, noise=200.0)


def _with_logit(logit: Callable[[Tensor, Tensor, Tensor], Tensor | None], value: Callable[[Tensor, Tensor], Tensor] | None = None
                ) -> Callable[..., Tensor]:
    """Attention with one key more, whose logit (Q,) is made of q . key, of the bias (Q, M), and of the scale."""
    def attended(q: Tensor, k: Tensor, v: Tensor, key: Tensor, of_empty: Tensor, bias: Tensor) -> Tensor:
        scale = q.shape[-1] ** -0.5
        scores, extra = scale * q @ k.T, logit(q @ key, bias, torch.tensor(scale))
        if extra is None:
            return scores.softmax(-1) @ v
        one = of_empty if value is None else value(of_empty, bias)
        return torch.cat([scores, extra[:, None]], 1).softmax(-1) @ torch.cat([v, one[None]])
    return attended


_one_key = _with_logit(lambda product, bias, scale: scale * product + bias.logsumexp(-1))


def _literally(q: Tensor, k: Tensor, v: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """With all M empty keys."""
    count, scale = bias.shape[1], q.shape[-1] ** -0.5
    scores = torch.cat([q @ k.T, (q @ key)[:, None].expand(-1, count)], 1) * scale
    scores[:, len(k):] += bias
    return scores.softmax(-1) @ torch.cat([v, value.expand(count, -1)])


def _flops(function: Callable, given: Attended) -> int:
    with FlopCounterMode(display=False) as counter:
        function(*given)
    return counter.get_total_flops()


def _cost_is_flat(function: Callable, rng: np.random.Generator) -> bool:
    return _flops(function, _tokens(rng, empty=2000)) <= 1.05 * _flops(function, _tokens(rng, empty=1))


EMPTY = Exercise(
    id="10-empty",
    task="`attend(q, k, v, key, value, bias)`: queries q (Q, d); N real keys k (N, d) with values v (N, c); and M empty tokens, "
         "which all have the same key (d,) and the same value (c,). Logits are q.k / sqrt(d), for the empty ones plus bias (Q, "
         "M). "
         "Return softmax over all N + M, times values: (Q, c), at the cost of N + 1 keys.",
    reference=_one_key,
    meets="fmlab.interactive.volume_attention.VolumeAttention.forward",
    tolerance=1e-4,
    cases=(
        Case("empty tokens with a bias each", _tokens, "They weigh exp(s) times the sum over m of exp(bias_m)."),
        Case("empty tokens without bias", _no_bias, "M equal keys weigh M exp(s) = exp(s + log M)."),
        Case("four hundred empty tokens", _many_empty, "Their weights add up: many faint voices are a loud one."),
        Case("a single empty token", _one_empty, "The log of a sum of one exponential is its exponent."),
        Case("very large biases", _loud, "`bias.logsumexp(-1)` takes off the largest first; exp by hand overflows."),
    ),
    misconceptions=(
        Misconception("You left the empty tokens out. That is what attention with a mask does, and it is another function: the "
                      "published weights were trained with the empty ones in the softmax.",
                      _with_logit(lambda p, bias, scale: None)),
        Misconception("You count the empty tokens as one of logit q.key / sqrt(d): their number is lost. M equal ones weigh M "
                      "times as much.", _with_logit(lambda p, bias, scale: scale * p)),
        Misconception("You add M to the logit. Weights add up outside of the exponential: M exp(s) = exp(s + log M).",
                      _with_logit(lambda p, bias, scale: scale * p + bias.shape[1])),
        Misconception("You know their number, and left out their biases: exp(bias) summed over the empty tokens, not just log M.",
                      _with_logit(lambda p, bias, scale: scale * p + np.log(bias.shape[1]))),
        Misconception("You add the mean of the biases and log M. exp(bias) is to be averaged, not the bias: a single large one "
                      "may outweigh all the others.",
                      _with_logit(lambda p, bias, scale: scale * p + bias.mean(-1) + np.log(bias.shape[1]))),
        Misconception("You add up the biases themselves. Their exponentials add up: logsumexp.",
                      _with_logit(lambda p, bias, scale: scale * p + bias.sum(-1))),
        Misconception("You take the largest bias for all of them: the others weigh something, too.",
                      _with_logit(lambda p, bias, scale: scale * p + bias.amax(-1))),
        Misconception("You forgot the logarithm: the sum of exponentials is a weight, and what goes into the softmax is its "
                      "log.",
                      _with_logit(lambda p, bias, scale: scale * p + bias.exp().sum(-1))),
        Misconception("You forgot 1 / sqrt(d) for the empty key; it has the same scale as all others.",
                      _with_logit(lambda p, bias, scale: p + bias.logsumexp(-1))),
        Misconception("You scale the biases, too. Only q.k is divided by sqrt(d); the biases are added as they are.",
                      _with_logit(lambda p, bias, scale: scale * (p + bias.logsumexp(-1)))),
        Misconception("You multiply the empty value by M. It is read with a larger weight, but it stays the same value; and "
                      "the weights of all others must shrink.",
                      _with_logit(lambda p, bias, scale: scale * p, lambda value, bias: bias.shape[1] * value)),
        Misconception("Your empty token is read as nothing: its value is not 0.",
                      _with_logit(lambda p, bias, scale: scale * p + bias.logsumexp(-1), lambda value, bias: 0 * value)),
    ),
    invariants=(
        Invariant("Right, but your cost grows with the number of empty tokens: you multiply queries with each of them, or "
                  "weights with each of their values. They are all alike, so one key and one value will do.", _cost_is_flat),
        Invariant("Your result changes with the order of the empty tokens' biases.",
                  unmoved_by(_tokens, lambda q, k, v, key, value, bias: (q, k, v, key, value, bias.flip(1)), 1e-4)),
    ),
    hints=(
        "Write down the softmax's sum of exponentials: N terms, and M more. What do these M have in common?",
        "sum_m exp(s + b_m) = exp(s) sum_m exp(b_m) = exp(s + log sum_m exp(b_m)), with s = q.key / sqrt(d).",
        "So one key more, with the logit `q @ key / d ** 0.5 + bias.logsumexp(-1)`, and the value as it is.",
        "`scores = torch.cat([q @ k.T / d ** 0.5, (q @ key / d ** 0.5 + bias.logsumexp(-1))[:, None]], 1)`; "
        "`return scores.softmax(-1) @ torch.cat([v, value[None]])`",
    ),
)

EXERCISES = (CLICK, WHOLE, EMPTY)
