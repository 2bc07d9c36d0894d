"""Exercises of lesson 08: the Fourier code of a click, tokens that read the image, and the logits that go in again."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from fmlab.interactive.mask_prompts import best_logits
from fmlab.interactive.prompt_encoder import FourierPositions
from fmlab.interactive.two_way import Attention
from fmlab.lessons.exercise import Case, Exercise, Invariant, Misconception
from fmlab.lessons.laws import has_shape, unmoved_by

# ---- 08-code: points (N, 2) in pixels (x, y), size (W, H), G (2, F) -> codes (N, 2 F)

Placed = tuple[Tensor, tuple[int, int], Tensor]


def _clicks(rng: np.random.Generator, number: int = 5, size: tuple[int, int] = (60, 40), features: int = 4) -> Placed:
    points = torch.from_numpy(np.floor(rng.uniform(0, size, (number, 2)))).float()
    return points, size, torch.from_numpy(rng.normal(size=(2, features))).float()


def _square(rng: np.random.Generator) -> Placed:
    return _clicks(rng, size=(128, 128))


def _tall(rng: np.random.Generator) -> Placed:
    return _clicks(rng, size=(30, 90), features=6)


def _corners(rng: np.random.Generator) -> Placed:
    _, size, matrix = _clicks(rng)
    return torch.tensor([[0.0, 0.0], [size[0] - 1.0, size[1] - 1.0]]), size, matrix


def _no_click(rng: np.random.Generator) -> Placed:
    return _clicks(rng, number=0)


def _relative(points: Tensor, size: tuple[int, int]) -> Tensor:
    return (points + 0.5) / torch.tensor(size)


def _angles(c: Tensor, matrix: Tensor) -> Tensor:
    return 2 * math.pi * (2 * c - 1) @ matrix


def _waves(angles: Tensor) -> Tensor:
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def _code(points: Tensor, size: tuple[int, int], matrix: Tensor) -> Tensor:
    """By the package's FourierPositions."""
    positions = FourierPositions(*matrix.shape)
    positions.positional_encoding_gaussian_matrix = matrix
    return positions(_relative(points, size))


def _by_place(change: Callable[[Tensor, tuple[int, int]], Tensor]) -> Callable[..., Tensor]:
    """A wrong idea of c, the place in [0, 1]."""
    return lambda points, size, matrix: _waves(_angles(change(points, size), matrix))


def _by_angle(change: Callable[[Tensor, Tensor], Tensor], waves: Callable[[Tensor], Tensor] = _waves) -> Callable[..., Tensor]:
    """A wrong idea of the angles, from the right c; or of what is made of right ones."""
    return lambda points, size, matrix: waves(change(_relative(points, size), matrix))


def _middle_is_zero(function: Callable, rng: np.random.Generator) -> bool:
    """In the middle of the picture all angles are 0."""
    _, size, matrix = _clicks(rng)
    middle = (torch.tensor(size, dtype=torch.float32) - 1)[None] / 2
    wanted = torch.tensor([0.0, 1.0]).repeat_interleave(matrix.shape[1])[None]
    return torch.allclose(torch.as_tensor(function(middle, size, matrix)), wanted, atol=1e-4)


