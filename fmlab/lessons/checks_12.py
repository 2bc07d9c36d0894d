"""Exercises of lesson 12: from a label map to Y and w, and the masked loss; with learners' most frequent wrong ideas."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fmlab.lessons.exercise import Case, Exercise, Invariant, Misconception
from fmlab.pretraining.masked import masked_bce
from fmlab.vocabulary import region

Regions = list[list[int]]
TargetsInput = tuple[np.ndarray, Regions, list[bool]]
Pair = tuple[np.ndarray, np.ndarray]


# ---- 12-targets: labels, regions, annotated -> Y, w

def _scan(rng: np.random.Generator, names: Sequence[str], annotated: Sequence[bool], drawn: Sequence[str] = ()) -> TargetsInput:
    """A random label map of 0, the stomach and every id of the structures ``drawn`` (by default: of all that are asked for)."""
    ids = sorted({0, *region("stomach")}.union(*(region(name) for name in (drawn or names))))
    voxels = np.concatenate([ids, rng.choice(ids, 4 * 5 * 6 - len(ids))])  # so that each id is there
    return rng.permutation(voxels).reshape(4, 5, 6), [list(region(name)) for name in names], list(annotated)


def _all_drawn(rng: np.random.Generator) -> TargetsInput:
    return _scan(rng, ["liver", "spleen", "kidney_left"], [True, True, True])


def _overlapping(rng: np.random.Generator) -> TargetsInput:
    return _scan(rng, ["liver", "liver_tumor", "spleen"], [True, True, True])


def _absent(rng: np.random.Generator) -> TargetsInput:
    """A woman: the prostate was looked for."""
    return _scan(rng, ["liver", "prostate", "spleen"], [True, True, True], drawn=["liver", "spleen"])


def _partial(rng: np.random.Generator) -> TargetsInput:
    """Of the two that nobody looked for one is labelled all the same, the other is not."""
    names = rng.permutation(["liver", "spleen", "pancreas", "kidney_left"]).tolist()
    order = rng.permutation(4)
    labels, regions, annotated = _scan(rng, names, [True, True, False, False], drawn=names[:3])
    return labels, [regions[k] for k in order], [annotated[k] for k in order]


def _tensor(rng: np.random.Generator) -> tuple[Tensor, Regions, list[bool]]:
    labels, regions, annotated = _partial(rng)
    return torch.from_numpy(labels), regions, annotated


def _y(labels: np.ndarray | Tensor, regions: Regions) -> np.ndarray:
    return np.stack([np.isin(np.asarray(labels), ids) for ids in regions]).astype(np.uint8)


def _targets(labels: np.ndarray | Tensor, regions: Regions, annotated: list[bool]) -> Pair:
    return _y(labels, regions), np.array(annotated, dtype=np.uint8)


def _filled(y: np.ndarray) -> np.ndarray:
    return y.reshape(len(y), -1).any(1)


def _exclusive(labels: np.ndarray | Tensor, regions: Regions) -> np.ndarray:
    """Each voxel belongs to one structure only, the last whose region names it."""
    y = _y(labels, regions)
    later = np.cumsum(y[::-1], axis=0)[::-1] - y
    return y * (later == 0)


def _only_annotated(labels: np.ndarray | Tensor, regions: Regions, annotated: list[bool], other: int) -> Pair:
    y, w = _targets(labels, regions, annotated)
    return np.where(w[:, None, None, None] == 1, y.astype(int), other), w


def _law_targets(holds: Callable[[object, TargetsInput], bool]) -> Callable[[Callable, np.random.Generator], bool]:
    """A law about the answer to a scan of which a part is annotated; it is given the answer and the input."""
    def tried(function: Callable, rng: np.random.Generator) -> bool:
        given = _partial(rng)
        return holds(function(*given), given)
    return tried


TARGETS = Exercise(
    id="12-targets",
    task="`targets(labels, regions, annotated)` -> (Y, w): Y_k is 1 where the label is any id of region k, and else 0, for every "
         "structure, annotated or not; w_k is 1 where the data set looked for k, and else 0.",
    reference=_targets,
    meets="fmlab.pretraining.targets.targets",
    cases=(
        Case("a scan in which everything was drawn", _all_drawn,
             "`np.isin(labels, ids)` asks of each voxel whether its label is one of `ids`; `labels == ids` compares something "
             "else."),
        Case("a liver and its tumour, which overlap", _overlapping, "A voxel of the tumour belongs to both regions: fill each "
                                                                    "Y_k on its own."),
        Case("a prostate that was looked for and is not there", _absent, "Y_k is empty, and w_k is what `annotated` says: 1."),
        Case("a data set that annotates a part of the structures", _partial, "Y comes from the labels and the regions, w from "
                                                                             "`annotated`; neither looks at the other."),
        Case("labels in a torch tensor", _tensor, "The labels of a `Volume` are a torch tensor; `np.asarray(labels)` takes "
                                                  "both."),
    ),
    misconceptions=(
        Misconception("You return Y alone. Without w nobody can tell later whether an empty mask means \"not there\" or \"not "
                      "looked for\": return both, `return Y, w`.",
                      lambda labels, regions, annotated: _y(labels, regions)),
        Misconception("You return w first: the order is (Y, w).",
                      lambda labels, regions, annotated: _targets(labels, regions, annotated)[::-1]),
        Misconception("You look for the first id of each region only: the tumour becomes a hole in the liver, and the network "
                      "learns to leave tumours out. Every id of the region counts.",
                      lambda labels, regions, annotated: _targets(labels, [ids[:1] for ids in regions], annotated)),
        Misconception("You take all ids from the smallest to the largest of the region. Ids are names, not an interval: between "
                      "the liver (42) and its tumour (71) lie the spleen and the kidneys.",
                      lambda labels, regions, annotated: _targets(labels, [list(range(ids[0], ids[-1] + 1)) for ids in regions],
                                                                  annotated)),
        Misconception("Your Y keeps the ids: Y_k says yes or no, 1 or 0, whichever id of the region the voxel has.",
                      lambda labels, regions, annotated: (_y(labels, regions) * np.asarray(labels), np.array(annotated, int))),
        Misconception("Your Y has the structures as its last axis; here they come first, (K, X, Y, Z).",
                      lambda labels, regions, annotated: (np.moveaxis(_y(labels, regions), 0, -1), np.array(annotated, int))),
        Misconception("Your w repeats itself in every voxel. It is one number a structure, (K,): a data set looks for a "
                      "structure in the whole scan, or not at all.",
                      lambda labels, regions, annotated: (_y(labels, regions), np.ones(np.shape(labels)) * np.array(annotated)[
                          :, None, None, None])),
        Misconception("You give each voxel to the last region that names it, as a softmax would: the tumour is cut out of the "
                      "liver. A tumour of the liver is liver too; regions may overlap.",
                      lambda labels, regions, annotated: (_exclusive(labels, regions), np.array(annotated, int))),
        Misconception("You give each voxel to the first region that names it, as a softmax would: the tumour is lost to the "
                      "liver. It belongs to both; regions may overlap.",
                      lambda labels, regions, annotated: (_exclusive(labels, regions[::-1])[::-1], np.array(annotated, int))),
        Misconception("Your w_k is 1 only where the structure is *present*. Then a prostate that was looked for in a woman "
                      "teaches nothing, and the network never learns to say \"not here\". Absence that was looked for is "
                      "evidence: w_k is what `annotated` says, and nothing else.",
                      lambda labels, regions, annotated: (_y(labels, regions), _filled(_y(labels, regions)))),
        Misconception("Your w is 1 for every structure: \"not annotated\" is taken for \"not there\", and the loss punishes the "
                      "network for finding what nobody drew.",
                      lambda labels, regions, annotated: (_y(labels, regions), np.ones(len(regions)))),
        Misconception("Your w is upside down: 1 means that the data set looked for the structure, so that its mask may be "
                      "believed.",
                      lambda labels, regions, annotated: (_y(labels, regions), 1 - np.array(annotated, int))),
        Misconception("You empty Y_k where w_k is 0. A masked loss would never notice, but then Y says \"not there\", which "
                      "nobody knows. Y says what the label map holds, w says whether to believe it: fill Y from the labels "
                      "alone.",
                      lambda labels, regions, annotated: _only_annotated(labels, regions, annotated, 0)),
        Misconception("You mark in Y what is not annotated with -1, as several published codes do. Here w alone says so: a mark "
                      "inside Y gets lost (as uint8 it is 255) or is read as a target. Fill Y from the labels, with 0 and 1.",
                      lambda labels, regions, annotated: _only_annotated(labels, regions, annotated, -1)),
    ),
    invariants=(
        Invariant("Your function should return two things, Y and w: `return Y, w`.",
                  _law_targets(lambda answer, given: isinstance(answer, tuple | list) and len(answer) == 2)),
        Invariant("Your Y has not the shape (K, X, Y, Z): it is one mask per region, each as large as the labels.",
                  _law_targets(lambda answer, given: np.shape(answer[0]) == (len(given[1]), *np.shape(given[0])))),
        Invariant("Your w has not the shape (K,): it is one number per region.",
                  _law_targets(lambda answer, given: np.shape(answer[1]) == (len(given[1]),))),
        Invariant("Your Y or your w holds something else than 0 and 1.",
                  _law_targets(lambda answer, given: all(np.isin(np.asarray(part), (0, 1)).all() for part in answer))),
        Invariant("Your w is not what `annotated` says: 1 where it is True, 0 where it is False, and nothing else decides.",
                  _law_targets(lambda answer, given: np.array_equal(np.asarray(answer[1]), np.array(given[2], int)))),
        Invariant("Your Y is not 1 exactly where the label is one of the ids of the region.",
                  _law_targets(lambda answer, given: np.array_equal(np.asarray(answer[0]), _y(given[0], given[1])))),
    ),
    hints=(
        "Y answers \"what does the label map say?\", w answers \"may I believe it?\". Neither needs the other.",
        "For one region: `np.isin(labels, ids)` is True where the label is any of `ids`. It takes arrays and tensors.",
        "One mask for each region, stacked: `np.stack([... for ids in regions])`. And w is `annotated`, as numbers.",
        "`Y = np.stack([np.isin(np.asarray(labels), ids) for ids in regions]).astype(np.uint8)`; "
        "`w = np.array(annotated, dtype=np.uint8)`; return both.",
    ),
)


# ---- 12-masked: logits, target, w -> one number

LossInput = tuple[Tensor, Tensor, Tensor]
_SIZE = (2, 3, 4)


def _batch(rng: np.random.Generator, w: Sequence[Sequence[int]], unannotated: float = 0, size: float = 3) -> LossInput:
    """Logits of about +-``size``, random targets, and w as given; what is not annotated holds ``unannotated``."""
    mask = torch.tensor(w, dtype=torch.float32)
    shape = (*mask.shape, *_SIZE)
    logits = torch.from_numpy(rng.normal(scale=size, size=shape)).float()
    target = torch.from_numpy(rng.random(shape) < 0.4).float()
    target[mask == 0] = unannotated
    return logits, target, mask


def _one_sample(rng: np.random.Generator) -> LossInput:
    """Logits from 0 to 1, so that they can be taken for probabilities: who forgets the sigmoid gets a number, and the message."""
    _, target, w = _batch(rng, [[1, 1, 1]])
    return torch.from_numpy(rng.uniform(0.05, 0.95, target.shape)).float(), target, w


def _equal_numbers(rng: np.random.Generator) -> LossInput:
    return _batch(rng, [[1, 1, 1, 0, 0], [0, 1, 1, 1, 0]])


def _different_numbers(rng: np.random.Generator) -> LossInput:
    return _batch(rng, [[1, 0, 0, 0], [1, 1, 0, 1]])


def _empty_class(rng: np.random.Generator) -> LossInput:
    logits, target, w = _different_numbers(rng)
    target[1, 1] = 0
    return logits, target, w


def _marked(rng: np.random.Generator) -> LossInput:
    return _batch(rng, [[1, 1, 0, 0], [0, 0, 1, 1]], unannotated=float(rng.choice([-1, 255])))


def _silent_sample(rng: np.random.Generator) -> LossInput:
    return _batch(rng, [[1, 1, 0], [0, 0, 0], [0, 0, 1]])


def _silent_batch(rng: np.random.Generator) -> LossInput:
    return _batch(rng, [[0, 0, 0], [0, 0, 0]])


def _large_logits(rng: np.random.Generator) -> LossInput:
    logits, target, w = _different_numbers(rng)
    return logits.sign() * 1000, target, w


def _whole_numbers(rng: np.random.Generator) -> LossInput:
    logits, target, w = _batch(rng, [[1, 0, 0], [0, 1, 1]], unannotated=255)
    return logits, target.to(torch.uint8), w.to(torch.uint8)


def _bce(logits: Tensor, target: Tensor) -> Tensor:
    """(B, K), mean over voxels."""
    return F.binary_cross_entropy_with_logits(logits, target.float(), reduction="none").flatten(2).mean(2)


def _slides(costs: Tensor, w: Tensor) -> Tensor:
    """The slides' mean of costs (B, K), for a learner who got only the costs wrong."""
    known = w.sum(1) > 0
    each = (w * costs).sum(1)[known] / w.sum(1)[known]
    return each.sum() / max(len(each), 1)


