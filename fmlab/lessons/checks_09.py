"""Exercises of lesson 09: a box relaxed, an adapter along the slices, and a low-rank change of queries and values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fmlab.lessons.exercise import Case, Exercise, Invariant, Misconception
from fmlab.lessons.laws import has_shape

# ---- 09-relax: box x0 y0 x1 y1, by left top right bottom, size (W, H) -> box

BoxInput = tuple[Tensor, Tensor, tuple[int, int]]
SIZE = (90, 60)


def _box(x: tuple[int, int], y: tuple[int, int], most: int = 9, size: tuple[int, int] = SIZE, half: tuple[int, int] = (5, 5)
         ) -> Callable[..., BoxInput]:
    """A box about a middle within x and y; half: of its sides, at least; each side moves by another of 1 to ``most``."""
    def make(rng: np.random.Generator) -> BoxInput:
        middle = np.array([rng.integers(*x), rng.integers(*y)])
        half_sides = np.array(half) + rng.integers(0, 3, 2)
        by = rng.permutation(np.arange(1, most + 1))[:4]
        box = np.concatenate([middle - half_sides, middle + half_sides])
        return torch.from_numpy(box).float(), torch.from_numpy(by).float(), size
    return make


_INSIDE = _box((25, 65), (25, 35))


def _not_moved(rng: np.random.Generator) -> BoxInput:
    box, by, size = _INSIDE(rng)
    return box, by * 0, size


def _relaxed(box: Tensor, by: Tensor, size: tuple[int, int]) -> Tensor:
    return torch.cat([(box[:2] - by[:2]).clamp(min=0), torch.minimum(box[2:] + by[2:], torch.tensor(size).float())])


def _within(box: Tensor, width: float, height: float) -> Tensor:
    far = torch.tensor([width, height]).float()
    return torch.cat([box[:2].clamp(min=0), torch.minimum(box[2:], far)])


_OUT = torch.tensor([-1.0, -1.0, 1.0, 1.0])

RELAX = Exercise(
    id="09-relax",
    task="`relax(box, by, size)`: each side of the box (x0, y0, x1, y1) moved outward by its own amount, by = (left, top, right, "
         "bottom); no side beyond the picture of size (W, H), whose edges are 0, W and H.",
    reference=_relaxed,
    meets="fmlab.interactive.boxes.relaxed_box",
    cases=(
        Case("a box in the middle of the picture", _INSIDE, "Left and top become smaller numbers, right and bottom larger ones."),
        Case("a box that nearly fills the picture", _box((44, 47), (29, 32), 9, half=(41, 26)),
             "Below 0 there is no picture, and none beyond W and H."),
        Case("a box at the upper left corner", _box((4, 8), (4, 8), 12), "Below 0 there is no picture."),
        Case("a box at the lower right corner", _box((80, 86), (50, 56), 12), "x ends at W, y at H."),
        Case("a box in a tall picture", _box((20, 30), (70, 88), 14, (40, 90)), "x ends at W, y at H, whichever is longer."),
        Case("a box that stays as it is", _not_moved, "By 0: the same box."),
    ),
    misconceptions=(
        Misconception("You add to all four numbers: that moves the box down to the right. Outward is minus for x0 and y0.",
                      lambda box, by, size: _within(box + by, *size)),
        Misconception("You move the sides inward: y runs downward and x to the right, so outward is minus for x0 and y0, plus "
                      "for x1 and y1.", lambda box, by, size: _within(box - _OUT * by, *size)),
        Misconception("Your box leaves the picture. A prompt outside is an error, or worse, a code that the model never met: cut "
                      "it at 0 and at (W, H).", lambda box, by, size: box + _OUT * by),
        Misconception("You cut at 0, and forget the far sides: they end at W and H.",
                      lambda box, by, size: torch.cat([(box[:2] - by[:2]).clamp(min=0), box[2:] + by[2:]])),
        Misconception("You cut the far sides, and forget that the near ones end at 0.",
                      lambda box, by, size: torch.cat([box[:2] - by[:2], torch.minimum(box[2:] + by[2:],
                                                                                       torch.tensor(size).float())])),
        Misconception("You exchange width and height: size is (W, H), in the order of x and y, while an array's shape is (H, W).",
                      lambda box, by, size: _within(box + _OUT * by, *size[::-1])),
        Misconception("You read `by` as (left, right, top, bottom). It goes with the box: left, top, right, bottom.",
                      lambda box, by, size: _within(box + _OUT * by[[0, 2, 1, 3]], *size)),
        Misconception("You move all sides by the same amount. People miss each side differently, and MedSAM draws four numbers.",
                      lambda box, by, size: _within(box + _OUT * by[0], *size)),
        Misconception("You end at the last pixel, W - 1. A side is a line and may lie on the picture's edge, W: so it is in "
                      "MedSAM's code, and so it learned.",
                      lambda box, by, size: _within(box + _OUT * by, size[0] - 1, size[1] - 1)),
    ),
    invariants=(Invariant("A box is four numbers, x0 y0 x1 y1.", has_shape(_INSIDE, 4)),),
    hints=(
        "Near sides (x0, y0) go down and stop at 0; far sides (x1, y1) go up and stop at W and H.",
        "`box[:2] - by[:2]` are the near sides, moved; `.clamp(min=0)` stops them.",
        "`torch.minimum(box[2:] + by[2:], torch.tensor(size))` stops the far ones; `torch.cat` puts both together.",
    ),
)


# ---- 09-slices: x (B S, H, W, C), S, down (D, C), weight (D, D, 3, 1, 1), bias (D,), up (C, D) -> (B S, H, W, C)

Sliced = tuple[Tensor, int, Tensor, Tensor, Tensor, Tensor]


def _tokens(rng: np.random.Generator, patients: int = 2, slices: int = 4, rows: int = 3, columns: int = 5, channels: int = 6,
            between: int = 4) -> Sliced:
    def normal(*shape: int) -> Tensor:
        return torch.from_numpy(rng.normal(size=shape)).float()

    return (normal(patients * slices, rows, columns, channels), slices, normal(between, channels),
            normal(between, between, 3, 1, 1), normal(between), normal(channels, between))


def _one_patient(rng: np.random.Generator) -> Sliced:
    return _tokens(rng, patients=1)


def _cubic(rng: np.random.Generator) -> Sliced:
    """As many patients as slices, rows, columns and channels between: nothing can be told apart by its length."""
    return _tokens(rng, 4, 4, 4, 4, 6, 4)


def _one_slice(rng: np.random.Generator) -> Sliced:
    return _tokens(rng, patients=3, slices=1)


Change = Callable[[Tensor], Tensor]


def _adapter(arranged: Callable[[Tensor, int], Tensor] | None = None, back: Change | None = None,
             kernel: Change = lambda k: k, gelu: Change = F.gelu, residual: bool = True, biased: bool = True
             ) -> Callable[..., Tensor]:
    """The adapter, or one in which a step is done as somebody might think. arranged: tokens (B S, H, W, D) for the convolution;
    back: its result as tokens again; kernel: of which shape."""
    arranged = arranged or (lambda h, s: h.unflatten(0, (-1, s)).movedim(-1, 1))
    back = back or (lambda h: h.movedim(1, -1).flatten(0, 1))

    def formula(x: Tensor, slices: int, down: Tensor, weight: Tensor, bias: Tensor, up: Tensor) -> Tensor:
        h = F.conv3d(arranged(x @ down.T, slices), kernel(weight), bias if biased else None, padding="same")
        change = back(gelu(h)) @ up.T
        return x + change if residual else change

    return formula


_along_slices = _adapter()


def _scrambled(h: Tensor, s: int) -> Tensor:
    n, rows, columns, between = h.shape
    return h.reshape(n // s, between, s, rows, columns)


def _ends_repeated(x: Tensor, slices: int, down: Tensor, weight: Tensor, bias: Tensor, up: Tensor) -> Tensor:
    h = (x @ down.T).unflatten(0, (-1, slices))
    h = torch.cat([h[:, :1], h, h[:, -1:]], dim=1).movedim(-1, 1)
    return x + F.gelu(F.conv3d(h, weight, bias)).movedim(1, -1).flatten(0, 1) @ up.T


def _patients_apart(function: Callable, rng: np.random.Generator) -> bool:
    """A patient's answer stays the same, whoever else is in the batch."""
    x, slices, *rest = _tokens(rng, patients=3)
    together, alone = function(x, slices, *rest), function(x[slices : 2 * slices], slices, *rest)
    return torch.allclose(together[slices : 2 * slices], alone, atol=1e-4)