CODE = Exercise(
    id="08-code",
    task="`code(points, size, G)`: points (N, 2) are clicks (x, y) in pixels of a picture with size (W, H); G (2, F) is the "
         "matrix of random numbers. Return [sin, cos](2 pi (2 c - 1) G), (N, 2 F), of each click's place c in [0, 1].",
    reference=_code,
    meets="fmlab.interactive.prompt_encoder.FourierPositions.forward",
    tolerance=1e-4,
    cases=(
        Case("five clicks on a picture 60 pixels wide and 40 high", _clicks,
             "c = (points + 0.5) / size, angles = 2 pi (2 c - 1) G, then all sines and after them all cosines."),
        Case("a picture higher than wide", _tall, "x goes with the width, y with the height: size is (W, H)."),
        Case("a square picture", _square, "Nothing is special about it; only mistakes with W and H do not show."),
        Case("clicks on the first and on the last pixel", _corners, "Their centres lie half a pixel inside the picture."),
        Case("no click at all", _no_click, "The result is (0, 2 F): let torch work on whole tensors.", draws=1),
    ),
    misconceptions=(
        Misconception("You divide x by the height and y by the width. size is (W, H), in the order of (x, y).",
                      _by_place(lambda points, size: (points + 0.5) / torch.tensor(size[::-1]))),
        Misconception("You exchange x and y. numpy's arrays are [row, column], SAM's clicks are (x, y) = (column, row); they "
                      "come in that order, so leave it.",
                      _by_place(lambda points, size: _relative(points, size).flip(-1))),
        Misconception("You forgot the half pixel. Pixel 0 reaches from 0 to 1, and a click on it means its centre: add 0.5 "
                      "before you divide. (Later a shift of one pixel changes the mask.)",
                      _by_place(lambda points, size: points / torch.tensor(size))),
        Misconception("You add the half after dividing: that moves every click by half a picture. Pixels first: "
                      "(points + 0.5) / size.", _by_place(lambda points, size: points / torch.tensor(size) + 0.5)),
        Misconception("You divide by size - 1, so that the last pixel is at 1. Here the picture's edge is at 1, and the last "
                      "pixel's centre half a pixel before it.",
                      _by_place(lambda points, size: points / (torch.tensor(size) - 1))),
        Misconception("You put the cosines first. The learned weights behind this code expect all sines, then all cosines.",
                      _by_angle(_angles, lambda a: torch.cat([a.cos(), a.sin()], dim=-1))),
        Misconception("You put sine and cosine of each column side by side. The code is all sines, then all cosines.",
                      _by_angle(_angles, lambda a: torch.stack([a.sin(), a.cos()], dim=-1).flatten(-2))),
        Misconception("Your places run from 0 to 1, and they are to run from -1 to 1: 2 c - 1.",
                      _by_angle(lambda c, matrix: 2 * math.pi * c @ matrix)),
        Misconception("You left out 2 pi. The code then turns six times more slowly, and clicks far from each other look alike.",
                      _by_angle(lambda c, matrix: (2 * c - 1) @ matrix)),
        Misconception("You multiply by pi, not by 2 pi.", _by_angle(lambda c, matrix: math.pi * (2 * c - 1) @ matrix)),
        Misconception("You return the angles. The sine and the cosine of them are the code.", _by_angle(_angles, lambda a: a)),
        Misconception("You took the sines alone: half of the code. sin cannot tell an angle from pi minus that angle.",
                      _by_angle(_angles, torch.sin)),
    ),
    invariants=(
        Invariant("Your result has not the shape (N, 2 F): a click is a row, its F sines and then its F cosines.",
                  has_shape(_clicks, 5, 8)),
        Invariant("A click in the very middle of the picture is to have all sines 0 and all cosines 1.", _middle_is_zero),
    ),
    hints=(
        "Three steps: from pixels to c in [0, 1]; from c to angles, (N, F); from angles to sines and cosines.",
        "A pixel's number means its centre: `c = (points + 0.5) / torch.tensor(size)`.",
        "`angles = 2 * torch.pi * (2 * c - 1) @ G` is (N, F).",
        "`return torch.cat([angles.sin(), angles.cos()], dim=-1)`",
    ),
)


# ---- 08-read: tokens (T, C) with places (T, C), image (N, C) with places (N, C) -> tokens that have read the image

Read = tuple[Tensor, Tensor, Tensor, Tensor]


def _scene(rng: np.random.Generator, tokens: int = 3, places: int = 7, channels: int = 5) -> Read:
    def normal(number: int) -> Tensor:
        return torch.from_numpy(rng.normal(size=(number, channels))).float()

    return normal(tokens), normal(tokens), normal(places), normal(places)


def _many_tokens(rng: np.random.Generator) -> Read:
    return _scene(rng, 9, 4)


def _as_many(rng: np.random.Generator) -> Read:
    return _scene(rng, 6, 6, 8)


def _one_place(rng: np.random.Generator) -> Read:
    return _scene(rng, 3, 1)


def _loud(rng: np.random.Generator) -> Read:
    """Products so large that their exponentials overflow where the largest is not taken off first."""
    tokens, token_pe, image, image_pe = _scene(rng)
    return 30 * tokens, token_pe, 30 * image, image_pe


def _read(tokens: Tensor, token_pe: Tensor, image: Tensor, image_pe: Tensor) -> Tensor:
    """By the package's Attention, with one head and projections that change nothing."""
    channels = tokens.shape[1]
    attention = Attention(channels, heads=1).requires_grad_(False)
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        nn.init.eye_(getattr(attention, name).weight)
        nn.init.zeros_(getattr(attention, name).bias)
    return tokens + attention((tokens + token_pe)[None], (image + image_pe)[None], image[None])[0]


def _look(q: Tensor, k: Tensor, v: Tensor, scale: float | None = None, dim: int = -1) -> Tensor:
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    return (scale * q @ k.T).softmax(dim) @ v