def _from_probability(p: Tensor, target: Tensor) -> Tensor:
    """(B, K) from logarithms of probabilities written by hand: infinite or NaN where p is 0, 1 or no probability."""
    return -(target * p.log() + (1 - target) * (1 - p).log()).flatten(2).mean(2)


def _without_sigmoid(z: Tensor, y: Tensor, w: Tensor) -> object:
    """Known by its number where the logits can be probabilities; elsewhere it is nan, as other wrong ideas are: no answer."""
    return _slides(_from_probability(z, y), w) if z.min() > 0 and z.max() < 1 else ()


def _times(w: Tensor, *maps: Tensor) -> list[Tensor]:
    """Maps (B, K, X, Y, Z) times w (B, K)."""
    return [each * w[:, :, None, None, None] for each in maps]


def _by_class_first(costs: Tensor, w: Tensor) -> Tensor:
    known = w.sum(0) > 0
    return ((w * costs).sum(0)[known] / w.sum(0)[known]).mean()


def _present(target: Tensor, w: Tensor) -> Tensor:
    return w * (target.flatten(2) > 0).any(2)


def _gradient(function: Callable, given: LossInput) -> Tensor | None:
    """Gradient of the loss with respect to the logits; None where it is cut off from them."""
    logits = given[0].clone().requires_grad_()
    loss = function(logits, *(part.clone() for part in given[1:]))
    if not isinstance(loss, Tensor) or not loss.requires_grad:
        return None
    return torch.autograd.grad(loss, logits)[0]


