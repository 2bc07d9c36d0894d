"""Exercises of lesson 05: Med3D's loss by branch, and the transfer itself; with learners' most frequent wrong ideas."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fmlab.errors import ModelError
from fmlab.hub.models import PREFIXES, without_prefixes
from fmlab.lessons.exercise import Case, Exercise, Invariant, Misconception
from fmlab.pretraining.transfer import LEAST

# ---- 05-branch: z, labels, datasets, heads -> one number

BranchInput = tuple[Tensor, Tensor, Tensor, list[Tensor]]
_SIZE = (2, 3, 4)


def _batch(rng: np.random.Generator, datasets: list[int], classes: list[int]) -> BranchInput:
    """Features of 5 channels; labels of each sample in the numbering of its own data set."""
    z = torch.from_numpy(rng.normal(size=(len(datasets), 5, *_SIZE))).float()
    labels = torch.stack([torch.from_numpy(rng.integers(classes[d], size=_SIZE)) for d in datasets])
    heads = [torch.from_numpy(rng.normal(size=(k, 5))).float() for k in classes]
    return z, labels, torch.tensor(datasets), heads


def _one_dataset(rng: np.random.Generator) -> BranchInput:
    return _batch(rng, [0], [3])


def _equal_branches(rng: np.random.Generator) -> BranchInput:
    return _batch(rng, [1, 0], [3, 3, 3])


def _unequal_branches(rng: np.random.Generator) -> BranchInput:
    return _batch(rng, [1, 0, 1, 2, 1], [2, 4, 3])


def _unused_branch(rng: np.random.Generator) -> BranchInput:
    return _batch(rng, [2, 2], [3, 2, 5])


def _logits(z: Tensor, head: Tensor) -> Tensor:
    return torch.einsum("kc,bcxyz->bkxyz", head, z)


def _costs(z: Tensor, labels: Tensor, datasets: Tensor, heads: list[Tensor], **how: object) -> list[Tensor]:
    """Cross-entropy of each sample by its own branch."""
    return [F.cross_entropy(_logits(z[n:n + 1], heads[int(d)]), labels[n:n + 1].long(), **how) for n, d in enumerate(datasets)]


def _branch_loss(z: Tensor, labels: Tensor, datasets: Tensor, heads: list[Tensor]) -> Tensor:
    return torch.stack(_costs(z, labels, datasets, heads)).mean()


def _by_dataset_first(z: Tensor, labels: Tensor, datasets: Tensor, heads: list[Tensor]) -> Tensor:
    costs = torch.stack(_costs(z, labels, datasets, heads))
    return torch.stack([costs[datasets == d].mean() for d in datasets.unique()]).mean()


def _as_sent_to(which: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """The loss of who chooses the branches otherwise: which: from the data sets of the samples to the branches taken."""
    return lambda z, labels, datasets, heads: _branch_loss(z, labels, which(datasets), heads)


def _through_all(z: Tensor, labels: Tensor, datasets: Tensor, heads: list[Tensor]) -> Tensor:
    return torch.stack([_branch_loss(z, labels, torch.full_like(datasets, d), heads) for d in range(len(heads))]).mean()


def _one_softmax(z: Tensor, labels: Tensor, datasets: Tensor, heads: list[Tensor]) -> Tensor:
    """All branches' classes exclude each other; labels are moved to where their branch begins."""
    begins = torch.tensor([0, *np.cumsum([len(head) for head in heads])])
    return F.cross_entropy(_logits(z, torch.cat(heads)), labels.long() + begins[datasets][:, None, None, None])


def _sigmoids(z: Tensor, labels: Tensor, datasets: Tensor, heads: list[Tensor]) -> Tensor:
    return torch.stack([F.binary_cross_entropy_with_logits(logits := _logits(z[n:n + 1], heads[int(d)]), F.one_hot(
        labels[n:n + 1].long(), logits.shape[1]).movedim(-1, 1).float()) for n, d in enumerate(datasets)]).mean()


