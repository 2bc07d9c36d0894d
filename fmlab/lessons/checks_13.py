"""Exercises of lesson 13: the dynamic head for all classes at once, and the controller folded; with frequent wrong ideas."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from fmlab.lessons.exercise import Case, Exercise, Invariant, Misconception
from fmlab.lessons.laws import has_shape
from fmlab.pretraining.dynamic_head import dynamic_head, parameter_count

HeadInput = tuple[Tensor, Tensor]
_SIZE = (3, 4, 5)


# ---- 13-head: F, theta -> logits of all classes

def _map_and_theta(rng: np.random.Generator, b: int = 1, k: int = 3, c: int = 4) -> HeadInput:
    """F (B, C, 3, 4, 5) and theta (B, K, P) with large enough biases that who misplaces them is far off."""
    f = torch.from_numpy(rng.normal(size=(b, c, *_SIZE))).float()
    return f, torch.from_numpy(rng.normal(size=(b, k, parameter_count(c)))).float()


def _one_class(rng: np.random.Generator) -> HeadInput:
    return _map_and_theta(rng, k=1)


def _as_published(rng: np.random.Generator) -> HeadInput:
    return _map_and_theta(rng, k=5, c=8)


def _two_samples(rng: np.random.Generator) -> HeadInput:
    return _map_and_theta(rng, b=2, k=3, c=4)


def _as_many_as_channels(rng: np.random.Generator) -> HeadInput:
    """B = K = C: axes that are mixed up still fit."""
    return _map_and_theta(rng, b=4, k=4, c=4)


Layers = list[tuple[Tensor, Tensor]]


def _sizes(c: int) -> list[int]:
    return [c * c, c * c, c, c, c, 1]


def _layers(theta: Tensor, c: int) -> Layers:
    """[(w, b)] of the three layers, w (B, K, out, in) and b (B, K, out, 1)."""
    w1, w2, w3, b1, b2, b3 = theta.split(_sizes(c), 2)
    return [_layer(w1, b1, c), _layer(w2, b2, c), _layer(w3, b3, c)]


def _interleaved(theta: Tensor, c: int) -> Layers:
    w1, b1, w2, b2, w3, b3 = theta.split([c * c, c, c * c, c, c, 1], 2)
    return [_layer(w1, b1, c), _layer(w2, b2, c), _layer(w3, b3, c)]


def _biases_first(theta: Tensor, c: int) -> Layers:
    b1, b2, b3, w1, w2, w3 = theta.split([c, c, 1, c * c, c * c, c], 2)
    return [_layer(w1, b1, c), _layer(w2, b2, c), _layer(w3, b3, c)]


def _input_by_output(theta: Tensor, c: int) -> Layers:
    first, second, last = _layers(theta, c)
    return [(first[0].transpose(2, 3), first[1]), (second[0].transpose(2, 3), second[1]), last]


def _without_biases(theta: Tensor, c: int) -> Layers:
    return [(w, torch.zeros_like(b)) for w, b in _layers(theta, c)]


def _layer(w: Tensor, b: Tensor, c: int) -> tuple[Tensor, Tensor]:
    return w.unflatten(2, (-1, c)), b[..., None]


def _through(f: Tensor, layers: Layers, between: Callable[[Tensor], Tensor] = torch.relu) -> Tensor:
    """Logits (B, K, X, Y, Z), with this activation after the first and the second layer."""
    (w1, b1), (w2, b2), (w3, b3) = layers
    h = between(w1 @ f.flatten(2)[:, None] + b1)
    h = between(w2 @ h + b2)
    return (w3 @ h + b3)[:, :, 0].unflatten(2, f.shape[2:])


def _head(f: Tensor, theta: Tensor) -> Tensor:
    return _through(f, _layers(theta, f.shape[1]))


def _by_layout(cut: Callable[[Tensor, int], Layers]) -> Callable[[Tensor, Tensor], Tensor]:
    """A wrong idea of where in theta the layers are."""
    return lambda f, theta: _through(f, cut(theta, f.shape[1]))


def _between(activation: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """A wrong idea of what comes between the layers."""
    return lambda f, theta: _through(f, _layers(theta, f.shape[1]), activation)


def _after(change: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """A wrong idea of what comes after the last layer."""
    return lambda f, theta: change(_head(f, theta))


def _of_theta(change: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """A wrong idea of whose theta is whose; the answer keeps the shape."""
    return lambda f, theta: _head(f, change(theta).expand(theta.shape))


def _a_class_alone(function: Callable, rng: np.random.Generator) -> bool:
    """What class 1 gets does not depend on which others are asked for."""
    f, theta = _two_samples(rng)
    together, alone = function(f.clone(), theta.clone()), function(f.clone(), theta[:, 1:2].clone())
    return torch.allclose(together[:, 1:2], alone, atol=1e-4)


def _voxels_alone(function: Callable, rng: np.random.Generator) -> bool:
    """1x1x1: a part of the map gets the logits that it has in the whole."""
    f, theta = _two_samples(rng)
    return torch.allclose(function(f[:, :, :2].clone(), theta.clone()), function(f, theta)[:, :, :2], atol=1e-4)


def _moves(function: Callable, given: HeadInput, which: int) -> bool:
    """Whether the answer's gradient reaches argument ``which``."""
    given = tuple(part.clone().requires_grad_() for part in given)
    logits = function(*given)
    if not isinstance(logits, Tensor) or not logits.requires_grad:
        return False
    return torch.autograd.grad(logits.square().sum(), given[which], allow_unused=True)[0] is not None