def _is_one_number(function: Callable, rng: np.random.Generator) -> bool:
    return np.shape(function(*_equal_numbers(rng))) == ()


def _has_gradient(function: Callable, rng: np.random.Generator) -> bool:
    return _gradient(function, _equal_numbers(rng)) is not None


def _reads_annotated_only(function: Callable, rng: np.random.Generator) -> bool:
    logits, target, w = _different_numbers(rng)
    losses = []
    for content in (0, 1, -1, 255):
        target[w == 0] = content
        losses.append(float(function(logits.clone(), target.clone(), w.clone())))
    return max(losses) - min(losses) < 1e-6


def _leaves_unannotated_alone(function: Callable, rng: np.random.Generator) -> bool:
    given = _different_numbers(rng)
    return not _gradient(function, given)[given[2] == 0].any()


def _wrong_value(function: Callable, given: LossInput) -> bool:
    """Then a law about the gradient of a right value has nothing to say."""
    return not np.isclose(float(function(*given)), float(masked_bce(*given)), rtol=1e-5, atol=1e-5)


def _pushes_as_the_loss(function: Callable, rng: np.random.Generator) -> bool:
    given = _different_numbers(rng)
    return _wrong_value(function, given) or torch.allclose(_gradient(function, given), _gradient(masked_bce, given), atol=1e-6)