SLICES = Exercise(
    id="09-slices",
    task="`along_slices(x, slices, down, weight, bias, up)`: tokens x (B S, H, W, C) of B patients, whose S slices follow each "
         "other; down (D, C) to fewer channels, a convolution with weight (D, D, 3, 1, 1) and bias along the slices, zeros "
         "beyond the ends, GELU, up (C, D), and all that added to x.",
    reference=_along_slices,
    meets="fmlab.interactive.ma_sam.SliceBlock.along_slices",
    tolerance=1e-4,
    cases=(
        Case("two patients of four slices", _tokens, "Patients apart, channels second: (B, D, S, H, W) is what conv3d wants."),
        Case("a single patient", _one_patient, "B is 1: (1, D, S, H, W)."),
        Case("as many patients as slices, rows and columns", _cubic, "Follow the axes, not their lengths."),
        Case("stacks of a single slice", _one_slice, "The two neighbours are zeros; the middle of the kernel still works."),
    ),
    misconceptions=(
        Misconception("You convolve down the rows. SAM knows rows and columns already; what it never saw is the slices' axis: "
                      "its place must be the third: (B, D, S, H, W).", _adapter(kernel=lambda k: k.movedim(2, 3))),
        Misconception("You convolve along the columns. The axis that SAM never saw is the slices', the third of (B, D, S, H, W).",
                      _adapter(kernel=lambda k: k.movedim(2, 4))),
        Misconception("You let patients touch: the last slice of one is a neighbour of the first slice of the next. Take them "
                      "apart first: `.unflatten(0, (-1, slices))`.", _adapter(lambda h, s: h[None].movedim(-1, 1))),
        Misconception("You deal the slices out like cards: the first axis is patient by patient, (B S), and not (S B): "
                      "`.unflatten(0, (-1, slices))`.",
                      _adapter(lambda h, s: h.unflatten(0, (s, -1)).permute(1, 4, 0, 2, 3),
                               lambda h: h.permute(2, 0, 3, 4, 1).flatten(0, 1))),
        Misconception("You convolve over patients, not over slices: `.unflatten(0, (-1, slices))` puts patients first, and then "
                      "the slices.", _adapter(lambda h, s: h.unflatten(0, (s, -1)).movedim(-1, 1))),
        Misconception("You moved numbers, not axes: `reshape` to (B, D, S, H, W) reads the same numbers in the same order, and "
                      "channels become slices. Use `movedim` or `permute`.", _adapter(_scrambled)),
        Misconception("You forget the residual: x + ... What the frozen SAM has found is gone, and an adapter that is new, with "
                      "up = 0, gives zeros instead of SAM's own features.", _adapter(residual=False)),
        Misconception("You leave out GELU: then down, convolution and up are one linear map, with less to say.",
                      _adapter(gelu=lambda h: h)),
        Misconception("You take ReLU; MA-SAM has GELU (3DSAM-adapter is the one with ReLU).", _adapter(gelu=F.relu)),
        Misconception("You forget the convolution's bias.", _adapter(biased=False)),
        Misconception("You repeat the first and the last slice beyond the ends. MA-SAM puts zeros there: padding=(1, 0, 0).",
                      _ends_repeated),
    ),
    invariants=(
        Invariant("Your result has not the shape (B S, H, W, C) of x: bring it back with `.movedim(1, -1).flatten(0, 1)`.",
                  has_shape(_tokens, 8, 3, 5, 6)),
        Invariant("A patient's answer changes with who else is in the batch.", _patients_apart),
    ),
    hints=(
        "Five steps: down, take patients apart and put channels second, convolve, GELU, and all the way back; then add to x.",
        "`h = (x @ down.T).unflatten(0, (-1, slices)).movedim(-1, 1)` is (B, D, S, H, W).",
        "`F.conv3d(h, weight, bias, padding=(1, 0, 0))`: a kernel of 3 slices, 1 row, 1 column; zeros beyond the ends.",
        "`return x + F.gelu(h).movedim(1, -1).flatten(0, 1) @ up.T`",
    ),
)