HEAD = Exercise(
    id="13-head",
    task="`head(f, theta)`: of the map F (B, C, X, Y, Z) and theta (B, K, P) the logits (B, K, X, Y, Z). theta_k holds the "
         "weights (C, C), (C, C), (1, C) of three 1x1x1 convolutions, each row-major as output by input, and then their biases "
         "C, C, 1; ReLU after the first and the second. The sigma stays outside.",
    reference=dynamic_head,
    meets="fmlab.pretraining.dynamic_head.dynamic_head",
    tolerance=1e-4,  # float32, in whichever order it is summed
    cases=(
        Case("one class of one image", _one_class,
             "Cut theta by `theta.split([c * c, c * c, c, c, c, 1], dim=2)`: three weights, then three biases."),
        Case("three classes of one image", _map_and_theta,
             "F is the same for all classes; `w1 @ f.flatten(2)[:, None]` with w1 (B, K, C, C) is all first layers at once."),
        Case("five classes of eight channels", _as_published, "Take C from the shape of f, and the rest follows."),
        Case("two images", _two_samples, "The controller saw each image: sample n of f belongs to sample n of theta."),
        Case("as many images as classes as channels", _as_many_as_channels,
             "Axes are mixed up somewhere, and only fit because all are 4: (B, K, out, in) @ (B, 1 or K, in, voxels)."),
    ),
    misconceptions=(
        Misconception("You take weights and biases in turn, w1, b1, w2, b2, w3, b3. Nothing stops with an error, since the "
                      "numbers are as many, and yet every layer gets another's. Here all three weights come first, then the "
                      "three biases.", _by_layout(_interleaved)),
        Misconception("You take the biases first. All three weights come first, then the three biases.",
                      _by_layout(_biases_first)),
        Misconception("Your weights lie on their side: each is row-major as *output* by input, so `.reshape(..., C, C)` gives "
                      "w[out, in], and w @ f is the convolution.", _by_layout(_input_by_output)),
        Misconception("You forget the biases, the last 2 C + 1 numbers of theta. Without the last one the head cannot say "
                      "\"rare\", and \"nowhere\" not at all.", _by_layout(_without_biases)),
        Misconception("There is a ReLU after the last layer as well. Then no logit is below 0, no probability below one half, "
                      "and the class is everywhere. ReLU comes *between* layers: two of them.", _after(torch.relu)),
        Misconception("You return probabilities. The sigma stays outside: losses want logits, where a sure network's gradient "
                      "does not vanish by rounding.", _after(torch.sigmoid)),
        Misconception("You return a softmax over the classes. Each class has a head of its own and says yes or no for itself; a "
                      "voxel of a tumour is kidney *and* tumour.", _after(lambda z: z.softmax(1))),
        Misconception("You put sigmoids between the layers. The sigma of the formula is the one outside; between the layers the "
                      "published code has ReLU.", _between(torch.sigmoid)),
        Misconception("There is nothing between your layers, as the formula has it. But three linear layers in a row are one "
                      "linear layer; the published code has a ReLU after the first and the second.", _between(lambda h: h)),
        Misconception("There is a ReLU after the first layer only; there is one after the second as well.",
                      lambda f, theta: _skipping(f, theta, second=True)),
        Misconception("There is a ReLU after the second layer only; there is one after the first as well.",
                      lambda f, theta: _skipping(f, theta, second=False)),
        Misconception("All your classes get the head of class 0. Each row of theta is one class's head: what makes the classes "
                      "different is theta alone.", _of_theta(lambda theta: theta[:, :1])),
        Misconception("You average the heads over the classes, so that all of them say the same. Each row of theta is one "
                      "class's head.", _of_theta(lambda theta: theta.mean(1, keepdim=True))),
        Misconception("You use the heads of the first image for all. theta was made for each image: sample n of f belongs to "
                      "sample n of theta.", _of_theta(lambda theta: theta[:1])),
        Misconception("You keep an axis too many: the third layer has one output, so (B, K, 1, X, Y, Z) should lose its 1.",
                      _after(lambda z: z.unsqueeze(2))),
        Misconception("Your voxels still lie in a row: bring (B, K, X Y Z) back to (B, K, X, Y, Z).",
                      _after(lambda z: z.flatten(2))),
        Misconception("You add up the classes. There is a map of logits for each.", _after(lambda z: z.sum(1))),
    ),
    invariants=(
        Invariant("Your result has not the shape (B, K, X, Y, Z): a map of logits for each class of each image.",
                  has_shape(_two_samples, 2, 3, *_SIZE)),
        Invariant("Your logits of a class change with the other classes that are asked for. Nothing passes between classes: "
                  "whoever asks for two of 32 must get what all 32 would have given.", _a_class_alone),
        Invariant("Your logits of a voxel change with the other voxels. The convolutions are 1x1x1: each voxel is on its own.",
                  _voxels_alone),
        Invariant("Your logits are right, but cut off from theta, so the controller and the texts would never learn. "
                  "`.detach()`, `.data`, numpy and `torch.no_grad` lose the gradient.",
                  lambda function, rng: _moves(function, _two_samples(rng), 1)),
        Invariant("Your logits are right, but cut off from F, so the backbone would never learn. `.detach()`, `.data`, numpy and "
                  "`torch.no_grad` lose the gradient.", lambda function, rng: _moves(function, _two_samples(rng), 0)),
    ),
    hints=(
        "A 1x1x1 convolution is a matrix, out by in, times the channels of each voxel. So put all voxels in a row, (B, C, V).",
        "`theta.split([c * c, c * c, c, c, c, 1], dim=2)` gives w1, w2, w3, b1, b2, b3; `w1.unflatten(2, (c, c))` is "
        "(B, K, C, C).",
        "`@` multiplies the last two axes and repeats the others where they are 1: (B, K, C, C) @ (B, 1, C, V) is (B, K, C, V). "
        "A bias becomes (B, K, C, 1) by `b1[..., None]`.",
        "`h = (w1 @ f.flatten(2)[:, None] + b1[..., None]).relu()`; `h = (w2 @ h + b2[..., None]).relu()`; "
        "`return (w3[:, :, None] @ h + b3[..., None])[:, :, 0].unflatten(2, f.shape[2:])`.",
    ),
)


