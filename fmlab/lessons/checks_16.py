"""Exercises of lesson 16: a probe that begins zero-shot, the spatial adapter, LoRA and its merge; with frequent wrong ideas."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from fmlab.adaptation.lora import LoRALinear
from fmlab.adaptation.spatial_adapter import SpatialAdapter
from fmlab.lessons.exercise import Case, Exercise, Invariant, Misconception

ProbeInput = tuple[Tensor, Tensor, Tensor, Tensor]
SpatialInput = tuple[Tensor, Tensor, Tensor]
LoRAInput = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, float]
Both = tuple[Tensor, Tensor]
_SIZE = (3, 4, 5)


def _normal(rng: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(rng.normal(size=shape)).float()


def _reached(function: Callable, given: tuple, which: tuple[int, ...]) -> bool:
    """Whether the gradient of the answer, or of its first part, is more than zero on all these arguments."""
    given = tuple(part.clone().requires_grad_() if n in which else part for n, part in enumerate(given))
    answer = function(*given)
    answer = answer[0] if isinstance(answer, tuple | list) else answer
    if not isinstance(answer, Tensor) or not answer.requires_grad:
        return False
    pushes = torch.autograd.grad(answer.square().sum(), [given[n] for n in which], allow_unused=True)
    return all(push is not None and bool(push.any()) for push in pushes)


# ---- 16-probe: Z, the model's head, which rows -> logits

def _features(rng: np.random.Generator, b: int = 1, c: int = 4, n: int = 7, k: int = 3, size: tuple = _SIZE) -> ProbeInput:
    """Z, a head of n structures, and k of its rows in any order, never the first k in theirs."""
    rows = rng.permutation(n)[:k]
    while (rows == np.arange(k)).any():
        rows = rng.permutation(n)[:k]
    return _normal(rng, b, c, *size), _normal(rng, n, c), 3 * _normal(rng, n), torch.from_numpy(rows)


def _two_cubes(rng: np.random.Generator) -> ProbeInput:
    return _features(rng, b=2, c=12, n=16, k=5)


def _one_organ(rng: np.random.Generator) -> ProbeInput:
    return _features(rng, b=2, k=1)


def _all_alike(rng: np.random.Generator) -> ProbeInput:
    """B = C = K = X = Y = Z: axes that are mixed up still fit."""
    return _features(rng, b=3, c=3, k=3, size=(3, 3, 3))


def _probe(z: Tensor, weight: Tensor, bias: Tensor, rows: Tensor) -> Tensor:
    return F.conv3d(z, weight[rows][..., None, None, None], bias[rows])


def _after(change: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """A wrong idea of what comes after the logits."""
    return lambda *given: change(_probe(*given))


def _probe_voxels_alone(function: Callable, rng: np.random.Generator) -> bool:
    z, weight, bias, rows = _two_cubes(rng)
    part, whole = function(z[..., :3].clone(), weight, bias, rows), function(z, weight, bias, rows)
    return torch.allclose(part, whole[..., :3], atol=1e-4)


def _probe_says_it_again(function: Callable, rng: np.random.Generator) -> bool:
    given = _features(rng)
    return torch.equal(function(*given), function(*given))


PROBE = Exercise(
    id="16-probe",
    task="`probe(z, weight, bias, rows)`: of Z (B, C, X, Y, Z) the logits (B, K, X, Y, Z) of a linear probe that begins "
         "zero-shot. weight (N, C) and bias (N,) are the model's own head, rows (K,) says which of its N structures "
         "are wanted, in that order.",
    reference=_probe,
    meets="fmlab.adaptation.heads.head_for",
    tolerance=1e-4,
    cases=(
        Case("one cube and three of seven structures", _features,
             "A 1x1x1 convolution: in each voxel, logit k is the sum over c of weight[rows[k], c] z[c], and bias[rows[k]]."),
        Case("two cubes with as many channels as the course's model", _two_cubes, "Take B, C and K from the shapes."),
        Case("one organ", _one_organ, "One structure is K = 1: the axis stays, (B, 1, X, Y, Z)."),
        Case("as many cubes as channels as structures as voxels", _all_alike,
             "Axes are mixed up somewhere, and only fit as all are 3: `torch.einsum(\"bcxyz,kc->bkxyz\", z, weight[rows])`."),
    ),
    misconceptions=(
        Misconception("You answer with the whole head: N structures, and K were asked for. Take the rows first: `weight[rows]`.",
                      lambda z, weight, bias, rows: _probe(z, weight, bias, torch.arange(len(weight)))),
        Misconception("You take the first K rows of the head. Which row is whose is what `rows` says; with another row the "
                      "\"liver\" begins as a rib, and the zero-shot start is gone.",
                      lambda z, weight, bias, rows: _probe(z, weight, bias, torch.arange(len(rows)))),
        Misconception("You take the right rows in the head's order. They are wanted in the order of `rows`: sorted, the masks of "
                      "two organs change places.",
                      lambda z, weight, bias, rows: _probe(z, weight, bias, rows.sort().values)),
        Misconception("The weights are of the right rows, and the biases of the first ones: `bias[rows]`.",
                      lambda z, weight, bias, rows: F.conv3d(z, weight[rows][..., None, None, None], bias[:len(rows)])),
        Misconception("Your logits lack the bias. It holds how rare a structure is: without it every organ is found too often.",
                      lambda z, weight, bias, rows: F.conv3d(z, weight[rows][..., None, None, None])),
        Misconception("Your probe begins at zero, as a new head would, and says the same in every voxel. On a known organ "
                      "nothing has to be learnt again: copy its row.",
                      lambda z, weight, bias, rows: 0 * _probe(z, weight, bias, rows)),
        Misconception("You give probabilities. The sigma belongs to the loss and to the threshold, which want logits.",
                      _after(torch.sigmoid)),
        Misconception("You give a softmax over the structures. Each structure is asked for itself (a sigmoid, outside of this "
                      "function): a voxel may be none of them.", _after(lambda y: y.softmax(1))),
        Misconception("You give masks. A mask has no gradient: return the logits.", _after(lambda y: y > 0)),
        Misconception("The structures are on the last axis; they come second, (B, K, X, Y, Z).",
                      _after(lambda y: y.movedim(1, -1))),
        Misconception("You average over the voxels: that is a classifier of scans. A segmentation answers in each voxel.",
                      _after(lambda y: y.mean((2, 3, 4)))),
    ),
    invariants=(
        Invariant("Asked twice, your probe says two things: something in it begins at random. A known organ's row is copied.",
                  _probe_says_it_again),
        Invariant("Your probe cannot be trained: no gradient comes to `weight` and `bias`. Leave out `.detach()`, `.data` and "
                  "`no_grad`: here it is theta_c that learns.",
                  lambda function, rng: _reached(function, _two_cubes(rng), (1, 2))),
        Invariant("What a voxel gets depends on its neighbours. A 1x1x1 convolution sees one voxel at a time.",
                  _probe_voxels_alone),
    ),
    hints=(
        "Two steps: the K rows that are wanted, and one small matrix product in each voxel.",
        "`weight[rows]` is (K, C) and `bias[rows]` is (K,), in the order that was asked for.",
        "`torch.einsum(\"bcxyz,kc->bkxyz\", z, weight[rows])` is the product in all voxels; the bias needs three more axes, "
        "`bias[rows][:, None, None, None]`.",
        "Or as the convolution that it is: `F.conv3d(z, weight[rows][..., None, None, None], bias[rows])`.",
    ),
)


# ---- 16-spatial: Z, W1, W2 -> Z + W2 * relu(W1 * Z)

def _kernels(rng: np.random.Generator, b: int = 1, c: int = 3, kernel: int = 3, size: tuple = (5, 6, 7)) -> SpatialInput:
    shape = c, c, kernel, kernel, kernel
    return _normal(rng, b, c, *size), 0.3 * _normal(rng, *shape), 0.3 * _normal(rng, *shape)


def _batch(rng: np.random.Generator) -> SpatialInput:
    return _kernels(rng, b=2, c=4)


def _wide(rng: np.random.Generator) -> SpatialInput:
    return _kernels(rng, kernel=5)


def _one_by_one(rng: np.random.Generator) -> SpatialInput:
    return _kernels(rng, b=2, kernel=1)


def _at_the_start(rng: np.random.Generator) -> SpatialInput:
    z, w1, w2 = _batch(rng)
    return z, w1, torch.zeros_like(w2)


def _spatial(z: Tensor, w1: Tensor, w2: Tensor) -> Tensor:
    return functional_call(SpatialAdapter(z.shape[1], w1.shape[-1]), {"W1": w1, "W2": w2}, (z,))


def _same(z: Tensor, w: Tensor) -> Tensor:
    return F.conv3d(z, w, padding="same")


def _begins_as_the_probe(function: Callable, rng: np.random.Generator) -> bool:
    z, w1, w2 = _at_the_start(rng)
    return torch.equal(function(z.clone(), w1, w2), z)


SPATIAL = Exercise(
    id="16-spatial",
    task="`spatial(z, w1, w2)` -> Z + W2 * relu(W1 * Z), of the shape of z (B, C, X, Y, Z). * is a 3-D convolution that keeps "
         "the size; w1 and w2 are its kernels, (C, C, k, k, k); there are no biases.",
    reference=_spatial,
    meets="fmlab.adaptation.spatial_adapter.SpatialAdapter",
    tolerance=1e-4,
    cases=(
        Case("one cube", _kernels, "`F.conv3d(z, w1, padding=\"same\")`, relu, the same with w2, and z added at the end."),
        Case("two cubes", _batch, "The batch is the first axis of z; F.conv3d takes it as it is."),
        Case("a kernel of 5", _wide, "A padding of 1 keeps the size for a kernel of 3 only; `padding=\"same\"` does for any."),
        Case("a kernel of 1", _one_by_one, "`padding=\"same\"` does for any kernel."),
    ),
    misconceptions=(
        Misconception("You left out Z itself. With W2 = 0, as it begins, the head would be given nothing but zeros: the "
                      "zero-shot model would be gone before the first step.", lambda z, w1, w2: _same(_same(z, w1).relu(), w2)),
        Misconception("There is no relu between. Two convolutions in a row are one convolution, with a larger kernel: the second "
                      "would add numbers and nothing that one could not do.", lambda z, w1, w2: z + _same(_same(z, w1), w2)),
        Misconception("Your relu is after W2. There it can only add, never take away: W2's answer has to keep its sign.",
                      lambda z, w1, w2: z + _same(_same(z, w1), w2).relu()),
        Misconception("Your relu is around everything. With W2 = 0 it would cut off the negative half of Z, which is read.",
                      lambda z, w1, w2: (z + _same(_same(z, w1).relu(), w2)).relu()),
        Misconception("Your relu is before W1: the negative half of Z never reaches the adapter, and between W1 and W2 there is "
                      "nothing left that is not linear.", lambda z, w1, w2: z + _same(_same(z.relu(), w1), w2)),
        Misconception("There are two relus, and the one after W2 is one too many: it can only add.",
                      lambda z, w1, w2: z + _same(_same(z, w1).relu(), w2).relu()),
        Misconception("You add what comes out of W1, not Z. The residual begins at the input: so it is Z at the start.",
                      lambda z, w1, w2: (inside := _same(z, w1).relu()) + _same(inside, w2)),
        Misconception("W1 and W2 have changed places. It is W2, the one that begins at 0, that comes last.",
                      lambda z, w1, w2: z + _same(_same(z, w2).relu(), w1)),
        Misconception("You use W1 twice.", lambda z, w1, w2: z + _same(_same(z, w1).relu(), w1)),
        Misconception("You use leaky relu; here what is below zero becomes zero.",
                      lambda z, w1, w2: z + _same(F.leaky_relu(_same(z, w1)), w2)),
        Misconception("You use GELU, as transformers do; here it is relu.",
                      lambda z, w1, w2: z + _same(F.gelu(_same(z, w1)), w2)),
    ),
    invariants=(
        Invariant("With W2 = 0 the answer has to be Z, to the last bit: so the adapter begins as the probe.",
                  _begins_as_the_probe),
        Invariant("At the start, where W2 = 0, no gradient comes to W2: it cannot begin. Leave out `.detach()` and `no_grad`.",
                  lambda function, rng: _reached(function, _at_the_start(rng), (2,))),
        Invariant("Once W2 is something else than 0, W1 has to get a gradient too. Leave out `.detach()` and `no_grad`.",
                  lambda function, rng: _reached(function, _batch(rng), (1, 2))),
    ),
    hints=(
        "From the inside to the outside: W1 * Z, relu, W2 * that, and last Z.",
        "`F.conv3d(z, w1, padding=\"same\")` is W1 * Z without bias; it takes the kernel as it is.",
        "`inside = F.conv3d(z, w1, padding=\"same\").relu()`",
        "`return z + F.conv3d(inside, w2, padding=\"same\")`",
    ),
)


# ---- 16-lora: x, W0, b0, A, B, scale -> y and the merged weight

def _layer(rng: np.random.Generator, d: int = 6, out: int = 18, r: int = 2, tokens: tuple[int, ...] = (5,)) -> LoRAInput:
    scale = float(rng.choice([0.5, 2.0, 4.0]))
    a, b = 0.5 * _normal(rng, r, d), 0.5 * _normal(rng, out, r)
    return _normal(rng, *tokens, d), _normal(rng, out, d), _normal(rng, out), a, b, scale


def _square(rng: np.random.Generator) -> LoRAInput:
    """d = out = r: who mixes up the order of two matrices is told so, and not stopped by their shapes."""
    return _layer(rng, 4, 4, 4)


def _windows(rng: np.random.Generator) -> LoRAInput:
    return _layer(rng, 12, 36, 3, tokens=(2, 8))


def _rank_one(rng: np.random.Generator) -> LoRAInput:
    return _layer(rng, r=1)


def _lora(x: Tensor, w0: Tensor, b0: Tensor, a: Tensor, b: Tensor, scale: float) -> Both:
    layer = LoRALinear(nn.Linear(w0.shape[1], w0.shape[0]), len(a), scale)
    values = {"base.weight": w0, "base.bias": b0, "A": a, "B": b}
    with torch.no_grad():
        for name, value in values.items():
            layer.get_parameter(name).copy_(value)
    return functional_call(layer, values, (x,)), layer.merged().weight.detach()


def _idea(update: Callable[..., Tensor]) -> Callable[..., Both]:
    """A wrong idea of scale B A, (out, d), in the answer and in the merged weight."""
    def formula(x: Tensor, w0: Tensor, b0: Tensor, a: Tensor, b: Tensor, scale: float) -> Both:
        merged = w0 + update(a, b, scale)
        return F.linear(x, merged, b0), merged
    return formula


def _y_only(change: Callable[..., Tensor]) -> Callable[..., Both]:
    """The merged weight is right, and y is not."""
    return lambda *given: (change(*given), _lora(*given)[1])


def _merged_only(change: Callable[..., Tensor]) -> Callable[..., Both]:
    """y is right, and the merged weight is not."""
    return lambda x, w0, b0, a, b, scale: (_lora(x, w0, b0, a, b, scale)[0], change(w0, a, b, scale))


def _a_pair(function: Callable, rng: np.random.Generator) -> bool:
    answer = function(*_windows(rng))
    return isinstance(answer, tuple | list) and len(answer) == 2


def _begins_as_the_base(function: Callable, rng: np.random.Generator) -> bool:
    x, w0, b0, a, b, scale = _windows(rng)
    y, merged = function(x, w0, b0, a, torch.zeros_like(b), scale)
    return torch.allclose(y, F.linear(x, w0, b0), atol=1e-5) and torch.equal(merged, w0)


def _merged_says_the_same(function: Callable, rng: np.random.Generator) -> bool:
    x, w0, b0, a, b, scale = _windows(rng)
    y, merged = function(x.clone(), w0.clone(), b0, a, b, scale)
    return torch.allclose(F.linear(x, merged, b0), y, atol=1e-3)


LORA = Exercise(
    id="16-lora",
    task="`lora(x, w0, b0, A, B, scale)` -> (y, merged): y = W0 x + b0 + scale B A x for x (..., d), and merged (out, d), the "
         "one weight that does the same. W0: (out, d), b0: (out,), A: (r, d), B: (out, r). On a fused qkv, out is 3 d.",
    reference=_lora,
    meets="fmlab.adaptation.lora.LoRALinear",
    tolerance=1e-4,
    cases=(
        Case("a square layer with as many ranks as features", _square,
             "x goes through A first, and then through B; F.linear(x, A) is x A^T, as PyTorch stores a matrix out by in."),
        Case("a fused qkv layer, rank 2", _layer,
             "x goes through A first, d to r, and then through B, r to out. As a weight that is B @ A, (out, r) (r, d)."),
        Case("windows of tokens", _windows, "x may have any axes before the last: F.linear leaves them as they are."),
        Case("rank 1", _rank_one, "Rank 1 is r = 1: A is (1, d) and B is (out, 1)."),
    ),
    misconceptions=(
        Misconception("A and B are in the other order: x goes through A first, (r, d), and then through B, (out, r). As a weight "
                      "that is B A. (Outside of this square layer their shapes would not even fit.)",
                      _idea(lambda a, b, s: s * a @ b)),
        Misconception("You forgot the scale.", _idea(lambda a, b, s: b @ a)),
        Misconception("You divide the scale by the rank. Hugging Face's `alpha / r` does; here `scale` is the whole factor.",
                      _idea(lambda a, b, s: s / len(a) * b @ a)),
        Misconception("A matrix is stored as out by in: F.linear(x, A) is x A^T. You multiply without transposing.",
                      lambda x, w0, b0, a, b, s: (F.linear(x, w0, b0) + s * x @ a @ b, w0 + s * b @ a)),
        Misconception("Your y is the update alone. W0 is frozen, and it is still there: LoRA adds to what the layer says.",
                      _y_only(lambda x, w0, b0, a, b, s: s * F.linear(F.linear(x, a), b))),
        Misconception("Your y lacks W0's own answer: with B = 0 nothing but b0 would be left of the layer.",
                      _y_only(lambda x, w0, b0, a, b, s: s * F.linear(F.linear(x, a), b) + b0)),
        Misconception("Your y lacks the bias b0. It is frozen like W0, and used like W0.",
                      _y_only(lambda x, w0, b0, a, b, s: F.linear(x, w0 + s * b @ a))),
        Misconception("You add b0 twice: it belongs to the frozen layer, and the update has no bias.",
                      _y_only(lambda x, w0, b0, a, b, s: F.linear(x, w0 + s * b @ a, 2 * b0))),
        Misconception("You scale what the frozen layer says, too. The scale is that of the update alone.",
                      _y_only(lambda x, w0, b0, a, b, s: s * (F.linear(x, w0, b0) + F.linear(F.linear(x, a), b)))),
        Misconception("Your y is that of the frozen layer: the update is missing.",
                      _y_only(lambda x, w0, b0, a, b, s: F.linear(x, w0, b0))),
        Misconception("There is a relu between A and B. That is AdaptFormer's path; here it has to stay linear, or nothing could "
                      "be merged.",
                      _y_only(lambda x, w0, b0, a, b, s: F.linear(x, w0, b0) + s * F.linear(F.linear(x, a).relu(), b))),
        Misconception("Your merged weight lacks W0.", _merged_only(lambda w0, a, b, s: s * b @ a)),
        Misconception("Your merged weight lacks the scale, so that merging changes what the layer says.",
                      _merged_only(lambda w0, a, b, s: w0 + b @ a)),
        Misconception("Your merged weight is W0: nothing was merged.", _merged_only(lambda w0, a, b, s: w0)),
        Misconception("Your merged weight is transposed; a layer's weight is (out, d).",
                      _merged_only(lambda w0, a, b, s: (w0 + s * b @ a).T)),
        Misconception("You give y alone; the merged weight is wanted too: `return y, merged`.", lambda *given: _lora(*given)[0]),
    ),
    invariants=(
        Invariant("Give both, y and the merged weight: `return y, merged`.", _a_pair),
        Invariant("With B = 0 your layer is not the frozen one. LoRA begins as the base model.", _begins_as_the_base),
        Invariant("Your merged weight does not say what y says: `F.linear(x, merged, b0)` has to be y.", _merged_says_the_same),
        Invariant("No gradient comes to A and B through y: they are all that is trained. Leave out `.detach()` and `no_grad`.",
                  lambda function, rng: _reached(function, _windows(rng), (3, 4))),
    ),
    hints=(
        "Two things that are added: what the frozen layer says, and what x becomes on its way through A and B.",
        "The frozen layer is `F.linear(x, w0, b0)`. The way through A and B is F.linear twice, with no bias.",
        "`y = F.linear(x, w0, b0) + scale * F.linear(F.linear(x, A), B)`. Both F.linear are matrices, and so is their product.",
        "`merged = w0 + scale * B @ A`; then `return y, merged`.",
    ),
)

EXERCISES = (PROBE, SPATIAL, LORA)