def _twice(z: Tensor, labels: Tensor, datasets: Tensor, heads: list[Tensor]) -> Tensor:
    return torch.stack([F.cross_entropy(_logits(z[n:n + 1], heads[int(d)]).softmax(1), labels[n:n + 1].long())
                        for n, d in enumerate(datasets)]).mean()


def _one_number(function: Callable, rng: np.random.Generator) -> bool:
    return np.shape(function(*_unequal_branches(rng))) == ()


def _gradients(function: Callable, rng: np.random.Generator) -> tuple[Tensor | None, ...] | None:
    """With respect to the features and to each of three heads, of samples of data set 1 alone; None where all is cut off."""
    z, labels, datasets, heads = _batch(rng, [1, 1], [3, 3, 3])
    parts = [part.requires_grad_() for part in (z, *heads)]
    loss = function(parts[0], labels, datasets, parts[1:])
    if not isinstance(loss, Tensor) or not loss.requires_grad:
        return None
    return torch.autograd.grad(loss, parts, allow_unused=True)


def _trains(function: Callable, rng: np.random.Generator) -> bool:
    found = _gradients(function, rng)
    return found is not None and found[0] is not None and found[2] is not None


def _leaves_others_alone(function: Callable, rng: np.random.Generator) -> bool:
    found = _gradients(function, rng)
    return found is None or all(found[k] is None or not found[k].any() for k in (1, 3))


BRANCH = Exercise(
    id="05-branch",
    task="`branch_loss(z, labels, datasets, heads)`: each sample's features z_n go through the head of its own data set only, "
         "`heads[datasets[n]]`; softmax cross-entropy with its labels, the mean over its voxels; then the mean over the samples.",
    reference=_branch_loss,
    meets="fmlab.pretraining.med3d.branch_loss",
    tolerance=1e-5,
    cases=(
        Case("one sample, one data set", _one_dataset,
             "Logits (K, X, Y, Z) are the head (K, C) times the features (C, X, Y, Z): `torch.einsum(\"kc,cxyz->kxyz\", head, "
             "z[n])`."),
        Case("two samples of two data sets", _equal_branches, "The head of sample n is `heads[datasets[n]]`."),
        Case("five samples of data sets with 2, 4 and 3 classes", _unequal_branches,
             "Heads differ in their number of classes, so go through the samples one by one, and take the mean at the end."),
        Case("a batch without a sample of some data sets", _unused_branch, "A branch that no sample belongs to has no say."),
    ),
    misconceptions=(
        Misconception("You add up the samples; take their mean, so that the learning rate need not change with the batch.",
                      lambda *given: sum(_costs(*given))),
        Misconception("You add up the voxels; the loss of a sample is the mean over them.",
                      lambda *given: torch.stack(_costs(*given, reduction="sum")).mean()),
        Misconception("You leave the background out. In its own branch it is a class like another: without it nothing ever says "
                      "\"not here\".", lambda *given: torch.stack(_costs(*given, ignore_index=0)).mean()),
        Misconception("The softmax comes twice: `F.cross_entropy` has one inside, so give it the logits.", _twice),
        Misconception("You take sigmoids. That is a good idea of later systems (lesson 12); Med3D has a softmax in each branch: "
                      "`F.cross_entropy`.", _sigmoids),
        Misconception("You send every sample through the first branch. Label 1 is a liver in one data set and a spleen in the "
                      "next: one branch for both learns \"something\".", _as_sent_to(torch.zeros_like)),
        Misconception("You send the whole batch through the branch of its first sample. A batch may be mixed: each sample has "
                      "its own.", _as_sent_to(lambda datasets: datasets[:1].expand(len(datasets)))),
        Misconception("You send every sample through every branch. A branch of another data set is then told labels in a "
                      "numbering that is not its own: only the sample's own branch may be asked.", _through_all),
        Misconception("You put all branches into one softmax. Then a voxel of data set 1's liver must not be data set 2's liver, "
                      "and each data set pushes down what the others draw. In Med3D each branch has a softmax of its own.",
                      _one_softmax),
        Misconception("You average within each data set first, then over data sets. A sample of a small data set then counts for "
                      "more; here each sample has the same say.", _by_dataset_first),
    ),
    invariants=(
        Invariant("Your loss is not one number: mean over voxels, then over samples, until one is left.", _one_number),
        Invariant("Your loss cannot train: it is cut off from the features or from the head. Return the tensor; `float()`, "
                  "`.item()`, `.detach()` and `torch.tensor(...)` lose the gradient.", _trains),
        Invariant("A branch of another data set gets a gradient: only a sample's own branch may learn from it.",
                  _leaves_others_alone),
    ),
    hints=(
        "One sample at a time: which head is its own, what does that head say, what does it cost? Then the mean.",
        "`head = heads[datasets[n]]` and `logits = torch.einsum(\"kc,cxyz->kxyz\", head, z[n])`.",
        "`F.cross_entropy(logits[None], labels[n][None])` is the mean over the sample's voxels.",
        "Collect the costs in a list; `torch.stack(costs).mean()` keeps their gradient.",
    ),
)