def _skipping(f: Tensor, theta: Tensor, second: bool) -> Tensor:
    """The head without its second ReLU, or without its first."""
    seen = iter((torch.relu, lambda h: h) if second else (lambda h: h, torch.relu))
    return _through(f, _layers(theta, f.shape[1]), lambda h: next(seen)(h))


# ---- 13-fold: controller weight and bias, texts -> W_f, and a constant for each class

FoldInput = tuple[Tensor, Tensor, Tensor]


def _controller(rng: np.random.Generator, image: int = 6, text: int = 6, numbers: int = 5, classes: int = 4) -> FoldInput:
    """weight (P, A + T), bias (P,), texts (K, T)."""
    shapes = (numbers, image + text), (numbers,), (classes, text)
    return tuple(torch.from_numpy(rng.normal(size=shape)).float() for shape in shapes)


def _more_image(rng: np.random.Generator) -> FoldInput:
    """The image has more channels than the text: a matrix cut in its middle is cut in the wrong place."""
    return _controller(rng, image=8, text=3)


def _single_class(rng: np.random.Generator) -> FoldInput:
    return _controller(rng, classes=1)


def _square(rng: np.random.Generator) -> FoldInput:
    """P = T = K: a matrix on its side still fits."""
    return _controller(rng, image=5, text=5, numbers=5, classes=5)


