"""Exercises of lesson 18: the gated layer, the proximal step, and pruning; with learners' most frequent wrong ideas."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from fmlab.adaptation.arena import Gated, soft_threshold
from fmlab.lessons.exercise import Case, Exercise, Invariant, Misconception

Layer = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]  # x, W0, A, B, v
Pair = tuple[Tensor, Tensor]


def _normal(rng: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(rng.normal(size=shape)).float()


# ---- 18-gated: x, W0, A, B, v -> y, Delta W

def _square(rng: np.random.Generator) -> Layer:
    """d = out = r, so that whatever is multiplied fits, and a wrong idea gives numbers, not an error."""
    return *(_normal(rng, 5, 5) for _ in range(4)), _normal(rng, 5)


def _qkv(rng: np.random.Generator) -> Layer:
    return _normal(rng, 2, 7, 6), _normal(rng, 18, 6), _normal(rng, 4, 6), _normal(rng, 18, 4), _normal(rng, 4)


def _as_it_begins(rng: np.random.Generator) -> Layer:
    x, w0, a, b, v = _qkv(rng)
    return x, w0, a, 0 * b, v


def _gated(x: Tensor, w0: Tensor, a: Tensor, b: Tensor, v: Tensor) -> Pair:
    """As the package has it."""
    layer = Gated(nn.Linear(w0.shape[1], w0.shape[0], bias=False), len(v))
    with torch.no_grad():
        for weight, value in ((layer.base.weight, w0), (layer.A, a), (layer.B, b), (layer.v, v)):
            weight.copy_(value)
        return layer(x), layer.delta()


def _layer_of(delta: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[..., Pair]:
    """The right output with another Delta W, made of A, B and v."""
    return _where_it_fits(lambda x, w0, a, b, v: (x @ (w0 + delta(a, b, v)).T, delta(a, b, v)))


def _changed(change: Callable[[Tensor, Tensor, Tensor, Tensor], Pair]) -> Callable[..., Pair]:
    """Another answer made of x, W0, the right y and the right Delta W."""
    return _where_it_fits(lambda x, w0, a, b, v: change(x, w0, *_gated(x, w0, a, b, v)))


def _where_it_fits(formula: Callable[..., Pair]) -> Callable[..., Pair]:
    """The formula, and no answer where its shapes do not fit: an error there is no sign of this idea more than of another."""
    def tried(*arguments: Tensor) -> Pair:
        try:
            return formula(*arguments)
        except RuntimeError:
            return torch.empty(0), torch.empty(0)
    return tried


def _shut_gates_leave_the_base(function: Callable, rng: np.random.Generator) -> bool:
    x, w0, a, b, v = _qkv(rng)
    y, _ = function(x, w0, a, b, 0 * v)
    return torch.allclose(torch.as_tensor(y), x @ w0.T, atol=1e-5)


GATED = Exercise(
    id="18-gated",
    task="`gated(x, W0, A, B, v)` -> (y, delta): delta = B diag(v) A, of the shape of W0 (out, d), and y = x (W0 + delta)^T. "
         "x: (..., d), A: (r, d), B: (out, r), v: (r,).",
    reference=_gated,
    meets="fmlab.adaptation.arena.Gated",
    tolerance=1e-4,
    cases=(
        Case("square matrices", _square,
             "Multiply in the order of the formula: B (out, r), then diag(v) (r, r), then A (r, d)."),
        Case("tokens (2, 7, 6) and a fused qkv layer", _qkv,
             "The gates belong to the r ranks: `B * v` weighs the columns of B, (out, r), and times A that is (out, d). x may "
             "have any axes before its last one; `x @ W.T` is right for all of them."),
        Case("a layer as it begins, B = 0", _as_it_begins, "Delta W is 0, and y is what the base layer gives."),
    ),
    misconceptions=(
        Misconception("Your gates are missing: B A is LoRA. B diag(v) A weighs each rank by its own v.",
                      _layer_of(lambda a, b, v: b @ a)),
        Misconception("Your gates stand on the wrong side: they weigh the d *inputs*, B A diag(v). A gate belongs to a rank, so "
                      "diag(v) stands between B and A; else closing a gate would switch off a channel of x, and no rank.",
                      _layer_of(lambda a, b, v: (b @ a) * v)),
        Misconception("Your gates stand on the wrong side: they weigh the *outputs*, diag(v) B A. A gate belongs to a rank, so "
                      "diag(v) stands between B and A.",
                      _layer_of(lambda a, b, v: v[:, None] * (b @ a))),
        Misconception("Your gates count twice, once on B and once on A: Delta W then has v squared, and a gate's sign is lost. "
                      "diag(v) stands there once.",
                      _layer_of(lambda a, b, v: (b * v) @ (v[:, None] * a))),
        Misconception("You take the size of the gates and lose their sign. They begin as U(-1, 1), and a negative gate is as "
                      "good as a positive one.",
                      _layer_of(lambda a, b, v: (b * v.abs()) @ a)),
        Misconception("You divide by the rank, as SoRA and many LoRAs scale (alpha / r). ARENA has no scale: v is the scale.",
                      _layer_of(lambda a, b, v: (b * v) @ a / len(v))),
        Misconception("Your output is the update alone: W0 is frozen, and it is still there. y = x (W0 + delta)^T.",
                      _changed(lambda x, w0, y, update: (x @ update.T, update))),
        Misconception("Your delta contains W0. Delta W is what is *added* to W0, B diag(v) A alone: its rank is at most r, and "
                      "that of W0 + Delta W is anything.",
                      _changed(lambda x, w0, y, update: (y, w0 + update))),
        Misconception("You multiply x by W where it is W^T: a weight has one row an output, (out, d).",
                      _changed(lambda x, w0, y, update: (x @ (w0 + update), update))),
        Misconception("You give back delta first: the order is (y, delta).",
                      _changed(lambda x, w0, y, update: (update, y))),
    ),
    invariants=(
        Invariant("With all gates at 0 your layer is not the base layer.", _shut_gates_leave_the_base),
    ),
    hints=(
        "diag(v) A multiplies row i of A by v_i. B diag(v) multiplies column i of B by v_i. Either will do; not both.",
        "Broadcasting: `B * v` is (out, r) times (r,), which weighs columns; no matrix of zeros is needed.",
        "`delta = (B * v) @ A`, and the answer is `x @ (W0 + delta).T, delta`.",
    ),
)


# ---- 18-threshold: v, move, lr, lam -> v

def _gates(rng: np.random.Generator, lr: float = 0.1, lam: float = 0.5) -> tuple[Tensor, Tensor, float, float]:
    """Gates of both signs, a third of which end within the threshold, and Adam's moves of about lr."""
    v = torch.from_numpy(rng.uniform(-1, 1, 24)).float()
    v[:8] *= lam * lr
    return v, lr * _normal(rng, 24), lr, lam