# ---- 05-transfer: state, weights -> the model's tensors, and which of them begin anew

class Tensors(dict):
    """A state_dict, names and tensors, that ``check`` can compare before and after: as an array it is all its numbers."""

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        return np.concatenate([np.zeros(0), *(value.numpy().ravel() for value in self.values())]).astype(dtype or np.float64)


TransferInput = tuple[Tensors, Tensors]
Answer = tuple[list[Tensor], list[bool]]
COUNT = 60  # tensors of the backbone: 58 of them are enough, 56 are not


def _normal(rng: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(rng.normal(size=shape)).float()


def _model(rng: np.random.Generator, classes: int) -> Tensors:
    backbone = {f"backbone.level{n // 2}.{'weight' if n % 2 == 0 else 'bias'}": _normal(rng, 2, 1 + n % 2) for n in range(COUNT)}
    return Tensors(backbone | {"head.weight": _normal(rng, classes, 2), "head.bias": _normal(rng, classes)})


def _pair(rng: np.random.Generator, before: str = "backbone.", classes: int = 4) -> TransferInput:
    """A model of three new classes, and a checkpoint of ``classes`` whose backbone's names begin with ``before``."""
    state, theirs = _model(rng, 3), _model(rng, classes)
    outer = before.removesuffix("backbone.") if "backbone." in before else ""
    return state, Tensors({(before + name.removeprefix("backbone.") if name.startswith("backbone.") else outer + name): value
                           for name, value in theirs.items()})


def _parallel(rng: np.random.Generator) -> TransferInput:
    return _pair(rng, "module.backbone.")


def _bare(rng: np.random.Generator) -> TransferInput:
    return _pair(rng, "")


def _same_head(rng: np.random.Generator) -> TransferInput:
    return _pair(rng, "module.backbone.", classes=3)


def _shuffled(rng: np.random.Generator) -> TransferInput:
    state, weights = _pair(rng)
    return state, Tensors({name: weights[name] for name in rng.permutation(list(weights)).tolist()})


def _misfit(rng: np.random.Generator) -> TransferInput:
    """As the first convolution of a network for another number of channels."""
    state, weights = _pair(rng)
    weights["backbone.level0.weight"] = _normal(rng, 2, 3)
    return state, weights


def _without(count: int) -> Callable[[np.random.Generator], TransferInput]:
    def make(rng: np.random.Generator) -> TransferInput:
        state, weights = _pair(rng)
        for name in rng.choice([name for name in weights if name.startswith("backbone.")], count, replace=False).tolist():
            del weights[name]
        return state, weights
    return make


def _more(rng: np.random.Generator) -> TransferInput:
    """As of a CLIP-driven model: text embedding, controller, and so on."""
    state, weights = _pair(rng, "module.backbone.")
    return state, Tensors({**{f"module.controller.{n}": _normal(rng, 2) for n in range(20)}, **weights})


def _stranger(rng: np.random.Generator) -> TransferInput:
    return _pair(rng, "swin_vit.")


def _transferred(state: Tensors, weights: Tensors, prefixes: tuple[str, ...] = PREFIXES, head: bool = False, shapes: bool = True,
                 share: Callable[[list[bool], list[str], Tensors], float] | None = None, least: float = LEAST) -> Answer:
    """The transfer. prefixes: that names are freed of. head: take it too. shapes: compare them. share: of what arrived."""
    theirs = {without_prefixes(name, prefixes): value for name, value in weights.items()}
    tensors, fresh = [], []
    for name, own in state.items():
        found = theirs.get(without_prefixes(name, prefixes)) if head or name.startswith("backbone.") else None
        fits = found is not None and (not shapes or found.shape == own.shape)
        tensors.append(found if fits else own)
        fresh.append(not fits)
    if (share or _share)(fresh, list(state), weights) < least:
        raise ModelError("Too little of the backbone is in the checkpoint, so nothing was taken; give weights of the same one.")
    return tensors, fresh


def _share(fresh: list[bool], names: list[str], weights: Tensors) -> float:
    backbone = [new for new, name in zip(fresh, names) if name.startswith("backbone.")]
    return backbone.count(False) / len(backbone)


def _by_order(state: Tensors, weights: Tensors) -> Answer:
    found = [(own, other) if name.startswith("backbone.") and own.shape == other.shape else (own, None)
             for (name, own), other in zip(state.items(), weights.values())]
    return [own if other is None else other for own, other in found], [other is None for _, other in found]


def _upside_down(state: Tensors, weights: Tensors) -> Answer:
    tensors, fresh = _transferred(state, weights)
    return tensors, [not new for new in fresh]


def _refuses(make: Callable[[np.random.Generator], TransferInput]) -> Callable[[Callable, np.random.Generator], bool]:
    def holds(function: Callable, rng: np.random.Generator) -> bool:
        try:
            function(*make(rng))
        except ModelError:
            return True
        except Exception:  # whatever else it raises, it is not what the task asks for
            return False
        return False
    return holds


def _law(holds: Callable[[object, TransferInput], bool]) -> Callable[[Callable, np.random.Generator], bool]:
    def tried(function: Callable, rng: np.random.Generator) -> bool:
        given = _pair(rng)
        return holds(function(*given), given)
    return tried


TRANSFER = Exercise(
    id="05-transfer",
    task="`transfer(state, weights)` -> (tensors, fresh), one entry for each name of `state`, in its order: the checkpoint's "
         "tensor where the name begins with \"backbone.\", the checkpoint has it (\"module.\" and \"backbone.\" before a name do "
         "not count) and the shape is the same, else the model's own; fresh says whether it is the model's own. `ModelError` "
         "where less than 95 % of the backbone's tensors arrive.",
    reference=lambda state, weights: _transferred(state, weights),
    meets="fmlab.pretraining.transfer.transfer",
    cases=(
        Case("a checkpoint of the same network with four other classes", _pair,
             "Go through `state.items()`: one tensor and one True or False for each, head included."),
        Case("a checkpoint with \"module.\" before its names", _parallel,
             "Bring both sides to plain names first, without \"module.\" and without \"backbone.\"."),
        Case("a checkpoint of the bare backbone", _bare, "Here the checkpoint has no \"backbone.\" before its names, and the "
                                                         "model has."),
        Case("a checkpoint with as many classes as the model", _same_head,
             "Same shape, other meaning: the head stays the model's own whatever its shape."),
        Case("a checkpoint in another order", _shuffled, "Look tensors up by their names."),
        Case("a checkpoint with one tensor of another shape", _misfit, "That one stays the model's own; 59 of 60 is enough."),
        Case("a checkpoint in which two tensors are missing", _without(2),
             "These stay the model's own; 58 of 60 is enough. `theirs.get(name)` is None where there is nothing."),
        Case("a checkpoint that holds much else", _more, "What the model has no place for is left aside."),
    ),
    misconceptions=(
        # ideas that stop with the same error: whichever goes wrong on the latest case first
        Misconception("You take the share of the *checkpoint's* tensors. It may hold a text branch, heads, an optimiser; what "
                      "counts is how much of the model's backbone is filled.", lambda state, weights: _transferred(
                          state, weights, share=lambda fresh, names, theirs: fresh.count(False) / len(theirs))),
        Misconception("You count the head among what should arrive. It never should; take the share of the backbone's tensors "
                      "alone.", lambda state, weights: _transferred(
                          state, weights, share=lambda fresh, names, theirs: fresh.count(False) / len(fresh))),
        Misconception("You refuse as soon as one tensor does not fit. A first layer for another number of channels is no reason: "
                      "refuse below 95 %.", lambda state, weights: _transferred(state, weights, least=1)),
        Misconception("You refuse the bare backbone: its names lack the \"backbone.\" that the model's have. Take that off on "
                      "both sides.", lambda state, weights: _transferred(state, weights, prefixes=("module.",))),
        Misconception("You return the tensors alone. Without `fresh` nobody can tell what was taken over, and a transfer of "
                      "nothing looks like a good one: `return tensors, fresh`.",
                      lambda state, weights: _transferred(state, weights)[0]),
        Misconception("Your `fresh` is upside down: True is for what begins anew. Who freezes all that is not fresh would freeze "
                      "the random head and train the rest.", _upside_down),
        Misconception("You take the head where its shape happens to fit. As many classes are not the same classes: output 2 was "
                      "a spleen and is to be a sternum. The head begins anew, always.",
                      lambda state, weights: _transferred(state, weights, head=True)),
        Misconception("You take the head too, without looking at its shape: it is of four other classes, and the model has "
                      "three.", lambda state, weights: _transferred(state, weights, head=True, shapes=False)),
        Misconception("You take whatever has the same name and say nothing about the rest, as `load_state_dict(strict=False)` "
                      "does. One \"module.\" before the names, and *nothing* is loaded, in silence: the comparison that follows "
                      "is scratch against scratch.",
                      lambda state, weights: _transferred(state, weights, prefixes=(), head=True, least=0)),
        Misconception("You refuse a checkpoint that fits: its names begin with \"module.\", which DataParallel leaves there. "
                      "Take such prefixes off before you compare.",
                      lambda state, weights: _transferred(state, weights, prefixes=())),
        Misconception("You pair tensors by their order. It is an accident of how the file was written; names say what belongs "
                      "together.", _by_order),
        Misconception("You take a tensor of another shape, which has no place in the model: `load_state_dict` will stop there. "
                      "Compare shapes as well as names.", lambda state, weights: _transferred(state, weights, shapes=False)),
    ),
    invariants=(
        Invariant("Your function should return two things, tensors and fresh.",
                  _law(lambda answer, given: isinstance(answer, tuple | list) and len(answer) == 2)),
        Invariant("Your tensors are a dictionary; give them as a list, in the order of `state`.",
                  _law(lambda answer, given: not isinstance(answer[0], dict))),
        Invariant("Return a tensor for *each* name of the state, also for those that keep their own.",
                  _law(lambda answer, given: len(answer[0]) == len(given[0]))),
        Invariant("`fresh` has one True or False for each name of the state.",
                  _law(lambda answer, given: len(answer[1]) == len(given[0])
                       and all(np.asarray(new).dtype.kind in "biuf" for new in answer[1]))),
        Invariant("A checkpoint whose names all differ is taken without a word, and nothing is loaded. Below 95 % raise a "
                  "`ModelError`.", _refuses(_stranger)),
        Invariant("56 of 60 tensors are less than 95 %, and your function goes on with them: a quiet gap in the backbone. "
                  "Raise a `ModelError`.", _refuses(_without(4))),
    ),
    hints=(
        "Three questions for each name of the model: is it the backbone's? does the checkpoint have it, prefixes aside? is the "
        "shape the same? Three times yes: take it. Else it is fresh.",
        "`def plain(name): return name.removeprefix(\"module.\").removeprefix(\"backbone.\")`, and "
        "`theirs = {plain(name): value for name, value in weights.items()}`.",
        "`found = theirs.get(plain(name)) if name.startswith(\"backbone.\") else None`; "
        "`fits = found is not None and found.shape == own.shape`.",
        "The share: of the names that begin with \"backbone.\", how many are not fresh? Below 0.95: `raise ModelError(\"...\")`.",
    ),
)

EXERCISES = (BRANCH, TRANSFER)