def _silent_sample_is_left_alone(function: Callable, rng: np.random.Generator) -> bool:
    given = _silent_sample(rng)
    gradient = _gradient(function, given)
    return _wrong_value(function, given) or bool(gradient.isfinite().all()) and not gradient[1].any()


def _silent_batch_can_go_back(function: Callable, rng: np.random.Generator) -> bool:
    given = _silent_batch(rng)
    gradient = _gradient(function, given)
    return _wrong_value(function, given) or gradient is not None and not gradient.any()


MASKED = Exercise(
    id="12-masked",
    task="`masked_bce(logits, target, w)`: the binary cross-entropy of each sample and class (mean over voxels); its mean over "
         "the annotated classes of each sample; the mean of that over the samples that have any. A batch with nothing "
         "annotated costs 0.",
    reference=masked_bce,
    meets="fmlab.pretraining.masked.masked_bce",
    tolerance=1e-5,  # float32, in whichever order it is summed
    cases=(
        Case("one sample with everything annotated", _one_sample,
             "Logits are numbers before the sigmoid: `F.binary_cross_entropy_with_logits(logits, target, reduction=\"none\")`. "
             "`.flatten(2).mean(2)` leaves (B, K), the shape of w."),
        Case("two samples with as many annotated classes each", _equal_numbers,
             "For each sample: sum w x cost over the classes, divide by how many are annotated; then the mean over samples."),
        Case("two samples with different numbers of annotated classes", _different_numbers,
             "Each sample divides by its own number of annotated classes, `w.sum(1)`, and then counts as one."),
        Case("an annotated structure that is not there", _empty_class,
             "An annotated class without foreground costs what its cross-entropy says, like any other."),
        Case("targets that hold -1 or 255 where nobody looked", _marked, "Where w is 0 the target may hold anything: do not "
                                                                         "read it."),
        Case("a batch with one sample of which nothing is annotated", _silent_sample,
             "Leave that sample out, of the sum and of the number that you divide by."),
        Case("a batch of which nothing is annotated", _silent_batch,
             "There is nothing to learn, so it costs 0: sum over the samples that count, and divide by their number, but at "
             "least by 1."),
        Case("very large logits (+-1000)", _large_logits,
             "`F.binary_cross_entropy_with_logits` never forms the probability, so it stays exact however sure the network is."),
        Case("target and w as whole numbers, as `targets` gives them", _whole_numbers,
             "A cross-entropy wants floating-point targets: `target.float()`."),
    ),
    misconceptions=(
        # the ideas that give nan first: with nothing annotated, many formulas do
        Misconception("Nothing is annotated in the whole batch, and your loss is nan: a mean over no samples is 0/0. It should "
                      "cost 0; sum, and divide by at least 1.",
                      lambda z, y, w: _slides(_bce(z, y), w) / (w.sum() > 0)),
        Misconception("A sample with nothing annotated divides by zero and makes the whole loss nan: one such scan ruins the "
                      "training. Leave these samples out before you divide.",
                      lambda z, y, w: ((w * _bce(z, y)).sum(1) / w.sum(1)).mean()),
        Misconception("You use the logits as if they were probabilities: the sigmoid is forgotten. Take "
                      "`F.binary_cross_entropy_with_logits`, which has it inside.",
                      _without_sigmoid),
        Misconception("The sigmoid comes twice: `binary_cross_entropy_with_logits` has one inside, so give it the logits as "
                      "they are. Two of them keep every probability between 0.5 and 0.73.",
                      lambda z, y, w: _slides(_bce(z.sigmoid(), y), w)),
        Misconception("You add up the voxels; L_SEG is the mean over them. With a sum, a larger patch would count for more.",
                      lambda z, y, w: _slides(_bce(z, y) * y[0, 0].numel(), w)),
        Misconception("You add up the annotated classes and never divide by their number: 1 / sum_k w_nk is missing, so that a "
                      "sample speaks as loudly as it has classes (MultiTalent does that).",
                      lambda z, y, w: (w * _bce(z, y)).sum(1).mean()),
        Misconception("You add up the samples; the task wants their mean, so that the learning rate need not change with the "
                      "batch.",
                      lambda z, y, w: _slides(_bce(z, y), w) * (w.sum(1) > 0).sum()),
        Misconception("w is not used: \"not annotated\" is taken for \"not there\". Every structure that a hospital did not "
                      "draw is trained to be background on its scans. This is the unmasked loss.",
                      lambda z, y, w: _bce(z, y).mean()),
        Misconception("You divide by K, all classes, in place of the annotated ones: a sample with few annotated classes counts "
                      "for less than one with many. Divide by `w.sum(1)`.",
                      lambda z, y, w: (w * _bce(z, y)).mean()),
        Misconception("You mask the logits, not the cost: a logit of 0 is a probability of 0.5, and that costs log 2 = 0.69 "
                      "whatever the target says. Multiply the cost by w.",
                      lambda z, y, w: _bce(*_times(w, z, y)).mean()),
        Misconception("You mask the logits, not the cost, and then divide by the annotated classes: each masked logit is 0, a "
                      "probability of 0.5, and still costs log 2 = 0.69. Multiply the cost by w.",
                      lambda z, y, w: (_bce(*_times(w, z, y)).sum(1) / w.sum(1)).mean()),
        Misconception("You average over the samples of each class first, then over the classes. That is DoDNet's form: there "
                      "each class has the same say, here each sample has.",
                      lambda z, y, w: _by_class_first(_bce(z, y), w)),
        Misconception("The right idea, and another paper's average: this is the mean over all annotated pairs at once, "
                      "CLIP-driven's form. A sample with many annotated classes weighs more there; the slides average within "
                      "each sample first.",
                      lambda z, y, w: (w * _bce(z, y)).sum() / w.sum()),
        Misconception("You skip annotated classes without foreground. Absence that was looked for is evidence: it has to cost "
                      "something to see a prostate where there is none. Use w as it is.",
                      lambda z, y, w: _slides(_bce(z, y), _present(y, w))),
        Misconception("A sample with nothing annotated counts as a perfect one with cost 0, so the others count for less. It has "
                      "no say: divide by the number of samples that have something annotated.",
                      lambda z, y, w: ((w * _bce(z, y)).sum(1) / w.sum(1).clamp(min=1)).mean()),
        Misconception("You form the probability and then its logarithm by hand. For logits as large as 1000 it rounds to 0 or "
                      "1, and the logarithm of 0 is infinite: `F.binary_cross_entropy_with_logits` never forms it.",
                      lambda z, y, w: _slides(_from_probability(z.sigmoid(), y), w)),
        Misconception("You form the probability first; for large logits it rounds to 0 or 1, and `F.binary_cross_entropy` cuts "
                      "the cost off at 100. A very wrong network then gets no gradient. Use "
                      "`F.binary_cross_entropy_with_logits`.",
                      lambda z, y, w: _slides(
                          F.binary_cross_entropy(z.sigmoid(), y.float().clamp(0, 1), reduction="none").flatten(2).mean(2), w)),
    ),
    invariants=(
        Invariant("Your loss is not one number: average over voxels, then classes, then samples, until one is left.",
                  _is_one_number),
        Invariant("Your loss cannot train: it is cut off from the logits. Return the tensor itself; `float()`, `.item()`, "
                  "`.detach()` and `torch.tensor(...)` lose the gradient.", _has_gradient),
        Invariant("Your loss changes with the targets of classes that nobody annotated. Where w is 0 the target may hold "
                  "anything, and the loss must not read it.", _reads_annotated_only),
        Invariant("Your loss pushes on logits of classes that nobody annotated: where w is 0 the gradient must be exactly 0.",
                  _leaves_unannotated_alone),
        Invariant("The value of your loss is right, but its gradient is not: a part of it is cut off from the logits.",
                  _pushes_as_the_loss),
        Invariant("The value is right, but the gradient of a sample with nothing annotated is nan: a 0/0 that `where`, "
                  "`nanmean` or `nan_to_num` hides on the way forward comes back on the way backward. Do not divide by zero in "
                  "the first place.",
                  _silent_sample_is_left_alone),
        Invariant("A batch with nothing annotated costs 0, but your 0 is cut off from the logits, so `backward` stops the "
                  "training. Let it come out of the computation, as a sum over no samples, or return `0 * logits.sum()`.",
                  _silent_batch_can_go_back),
    ),
    hints=(
        "First the cost of each sample and class, (B, K), the shape of w; then the masking; then the averages, from the inside "
        "out.",
        "`cost = F.binary_cross_entropy_with_logits(logits, target.float(), reduction=\"none\").flatten(2).mean(2)` is (B, K).",
        "`(w * cost).sum(1)` adds up what is annotated in each sample, `w.sum(1)` says how many classes that are: divide one by "
        "the other.",
        "A sample with nothing annotated would be 0/0. Choose the others before you divide: `known = w.sum(1) > 0`.",
        "`each = (w * cost).sum(1)[known] / w.sum(1)[known]`, and the mean that is 0 for no sample is "
        "`each.sum() / max(len(each), 1)`.",
    ),
)

EXERCISES = (TARGETS, MASKED)