def _fold(weight: Tensor, bias: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
    cut = weight.shape[1] - texts.shape[1]
    return weight[:, :cut], texts @ weight[:, cut:].T + bias


def _is_theta(function: Callable, rng: np.random.Generator) -> bool:
    """W_f f + c_k is what the controller gives of [f; w_k], for any image."""
    weight, bias, texts = _more_image(rng)
    of_image, of_text = function(weight.clone(), bias.clone(), texts.clone())
    f = torch.from_numpy(rng.normal(size=8)).float()
    whole = torch.cat([f.expand(len(texts), 8), texts], 1) @ weight.T + bias
    return torch.allclose(of_image @ f + of_text, whole, atol=1e-4)


def _is_pair(function: Callable, rng: np.random.Generator) -> bool:
    answer = function(*_more_image(rng))
    return isinstance(answer, tuple | list) and len(answer) == 2


def _texts_learn(function: Callable, rng: np.random.Generator) -> bool:
    weight, bias, texts = (part.requires_grad_() for part in _more_image(rng))
    constants = function(weight, bias, texts)[1]
    return isinstance(constants, Tensor) and constants.requires_grad


FOLD = Exercise(
    id="13-fold",
    task="`fold(weight, bias, texts)`: of the controller's weight (P, A + T), image first, its bias (P,) and the classes' "
         "vectors w_k (K, T) the two parts of theta_k = W_f f + c_k: W_f (P, A), and c (K, P) with c_k = W_w w_k + b.",
    reference=_fold,
    meets="fmlab.pretraining.clip_driven.ClipDriven.theta",
    tolerance=1e-4,
    cases=(
        Case("as many numbers of the image as of the text", _controller,
             "The first A columns of the weight meet f, the last T meet w_k."),
        Case("an image vector longer than the text's", _more_image,
             "T is `texts.shape[1]`; what is left of the weight's columns is the image's."),
        Case("one class", _single_class, "One class gives c (1, P)."),
        Case("sizes that are all the same", _square, "`texts @ W_w.T` is (K, P): one row of constants for each class."),
    ),
    misconceptions=(
        Misconception("You forget the bias. It belongs to neither image nor text, so it can go into the constant: c_k = W_w w_k "
                      "+ b.", lambda weight, bias, texts: (_fold(weight, bias, texts)[0], _fold(weight, 0 * bias, texts)[1])),
        Misconception("You take the text first. The controller reads [f ; w_k], the image first: the *last* T columns meet w_k.",
                      lambda weight, bias, texts: (weight[:, texts.shape[1]:], texts @ weight[:, :texts.shape[1]].T + bias)),
        Misconception("You return the constants first; the order is (W_f, c).",
                      lambda weight, bias, texts: _fold(weight, bias, texts)[::-1]),
        Misconception("Your c is (P, K); here it is a row for each class, (K, P).",
                      lambda weight, bias, texts: (_fold(weight, bias, texts)[0], _fold(weight, bias, texts)[1].T)),
        Misconception("Your W_f is the whole weight. Only its first A columns meet the image; the others are used up in c.",
                      lambda weight, bias, texts: (weight, _fold(weight, bias, texts)[1])),
        Misconception("You cut the weight in its middle. That is right only while image and text have as many numbers; take T "
                      "from the shape of texts.", lambda weight, bias, texts: (
                          weight[:, : weight.shape[1] // 2], texts @ weight[:, weight.shape[1] // 2:].T + bias)),
        Misconception("There is a ReLU on your constants. The controller is one linear layer, and only so can it be taken apart; "
                      "the text's own ReLU came before.",
                      lambda weight, bias, texts: (_fold(weight, bias, texts)[0], _fold(weight, bias, texts)[1].relu())),
        Misconception("You average the classes: all of them get the same constant, and become one class.",
                      lambda weight, bias, texts: (_fold(weight, bias, texts)[0],
                                                   _fold(weight, bias, texts)[1].mean(0, keepdim=True).expand(len(texts), -1))),
        Misconception("You return the constants alone. The image's half is needed too: `return W_f, c`.",
                      lambda weight, bias, texts: _fold(weight, bias, texts)[1]),
    ),
    invariants=(
        Invariant("Your function should return two things, W_f and c: `return W_f, c`.", _is_pair),
        Invariant("Your two halves are not the whole: W_f f + c_k must be what the controller gives of [f ; w_k], for every "
                  "image f.", _is_theta),
        Invariant("Your constants are right, but cut off from weight and texts, which then would never learn. `.detach()`, "
                  "`.data` and numpy lose the gradient.", _texts_learn),
    ),
    hints=(
        "A matrix times two vectors on top of each other is its left half times the one plus its right half times the other.",
        "The right part has as many columns as a text has numbers: `cut = weight.shape[1] - texts.shape[1]`.",
        "All classes at once: `texts @ weight[:, cut:].T` is (K, T) times (T, P). The bias is added to each row.",
        "`return weight[:, :cut], texts @ weight[:, cut:].T + bias`.",
    ),
)


EXERCISES = (HEAD, FOLD)
