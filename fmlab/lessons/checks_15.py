"""Exercise of lesson 15: the loss of a masked autoencoder; with learners' most frequent wrong ideas."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from fmlab.lessons.exercise import Case, Exercise, Invariant, Misconception
from fmlab.pretraining.mae import hidden_mse, moments

LossInput = tuple[Tensor, Tensor, Tensor]
_SIDES = (8, 12, 16)  # large enough that n or n - 1 under the deviation is one to us


# ---- 15-hidden: prediction, x, visible -> one number

def _cubes(rng: np.random.Generator, count: int = 1, channels: int = 1, size: float = 0.2, middle: float = 0.4) -> LossInput:
    """Cubes about ``middle``, predictions in deviations, and blocks of four voxels of which three in four are hidden."""
    def normal(*shape: int) -> Tensor:
        return torch.from_numpy(rng.normal(size=shape)).float()

    blocks = [side // 4 for side in _SIDES]
    n = int(np.prod(blocks))
    visible = torch.from_numpy(np.stack([rng.permutation(n) >= 3 * n // 4 for _ in range(count)])).view(count, 1, *blocks)
    for axis in (2, 3, 4):
        visible = visible.repeat_interleave(4, axis)
    z = normal(count, channels, *_SIDES) + visible  # what is shown is brighter, so that its mean is another one
    return z + 0.5 * normal(*z.shape), middle + size * z, visible  # a fair guess, so that another z-score costs more


def _two_scans(rng: np.random.Generator) -> LossInput:
    """One dark and flat, one bright and full of contrast."""
    prediction, x, visible = _cubes(rng, count=2, size=1.0, middle=0.0)
    return prediction, torch.stack([0.2 + 0.05 * x[0], 0.7 + 0.2 * x[1]]), visible


def _four_channels(rng: np.random.Generator) -> LossInput:
    """Each channel of each scan has a brightness and a contrast of its own."""
    prediction, x, visible = _cubes(rng, count=2, channels=4, size=1.0, middle=0.0)
    contrast = torch.tensor([[0.05, 0.3, 0.1, 0.2], [0.2, 0.1, 0.4, 0.05]])[:, :, None, None, None]
    brightness = torch.tensor([[0.2, 0.9, 0.4, 0.1], [0.6, 0.5, 0.1, 0.8]])[:, :, None, None, None]
    return prediction, x * contrast + brightness, visible


def _air(rng: np.random.Generator) -> LossInput:
    """The second cube has nothing but air."""
    prediction, x, visible = _two_scans(rng)
    x[1] = 0
    return prediction, x, visible


def _target(x: Tensor) -> Tensor:
    mean, deviation = moments(x)
    return (x - mean) / deviation


def _per_cube(x: Tensor, where: Tensor) -> Tensor:
    """Each cube and channel by the moments of its voxels ``where``."""
    where = where.expand_as(x).float()
    count, axes = where.sum((2, 3, 4), keepdim=True), (2, 3, 4)
    mean = (x * where).sum(axes, keepdim=True) / count
    deviation = ((x - mean).square() * where).sum(axes, keepdim=True).div(count).sqrt()
    return (x - mean) / deviation.clamp(min=1e-6)


def _over(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Moments over these axes."""
    deviation, mean = torch.std_mean(x, axes, correction=0, keepdim=True)
    return (x - mean) / deviation.clamp(min=1e-6)


def _hidden_mean(wrong: Tensor, visible: Tensor) -> Tensor:
    return wrong[(~visible).expand_as(wrong)].mean()