# ---- 09-fact: x (N, C), weight (3 C, C), bias (3 C,), U (r, C), V (C, r), R_q, R_v (r, r), s -> (N, 3 C)

Factored = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, float]


def _factors(rng: np.random.Generator, tokens: int = 5, channels: int = 6, rank: int = 2, scale: float = 0.7) -> Factored:
    def normal(*shape: int) -> Tensor:
        return torch.from_numpy(rng.normal(size=shape)).float()

    return (normal(tokens, channels), normal(3 * channels, channels), normal(3 * channels), normal(rank, channels),
            normal(channels, rank), normal(rank, rank), normal(rank, rank), scale)


def _full_rank(rng: np.random.Generator) -> Factored:
    return _factors(rng, channels=4, rank=4, scale=1.0)


def _new(rng: np.random.Generator) -> Factored:
    """As training begins: V is 0."""
    x, weight, bias, u, v, *rest = _factors(rng)
    return x, weight, bias, u, v * 0, *rest


def _changed(which: Callable[..., tuple]) -> Callable[..., Tensor]:
    """q, k, v with something added. which: given ``change(R)``, R_q and R_v, what is added to q, k and v."""
    def formula(x: Tensor, weight: Tensor, bias: Tensor, u: Tensor, v: Tensor, r_q: Tensor, r_v: Tensor, s: float) -> Tensor:
        three = F.linear(x, weight, bias).chunk(3, dim=-1)
        return torch.cat([a + b for a, b in zip(three, which(lambda r: s * (x @ u.T @ r.T @ v.T), r_q, r_v))], dim=-1)
    return formula