def _published(rng: np.random.Generator) -> tuple[Tensor, Tensor, float, float]:
    v, move, lr, lam = _gates(rng, lr=1e-3)
    v[8:12] = lam * lr * torch.tensor([0.5, -0.5, 0.9, -0.9]) - move[8:12]
    return v, move, lr, lam


def _no_lambda(rng: np.random.Generator) -> tuple[Tensor, Tensor, float, float]:
    v, move, lr, _ = _gates(rng)
    return v, move, lr, 0.0


def _shut(rng: np.random.Generator) -> tuple[Tensor, Tensor, float, float]:
    """Gates that are closed: some moves are strong enough to open one."""
    _, _, lr, lam = _gates(rng)
    return torch.zeros(6), lr * torch.tensor([0.1, -0.1, 0.49, -0.49, 2.0, -2.0]), lr, lam


def _proximal(v: Tensor, move: Tensor, lr: float, lam: float) -> Tensor:
    return soft_threshold(v + move, lam * lr)


def _hard(v: Tensor, by: float) -> Tensor:
    return torch.where(v.abs() > by, v, torch.zeros_like(v))


def _lands_on_zero(function: Callable, rng: np.random.Generator) -> bool:
    v, move, lr, lam = _published(rng)
    answer = torch.as_tensor(function(v, move, lr, lam))
    return bool((answer == 0).sum() == (_proximal(v, move, lr, lam) == 0).sum())