def _idea(target: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """The right loss to another target, which is made of x and visible."""
    return lambda p, x, visible: _hidden_mean((p - target(x, visible)).square(), visible)


def _counted(denominator: Callable[[Tensor, Tensor], Tensor | int]) -> Callable[..., Tensor]:
    """The right sum over another count, which is made of the squared errors and of ``hidden``."""
    def formula(p: Tensor, x: Tensor, visible: Tensor) -> Tensor:
        wrong, hidden = (p - _target(x)).square(), ~visible
        return (wrong * hidden).sum() / denominator(wrong, hidden)
    return formula


def _zero_over_zero(x: Tensor) -> Tensor:
    deviation, mean = torch.std_mean(x, (2, 3, 4), correction=0, keepdim=True)
    return (x - mean) / deviation


def _law(holds: Callable[[Callable, LossInput], bool]) -> Callable[[Callable, np.random.Generator], bool]:
    """A law about the loss of two scans whose prediction wants a gradient."""
    def tried(function: Callable, rng: np.random.Generator) -> bool:
        prediction, x, visible = _two_scans(rng)
        return holds(function, (prediction.requires_grad_(), x, visible))
    return tried


def _push(function: Callable, given: LossInput) -> Tensor | None:
    """The gradient on the prediction; None where there is none, so that the law about having one speaks."""
    loss = function(*given)
    if not isinstance(loss, Tensor) or loss.ndim or not loss.requires_grad:
        return None
    return torch.autograd.grad(loss, given[0])[0]


def _is_one_number(function: Callable, given: LossInput) -> bool:
    return np.shape(torch.as_tensor(function(*given)).detach()) == ()


def _has_gradient(function: Callable, given: LossInput) -> bool:
    return _push(function, given) is not None


def _leaves_visible_alone(function: Callable, given: LossInput) -> bool:
    push = _push(function, given)
    return push is None or not push[given[2].expand_as(push)].any()


def _pushes_as_the_loss(function: Callable, given: LossInput) -> bool:
    right, push = hidden_mse(*given), _push(function, given)
    if push is None or not torch.isclose(function(*given), right, rtol=1e-2):  # a wrong value has other words
        return True
    expected = torch.autograd.grad(right, given[0])[0]
    return torch.allclose(push, expected, rtol=1e-2, atol=1e-2 * float(expected.abs().max()))


HIDDEN = Exercise(
    id="15-hidden",
    task="`hidden_mse(prediction, x, visible)` -> one number: the target is x (B, C, X, Y, Z) less its mean, over its deviation, "
         "of each cube by itself; the squared error of the prediction, averaged over the hidden voxels (visible (B, 1, X, Y, Z) "
         "is False there). A cube of air must not make it nan.",
    reference=hidden_mse,
    meets="fmlab.pretraining.mae.hidden_mse",
    tolerance=2e-3,  # torch.std divides by n - 1 unless told otherwise; here that is no mistake
    cases=(
        Case("a single cube", _cubes, "Target first, then the squared error in each voxel, then the mean over the hidden ones."),
        Case("two scans of four channels", _four_channels,
             "Take mean and deviation over the axes (2, 3, 4), with keepdim=True: (B, C, 1, 1, 1). And `visible` has one "
             "channel, whatever the image has: `(~visible).expand_as(x)` is as large as the image."),
        Case("a cube that holds nothing but air", _air, "Its deviation is 0: `deviation.clamp(min=1e-6)`."),
    ),
    misconceptions=(
        Misconception("You average over all voxels. Three quarters of the answer may be right just by copying what is visible, "
                      "and a network with skips learns exactly that: to copy. Only hidden voxels may count.",
                      lambda p, x, visible: (p - _target(x)).square().mean()),
        Misconception("You average over the *visible* voxels: the network is paid for copying, and for nothing else. `visible` "
                      "is True where the network was shown the image; `~visible` is what it has to guess.",
                      lambda p, x, visible: _hidden_mean((p - _target(x)).square(), ~visible)),
        Misconception("The right sum over the wrong count: `.mean()` of an error that is 0 where visible divides by *all* "
                      "voxels. The loss then grows with the ratio that is hidden, and so does the step. Divide by the hidden "
                      "ones.",
                      _counted(lambda wrong, hidden: wrong.numel())),
        Misconception("The right sum over the wrong count: you divide by the number of visible voxels. Divide by the hidden "
                      "ones.",
                      _counted(lambda wrong, hidden: (~hidden).expand_as(wrong).sum())),
        Misconception("You add up the hidden voxels and do not divide by their number: a larger cube would count for more.",
                      _counted(lambda wrong, hidden: 1)),
        Misconception("You divide by the hidden voxels of one channel, and add up the errors of all: `visible` has a single "
                      "channel. Count `(~visible).expand_as(x)`.",
                      _counted(lambda wrong, hidden: hidden.sum())),
        Misconception("You add up the cubes' means; take their mean, so that the learning rate need not change with the batch.",
                      _counted(lambda wrong, hidden: hidden.expand_as(wrong).sum() / len(wrong))),
        Misconception("Your target is x itself. The prediction is in deviations from the cube's mean, so the target must be too; "
                      "else a bright scan with much contrast costs more than a dark one.",
                      _idea(lambda x, visible: x)),
        Misconception("Your target lacks the division by the deviation: a flat cube then counts for nothing beside one with bone "
                      "and air.",
                      _idea(lambda x, visible: x - moments(x)[0])),
        Misconception("You divide by the variance; it is the deviation, its square root.",
                      _idea(lambda x, visible: (x - moments(x)[0]) / moments(x)[1].square())),
        Misconception("You z-score by the hidden voxels alone. It is the whole cube's mean and deviation: with those, "
                      "`prediction * deviation + mean` is an image again, visible part and all.",
                      _idea(lambda x, visible: _per_cube(x, ~visible))),
        Misconception("You z-score by the visible voxels alone. That is honest, as these are all that the network can see, and "
                      "it is another method: here it is the whole cube's mean and deviation.",
                      _idea(lambda x, visible: _per_cube(x, visible))),
        Misconception("You z-score the whole batch at once: what is asked of a scan then depends on who else is in its batch. "
                      "Each cube has its own mean and deviation.",
                      _idea(lambda x, visible: _over(x, (0, 1, 2, 3, 4)))),
        Misconception("You z-score over the batch, each channel: what is asked of a scan then depends on who else is in its "
                      "batch. The axes are (2, 3, 4), without 0.",
                      _idea(lambda x, visible: _over(x, (0, 2, 3, 4)))),
        Misconception("You z-score all channels of a cube together: the one with more contrast then has all the say. The axes "
                      "are (2, 3, 4), without 1.",
                      _idea(lambda x, visible: _over(x, (1, 2, 3, 4)))),
        Misconception("You z-score the prediction as well. Then the network may answer at any brightness and contrast, and "
                      "`prediction * deviation + mean` is no image.",
                      lambda p, x, visible: _hidden_mean((_target(p) - _target(x)).square(), visible)),
        Misconception("You take the absolute error; here it is squared. (Swin UNETR's repair takes the absolute one.)",
                      lambda p, x, visible: _hidden_mean((p - _target(x)).abs(), visible)),
        Misconception("You take the root of the mean: the loss is the squared error itself.",
                      lambda p, x, visible: _hidden_mean((p - _target(x)).square(), visible).sqrt()),
        Misconception("A cube of air has the deviation 0, and 0/0 is nan: one such cube ruins the training. "
                      "`deviation.clamp(min=1e-6)`.",
                      _idea(lambda x, visible: _zero_over_zero(x))),
    ),
    invariants=(
        Invariant("Your loss is not one number: average over all hidden voxels, of all cubes, until one is left.",
                  _law(_is_one_number)),
        Invariant("Your loss cannot train: it is cut off from the prediction. Return the tensor itself; `float()`, `.item()` and "
                  "`.detach()` lose the gradient.", _law(_has_gradient)),
        Invariant("Your loss pushes on the prediction at visible voxels: there its gradient must be exactly 0.",
                  _law(_leaves_visible_alone)),
        Invariant("The value of your loss is right, but its gradient is not: a part of it is cut off from the prediction.",
                  _law(_pushes_as_the_loss)),
    ),
    hints=(
        "Three steps: the target, z-scored; the squared error, as large as the image; its mean over the hidden voxels.",
        "`deviation, mean = torch.std_mean(x, (2, 3, 4), keepdim=True)` are those of each cube and channel; the target is "
        "`(x - mean) / deviation.clamp(min=1e-6)`.",
        "`hidden = (~visible).expand_as(x)` is True where the network had to guess, and `wrong[hidden]` are the errors there.",
        "`wrong = (prediction - (x - mean) / deviation.clamp(min=1e-6)) ** 2`, and the answer is `wrong[hidden].mean()`.",
    ),
)

EXERCISES = (HIDDEN,)