_factored = _changed(lambda change, r_q, r_v: (change(r_q), 0, change(r_v)))


def _same_as_sam(function: Callable, rng: np.random.Generator) -> bool:
    x, weight, bias, *rest = _new(rng)
    return torch.allclose(function(x, weight, bias, *rest), F.linear(x, weight, bias), atol=1e-5)


FACT = Exercise(
    id="09-fact",
    task="`qkv(x, weight, bias, U, V, R_q, R_v, s)`: SAM's queries, keys and values (N, 3 C) of tokens x (N, C), side by side, "
         "with s V R_q U x added to the queries and s V R_v U x to the values; the keys stay SAM's.",
    reference=_factored,
    meets="fmlab.interactive.ma_sam.FactoredQKV",
    tolerance=1e-4,
    cases=(
        Case("tokens of six channels, a change of rank two", _factors, "q, k and v are thirds of `F.linear(x, weight, bias)`."),
        Case("a change of full rank", _full_rank, "Mind the order: U first, then R, then V."),
        Case("the first step of a training, with V = 0", _new, "Nothing is added yet: the result is SAM's."),
    ),
    misconceptions=(
        Misconception("You change the keys as well. FacT as MA-SAM uses it changes queries and values; k stays SAM's own.",
                      _changed(lambda change, r_q, r_v: (change(r_q), change(r_q), change(r_v)))),
        Misconception("You change queries and keys. It is queries and values.",
                      _changed(lambda change, r_q, r_v: (change(r_q), change(r_v), 0))),
        Misconception("You change the queries alone: values have an R of their own.",
                      _changed(lambda change, r_q, r_v: (change(r_q), 0, 0))),
        Misconception("You change the values alone: queries have an R of their own.",
                      _changed(lambda change, r_q, r_v: (0, 0, change(r_v)))),
        Misconception("You give both the same R. U and V are shared by all; the small R is what is a layer's, and a role's, own.",
                      _changed(lambda change, r_q, r_v: (change(r_q), 0, change(r_q)))),
        Misconception("You exchange R_q and R_v.", _changed(lambda change, r_q, r_v: (change(r_v), 0, change(r_q)))),
        Misconception("You multiply by R the wrong way round. R U x with tokens in rows is `x @ U.T @ R.T`.",
                      _changed(lambda change, r_q, r_v: (change(r_q.T), 0, change(r_v.T)))),
        Misconception("You leave R out: V U x is LoRA with one pair of matrices for the whole model, the same change everywhere.",
                      _changed(lambda change, r_q, r_v: (change(torch.eye(len(r_q))), 0, change(torch.eye(len(r_q)))))),
        Misconception("You forget the scale s.",
                      lambda x, weight, bias, u, v, r_q, r_v, s: _factored(x, weight, bias, u, v, r_q, r_v, 1.0)),
        Misconception("You replace queries and values by the change. It is added to what the frozen SAM computes.",
                      lambda x, weight, bias, u, v, r_q, r_v, s: _factored(
                          x, _keys_only(weight), _keys_only(bias), u, v, r_q, r_v, s)),
        Misconception("You return them in the order q, v, k; SAM's attention cuts its input into q, k, v.",
                      lambda *given: torch.cat([_factored(*given).chunk(3, -1)[i] for i in (0, 2, 1)], dim=-1)),
    ),
    invariants=(
        Invariant("Your result has not the shape (N, 3 C): queries, keys and values side by side.", has_shape(_factors, 5, 18)),
        Invariant("With V = 0, as training begins, your result is not SAM's own.", _same_as_sam),
    ),
    hints=(
        "First SAM's own: `q, k, v = F.linear(x, weight, bias).chunk(3, dim=-1)`.",
        "The change: tokens stand in rows, so V R U x is `x @ U.T @ R.T @ V.T`.",
        "`change = lambda R: s * (x @ U.T @ R.T @ V.T)`; `torch.cat([q + change(R_q), k, v + change(R_v)], dim=-1)`.",
    ),
)


def _keys_only(values: Tensor) -> Tensor:
    """A weight (3 C, C) or bias (3 C,) with zeros but for the keys."""
    third = len(values) // 3
    return torch.cat([values[:third] * 0, values[third : 2 * third], values[2 * third :] * 0])


EXERCISES = (RELAX, SLICES, FACT)