THRESHOLD = Exercise(
    id="18-threshold",
    task="`step(v, move, lr, lam)` -> v after the step: first the optimiser's move is added, then the proximal step of the l1 "
         "norm, sign(v) max(|v| - lam lr, 0), is made.",
    reference=_proximal,
    meets="fmlab.adaptation.arena.soft_threshold",
    tolerance=1e-7,
    cases=(
        Case("gates and moves of both signs", _gates, "Three lines: add the move; take lam * lr off the size, and no more than "
                                                      "there is; give the sign back."),
        Case("the published rate, 1e-3", _published, "Nothing but the size of lr has changed."),
        Case("lambda = 0", _no_lambda, "Then only the move is left."),
        Case("gates that are closed", _shut, "A move larger than the threshold opens a gate again."),
    ),
    misconceptions=(
        Misconception("The threshold is missing: you make the optimiser's move alone, and no gate will ever be 0.",
                      lambda v, move, lr, lam: v + move),
        Misconception("You threshold *before* the move. Then a gate that was just closed is moved off 0 at once, as Adam's moves "
                      "are never exactly 0. First the move, then the threshold.",
                      lambda v, move, lr, lam: soft_threshold(v, lam * lr) + move),
        Misconception("That is the hard threshold: it sets small gates to 0 and leaves the others whole. The l1 norm takes as "
                      "much off each, large or small: that is why it is called soft.",
                      lambda v, move, lr, lam: _hard(v + move, lam * lr)),
        Misconception("The sign is lost: all your gates come out positive. A gate may be negative; multiply by its sign at the "
                      "end.",
                      lambda v, move, lr, lam: soft_threshold(v + move, lam * lr).abs()),
        Misconception("Negative gates are lost: (v - lam lr) cut off at 0 is right for positive ones only, and closes every "
                      "negative one. Take the threshold off |v|.",
                      lambda v, move, lr, lam: (v + move - lam * lr).clamp(min=0)),
        Misconception("Your threshold is lam, without the rate. A step of 1e-3 against a threshold of 0.5: all gates would be "
                      "closed after two steps. The proximal step of lam |v| for a step of size lr takes off lam lr. (One of "
                      "SoRA's two optimisers leaves the rate out, with a lambda of 3e-4.)",
                      lambda v, move, lr, lam: soft_threshold(v + move, lam)),
        Misconception("Your threshold is lr, without lambda.",
                      lambda v, move, lr, lam: soft_threshold(v + move, lr)),
        Misconception("You multiply the move by the rate. Adam's move contains it already: it is what the optimiser adds to v.",
                      lambda v, move, lr, lam: soft_threshold(v + lr * move, lam * lr)),
        Misconception("You subtract the move. It is what the optimiser *adds* to v, its minus included.",
                      lambda v, move, lr, lam: soft_threshold(v - move, lam * lr)),
        Misconception("That is the *gradient* of lam |v|: the same for large gates, but a small one jumps over 0 to the other "
                      "side, and never rests there. Take off no more than |v|.",
                      lambda v, move, lr, lam: v + move - lam * lr * (v + move).sign()),
        Misconception("Your signs are those of before the move: a gate that the move carried over 0 comes out on the wrong side. "
                      "Take the sign of v + move.",
                      lambda v, move, lr, lam: v.sign() * ((v + move).abs() - lam * lr).clamp(min=0)),
    ),
    invariants=(
        Invariant("Your gates come near 0 and do not land on it: pruning asks for exactly 0.", _lands_on_zero),
    ),
    hints=(
        "Write it in two steps: `u = v + move`, and then the threshold on u alone.",
        "`u.abs() - lam * lr` is the size that is left, and `.clamp(min=0)` takes no more than there is.",
        "`u.sign() * (u.abs() - lam * lr).clamp(min=0)` is the answer.",
    ),
)


# ---- 18-prune: A, B, v -> A of fewer rows, B of fewer columns