def _by_parts(change: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A wrong idea, told in q, k, the tokens and the image."""
    return lambda tokens, token_pe, image, image_pe: change(tokens + token_pe, image + image_pe, tokens, image)


READ = Exercise(
    id="08-read",
    task="`read(tokens, token_pe, image, image_pe)`: T tokens and N places of the image, all of C channels, each with its code. "
         "q = tokens + token_pe, k = image + image_pe, v = image; return tokens + softmax(q k^T / sqrt(C)) v, (T, C).",
    reference=_read,
    meets="fmlab.interactive.two_way.TwoWayBlock.forward",
    tolerance=1e-4,
    cases=(
        Case("three tokens and seven places", _scene, "Weights (T, N), each row of which adds up to 1; then weights @ image."),
        Case("more tokens than places", _many_tokens, "The weights are (T, N), here (9, 4): a row belongs to a token."),
        Case("as many tokens as places", _as_many, "The softmax runs along the places of the image, the last axis."),
        Case("an image of a single place", _one_place, "There is one thing to read, with weight 1."),
        Case("very long vectors", _loud, "`softmax` takes care of large numbers; exp by hand does not."),
    ),
    misconceptions=(
        Misconception("You read the values with their code: v is the image without it. The code says where to look, and must "
                      "not end up in what is seen.", _by_parts(lambda q, k, tokens, image: tokens + _look(q, k, k))),
        Misconception("Your softmax runs over the tokens: they compete for each place. Each token is to share out its "
                      "attention over the places of the image: the last axis of (T, N).",
                      _by_parts(lambda q, k, tokens, image: tokens + _look(q, k, image, dim=0))),
        Misconception("You left out the scale 1/sqrt(C). Products of long vectors are large, the softmax then looks at one place "
                      "alone, and hardly learns.", _by_parts(lambda q, k, tokens, image: tokens + _look(q, k, image, 1.0))),
        Misconception("You divide by C; it is its square root, by which such products grow.",
                      _by_parts(lambda q, k, tokens, image: tokens + _look(q, k, image, 1 / q.shape[-1]))),
        Misconception("You forgot to add the token itself. What it read is added to what it was; else after one look it no "
                      "longer knows what was asked.", _by_parts(lambda q, k, tokens, image: _look(q, k, image))),
        Misconception("You add the token twice.", _by_parts(lambda q, k, tokens, image: 2 * tokens + _look(q, k, image))),
        Misconception("You add q, the token with its code. The code goes into the comparison only; it comes anew at every "
                      "attention.", _by_parts(lambda q, k, tokens, image: q + _look(q, k, image))),
        Misconception("Your tokens ask without their place: q = tokens + token_pe. A click that does not say where it is cannot "
                      "be answered.", _by_parts(lambda q, k, tokens, image: tokens + _look(tokens, k, image))),
        Misconception("Your image has no places: k = image + image_pe. Without them nothing says which of two equal organs was "
                      "clicked on.", _by_parts(lambda q, k, tokens, image: tokens + _look(q, image, image))),
        Misconception("Neither tokens nor image have their places: add token_pe and image_pe before you compare.",
                      _by_parts(lambda q, k, tokens, image: tokens + _look(tokens, image, image))),
        Misconception("You exchanged the roles: here the image reads the tokens. That is the other half of the two-way "
                      "attention; first the tokens read the image.",
                      _by_parts(lambda q, k, tokens, image: image + _look(k, q, tokens))),
        Misconception("You left out the softmax: weights are to be positive and to add up to 1.",
                      _by_parts(lambda q, k, tokens, image: tokens + q @ k.T / q.shape[-1] ** 0.5 @ image)),
        Misconception("You return the weights, which say where each token looks. Read the image with them: weights @ image.",
                      _by_parts(lambda q, k, tokens, image: (q @ k.T / q.shape[-1] ** 0.5).softmax(-1))),
    ),
    invariants=(
        Invariant("Your result has not the shape (T, C) of the tokens.", has_shape(_scene, 3, 5)),
        Invariant("Your result changes with the order in which the image's places come: together with their codes they are a "
                  "set.", unmoved_by(_scene, lambda t, tp, z, zp: (t, tp, z.flip(0), zp.flip(0)), 1e-4)),
    ),
    hints=(
        "q, k and v first. q @ k.T compares each token with each place: (T, N).",
        "Divide by sqrt(C), `C = tokens.shape[1]`; then `.softmax(-1)`: each row adds up to 1.",
        "`weights @ image` is what each token read, (T, C). Add the tokens.",
        "`weights = ((tokens + token_pe) @ (image + image_pe).T / tokens.shape[1] ** 0.5).softmax(-1)`; "
        "`return tokens + weights @ image`",
    ),
)


# ---- 08-again: low (M, h, w) logits, iou (M,) -> the mask prompt (h, w) of the next click

Answered = tuple[Tensor, Tensor]


def _answer(rng: np.random.Generator, masks: int = 3) -> Answered:
    """Logits that are large inside and small outside of boxes of different sizes; an IoU each."""
    low = torch.from_numpy(rng.normal(-3, 1, (masks, 8, 9))).float()
    for mask, size in zip(low, rng.permutation(masks)):
        mask[2 : 4 + size, 2 : 5 + size] += float(rng.uniform(4, 9))
    return low, torch.from_numpy(rng.permutation(np.linspace(0.3, 0.9, masks)) + rng.normal(0, 0.02, masks)).float()


def _raw_iou(rng: np.random.Generator) -> Answered:
    """Predicted IoU comes from a linear layer: it may lie below 0 or above 1."""
    low, iou = _answer(rng)
    return low, 4 * iou - 3


def _one_mask(rng: np.random.Generator) -> Answered:
    return _answer(rng, 1)


def _many(rng: np.random.Generator) -> Answered:
    return _answer(rng, 6)


def _again(low: Tensor, iou: Tensor) -> Tensor:
    return best_logits(low[None], iou[None])[0, 0]


def _chosen(by: Callable[[Tensor, Tensor], int]) -> Callable[[Tensor, Tensor], Tensor]:
    """Logits of another mask than the most trusted one."""
    return lambda low, iou: low[by(low, iou)]


AGAIN = Exercise(
    id="08-again",
    task="`again(low, iou)`: a click was answered by M masks, logits low (M, h, w) and predicted IoU (M,). Return what goes in "
         "with the next click, (h, w): the logits, as they are, of the mask that the model trusts most.",
    reference=_again,
    meets="fmlab.interactive.mask_prompts.best_logits",
    cases=(
        Case("three masks", _answer, "iou.argmax() says which; low[...] are its logits.", draws=15),
        Case("IoU that are no shares, below 0 or above 1", _raw_iou,
             "The largest is still the largest: nothing to clip.", draws=4),
        Case("a single mask", _one_mask, "Then it is that one."),
        Case("six masks", _many, "Take M from the shapes."),
    ),
    misconceptions=(
        Misconception("You feed back the thresholded mask. 0 and 1 as logits mean \"as likely as not\" and \"rather yes\": how "
                      "sure the model was of each pixel is lost, and all of the background with it.",
                      lambda low, iou: (_again(low, iou) > 0).float()),
        Misconception("You feed back probabilities. SAM was trained with raw logits as mask prompt; after a sigmoid all numbers "
                      "are positive, as if everything were inside. (SAM-Med2D, of lesson 09, does take the sigmoid.)",
                      lambda low, iou: _again(low, iou).sigmoid()),
        Misconception("You take the mask that the model trusts least: argmax, not argmin.",
                      _chosen(lambda low, iou: int(iou.argmin()))),
        Misconception("You always take the first mask. Which of the masks is the best differs from click to click; the predicted "
                      "IoU says it.", _chosen(lambda low, iou: 0)),
        Misconception("You always take the last mask; the predicted IoU says which one.", _chosen(lambda low, iou: -1)),
        Misconception("You take the largest mask. Large is not right: the predicted IoU says how good each is.",
                      _chosen(lambda low, iou: int((low > 0).sum((1, 2)).argmax()))),
        Misconception("You average the masks: whole, part and part of a part in one, which is none of them. Choose one.",
                      lambda low, iou: low.mean(0)),
        Misconception("You weigh the masks by their IoU. They are different answers, not noisy copies of one: choose.",
                      lambda low, iou: (iou[:, None, None] * low).sum(0) / iou.sum()),
        Misconception("You take the largest logit at each pixel: the union of all answers. Choose one of them.",
                      lambda low, iou: low.amax(0)),
        Misconception("You return which mask is best; its logits go in.", lambda low, iou: iou.argmax()),
        Misconception("You keep the axis of the masks: (1, h, w). One mask is left, (h, w).",
                      lambda low, iou: _again(low, iou)[None]),
    ),
    invariants=(Invariant("Your result has not the shape (h, w) of one mask.", has_shape(_answer, 8, 9)),),
    hints=(
        "Two questions: which of the masks, and in which form?",
        "Which: the largest predicted IoU, `iou.argmax()`. In which form: as it came, raw logits.",
        "`return low[iou.argmax()]`",
    ),
)

EXERCISES = (CODE, READ, AGAIN)