def _half_closed(rng: np.random.Generator, d: int = 6, out: int = 18, r: int = 8, left: int | None = None) -> tuple[Tensor, ...]:
    """Gates of both signs, one of them small, of which r - left are 0."""
    v = torch.from_numpy(rng.uniform(0.3, 1, r) * rng.choice([-1, 1], r)).float()
    v[0], v[1] = 1e-3, -0.7  # a small one and a negative one, whatever was drawn
    v[2 + torch.from_numpy(rng.permutation(r - 2))[:r - (r // 2 if left is None else left)]] = 0
    order = torch.from_numpy(rng.permutation(r))
    return _normal(rng, r, d), _normal(rng, out, r), v[order]


def _half_closed_square(rng: np.random.Generator) -> tuple[Tensor, ...]:
    return _half_closed(rng, d=8, out=8)


def _one_left(rng: np.random.Generator) -> tuple[Tensor, ...]:
    a, b, v = _half_closed(rng)
    return a, b, torch.where(torch.arange(8) == int(rng.integers(8)), torch.tensor(-0.4), torch.tensor(0.0))


def _all_open(rng: np.random.Generator) -> tuple[Tensor, ...]:
    return _half_closed(rng, left=8)


def _all_closed(rng: np.random.Generator) -> tuple[Tensor, ...]:
    a, b, v = _half_closed(rng)
    return a, b, 0 * v


def _pruned(a: Tensor, b: Tensor, v: Tensor) -> Pair:
    left = v != 0
    return a[left], b[:, left] * v[left]


def _chosen(keep: Callable[[Tensor], Tensor]) -> Callable[..., Pair]:
    """Folded right, with another choice of ranks."""
    def formula(a: Tensor, b: Tensor, v: Tensor) -> Pair:
        left = keep(v)
        return a[left], b[:, left] * v[left]
    return formula


def _folded(fold: Callable[[Tensor, Tensor, Tensor], Pair]) -> Callable[..., Pair]:
    """The right ranks, folded otherwise."""
    def formula(a: Tensor, b: Tensor, v: Tensor) -> Pair:
        left = v != 0
        return fold(a[left], b[:, left], v[left])
    return formula


def _columns_of_a(a: Tensor, b: Tensor, v: Tensor) -> Pair:
    left = v != 0
    return a[:, left], b[:, left] * v[left]


def _rows_of_both(a: Tensor, b: Tensor, v: Tensor) -> Pair:
    left = v != 0
    return a[left], (b * v)[left]


def _adds_the_same(function: Callable, rng: np.random.Generator) -> bool:
    a, b, v = _half_closed(rng)
    small_a, small_b = function(a, b, v)
    return torch.allclose(torch.as_tensor(small_b) @ torch.as_tensor(small_a), (b * v) @ a, atol=1e-6)


PRUNE = Exercise(
    id="18-prune",
    task="`prune(A, B, v)` -> (A', B'): the ranks whose gate is exactly 0 are taken out, and v is folded into B, so that B' A' = "
         "B diag(v) A with fewer ranks. A: (r, d), B: (out, r), v: (r,).",
    reference=_pruned,
    meets="fmlab.adaptation.arena.prune",
    tolerance=1e-6,
    cases=(
        Case("a square layer whose gates are half closed", _half_closed_square,
             "Rank i is row i of A and column i of B, and both go."),
        Case("a fused qkv layer whose gates are half closed", _half_closed,
             "`left = v != 0` is True for the ranks that stay: `A[left]` are rows, `B[:, left]` columns."),
        Case("a single open gate", _one_left, "A' is (1, d) and B' is (out, 1), still matrices; `squeeze` would lose an axis. "
                                              "A mask, `v != 0`, has no such corner."),
        Case("gates that are all open", _all_open, "Nothing is taken out; v is folded all the same."),
        Case("gates that are all closed", _all_closed, "A' is (0, d) and B' is (out, 0): their product is all 0, as it should "
                                                       "be."),
    ),
    misconceptions=(
        Misconception("You take *columns* out of A. A is (r, d): its rows are the ranks, and its columns are channels of x, none "
                      "of which may be lost.",
                      _columns_of_a),
        Misconception("You take *rows* out of B. B is (out, r): its columns are the ranks, and its rows are outputs, none of "
                      "which may be lost.",
                      _rows_of_both),
        Misconception("You fold v twice, into A and into B: the update then has v squared. Once is enough, into B.",
                      _folded(lambda a, b, v: (v[:, None] * a, b * v))),
        Misconception("You do not fold v: B A without the gates is another update. Multiply each column of B by its gate.",
                      _folded(lambda a, b, v: (a, b))),
        Misconception("You fold v into A. The product is the same, so that is no mistake; here v is to go into B, so that A' is "
                      "a part of A as it was.",
                      _folded(lambda a, b, v: (v[:, None] * a, b))),
        Misconception("You take out small gates, and not only those that are 0. A gate of 0.001 with a large column of B may "
                      "carry much: v and B can trade size, c v and B / c, and the update is the same. Only exactly 0 changes "
                      "nothing.",
                      _chosen(lambda v: v.abs() > 0.05)),
        Misconception("You take out negative gates too: `v > 0`. A gate of -0.7 is open; ask for `v != 0`.",
                      _chosen(lambda v: v > 0)),
        Misconception("You keep the closed ranks and take out the open ones: it is the other way round.",
                      _chosen(lambda v: v == 0)),
        Misconception("You fold v and take nothing out: the update is right, and as large as before.",
                      lambda a, b, v: (a, b * v)),
        Misconception("You give back B first: the order is (A, B).",
                      lambda a, b, v: _pruned(a, b, v)[::-1]),
    ),
    invariants=(
        Invariant("The pruned layer adds something else than the one before: B' A' must be B diag(v) A.", _adds_the_same),
    ),
    hints=(
        "Which ranks stay? `v != 0` says it. What is rank i, in A and in B?",
        "`A[left]` are the rows of A that stay, `B[:, left]` the columns of B.",
        "`left = v != 0`, and the answer is `A[left], B[:, left] * v[left]`.",
    ),
)

EXERCISES = (GATED, THRESHOLD, PRUNE)
