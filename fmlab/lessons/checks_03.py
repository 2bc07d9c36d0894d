"""Exercises of lesson 03: a kernel inflated both ways, what convolutions cost in 2-D and 3-D, and a vote of slices along three
axes; with learners' most frequent wrong ideas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fmlab.backbones.counting import Layer, costs
from fmlab.lessons.exercise import Case, Exercise, Invariant, Misconception
from fmlab.pretraining.inflation import inflated
from fmlab.slice_inference import along, voted

# ---- 03-inflate: kernel, depth, how -> (O, I, kx, ky, depth)


def _kernel(how: str, depth: int, sides: tuple[int, int] = (3, 3)) -> Callable[[np.random.Generator], tuple]:
    return lambda rng: (torch.from_numpy(rng.normal(size=(4, 2, *sides))).float(), depth, how)


def _by(share: Callable[[int, str, Tensor], Tensor]) -> Callable[..., Tensor]:
    """The kernel times what each plane gets, made of the depth, of how, and of the planes' places."""
    return lambda kernel, depth, how: kernel[..., None] * share(depth, how, torch.arange(depth)).float()


def _middle(depth: int, place: Tensor) -> Tensor:
    return place == depth // 2


def _first_axis(kernel: Tensor, depth: int, how: str) -> Tensor:
    return inflated(kernel, depth, how, axis=0)


def _adds_up(function: Callable, rng: np.random.Generator) -> bool:
    """For both ways, over the new axis."""
    kernel = torch.from_numpy(rng.normal(size=(3, 2, 3, 5))).float()
    return all(torch.allclose(torch.as_tensor(function(kernel.clone(), 5, how)).sum(-1), kernel, atol=1e-4)
               for how in ("mean", "centre"))


INFLATE = Exercise(
    id="03-inflate",
    task="`inflated(kernel, depth, how)` -> (O, I, kx, ky, depth): a 2-D kernel (O, I, kx, ky) with a new last axis. "
         "how=\"mean\": each plane is the kernel over depth. how=\"centre\": the kernel in the middle plane, 0 elsewhere "
         "(depth is odd).",
    reference=inflated,
    meets="fmlab.pretraining.inflation.inflated",
    tolerance=1e-5,
    cases=(
        Case("a kernel of 3 x 3, three planes, at the centre", _kernel("centre", 3),
             "Begin with zeros of the new shape, and write the kernel into the plane in the middle."),
        Case("a kernel of 3 x 3, three planes by mean", _kernel("mean", 3),
             "Repeat the kernel along a new last axis, and share it out: the planes must add up to the kernel."),
        Case("a kernel of 3 x 5, five planes by mean", _kernel("mean", 5, (3, 5)), "The new axis is the last one."),
        Case("a kernel of 3 x 5, five planes, at the centre", _kernel("centre", 5, (3, 5)), "The middle of five is plane 2."),
        Case("a kernel of 1 x 1 and one plane", _kernel("centre", 1, (1, 1)),
             "With a depth of 1 both ways are the kernel with one more axis.", draws=1),
    ),
    misconceptions=(
        Misconception("You repeat the kernel and do not divide by the depth. On a volume that is the same in all slices each "
                      "layer then answers three times too large, and the next one again.",
                      _by(lambda depth, how, place: torch.ones(depth) if how == "mean" else _middle(depth, place))),
        Misconception("You repeat the kernel both times. \"centre\" has the kernel in one plane alone; and \"mean\" has it over "
                      "the depth in each.",
                      _by(lambda depth, how, place: torch.ones(depth))),
        Misconception("You divide by the depth both times. At the centre stands the kernel itself: it is the only plane that "
                      "says anything.",
                      _by(lambda depth, how, place: (1 if how == "mean" else _middle(depth, place)) * torch.ones(depth) / depth)),
        Misconception("You inflate by mean whatever `how` says.", _by(lambda depth, how, place: torch.ones(depth) / depth)),
        Misconception("You inflate at the centre whatever `how` says.", _by(lambda depth, how, place: _middle(depth, place))),
        Misconception("At the \"centre\" your kernel stands in the first plane. The new network would then read the slice below, "
                      "and each layer one further: its answer is shifted.",
                      _by(lambda depth, how, place: torch.ones(depth) / depth if how == "mean" else place == 0)),
        Misconception("At the \"centre\" your kernel stands in the last plane. The new network would then read the slice above, "
                      "and each layer one further: its answer is shifted.",
                      _by(lambda depth, how, place: torch.ones(depth) / depth if how == "mean" else place == depth - 1)),
        Misconception("You divide by the root of the depth, as for noise, where planes are independent. Neighbouring slices are "
                      "nearly the same, so their answers add up: divide by the depth.",
                      _by(lambda depth, how, place: torch.ones(depth) / depth**0.5 if how == "mean" else _middle(depth, place))),
        Misconception("Your new axis stands before kx and ky. In our volumes (X, Y, Z) an axial slice lies in X and Y, so the "
                      "new axis is the last one. (Many frameworks write (Z, Y, X): there it is the first.)", _first_axis),
    ),
    invariants=(
        Invariant("The planes of your kernel do not add up to the 2-D kernel, in one of the two ways. What lies the same in all "
                  "slices must be answered the same.", _adds_up),
    ),
    hints=(
        "Both ways are the kernel, times one number for each plane. By mean each number is 1 / depth; at the centre one is 1.",
        "`kernel[..., None]` is (O, I, kx, ky, 1); times a tensor (depth,) it is (O, I, kx, ky, depth).",
        "By mean the numbers are `torch.full((depth,), 1 / depth)`; at the centre `torch.zeros(depth)` with a 1 at `depth // 2`.",
        "`share = torch.full((depth,), 1 / depth)`; `if how == \"centre\":` `share = torch.zeros(depth)` and "
        "`share[depth // 2] = 1`; then `return kernel[..., None] * share`.",
    ),
)

# ---- 03-costs: layers, dims, side -> parameters, multiply-adds, values, field


@dataclass(frozen=True)
class _Wrong:
    """A count with one thing wrong; each field is a learner's way, and the defaults are right."""

    places: Callable[[int, int], int] = lambda kernel, dims: kernel**dims
    after: Callable[[int, int], int] = lambda side, stride: -(-side // stride)
    voxels: Callable[[int, int, int], int] = lambda before, after, dims: after**dims
    inputs: Callable[[Layer], int] = lambda layer: layer.inputs
    bias: int = 0
    adds: int = 1
    kept: Callable[[Layer, int, int, int], int] = lambda layer, before, after, dims: layer.outputs * after**dims
    grow: Callable[[int, Layer, int], int] = lambda reach, layer, step: reach + (layer.kernel - 1) * step
    own: bool = False  # the layer's own stride counted before it
    power: Callable[[int, int], int] = lambda reach, dims: reach**dims

    def __call__(self, layers: list, dims: int, side: int) -> tuple[int, int, int, int]:
        parameters = adds = values = 0
        reach = step = 1
        for layer in map(Layer._make, layers):
            before, side = side, self.after(side, layer.stride)
            kernel = self.inputs(layer) * layer.outputs * self.places(layer.kernel, dims)
            parameters += kernel + self.bias * layer.outputs
            adds += self.adds * kernel * self.voxels(before, side, dims)
            values += self.kept(layer, before, side, dims)
            step *= layer.stride if self.own else 1
            reach = self.grow(reach, layer, step)
            step *= 1 if self.own else layer.stride
        return parameters, adds, values, self.power(reach, dims)


def _layers(dims: int, side: int, *layers: tuple[int, int, int, int]) -> Callable[[np.random.Generator], tuple]:
    """Layers of the given (inputs, outputs, kernel, stride), their channels times a random number."""
    def drawn(rng: np.random.Generator) -> tuple:
        times = int(rng.integers(2, 5))
        first, *rest = layers
        return ([(first[0], first[1] * times, *first[2:]), *[(i * times, o * times, k, s) for i, o, k, s in rest]], dims, side)
    return drawn


def _reference_costs(layers: list, dims: int, side: int) -> tuple[int, int, int, int]:
    return tuple(costs([Layer(*layer) for layer in layers], dims, side))


COSTS = Exercise(
    id="03-costs",
    task="`costs(layers, dims, side)` -> (parameters, multiply_adds, values, field), whole numbers, of a stack of convolutions "
         "without bias on a patch of `side` voxels an axis. layers: (inputs, outputs, kernel, stride) each; \"same\" padding, so "
         "a side n becomes ceil(n / stride). values: all numbers that the layers give. field: voxels of the patch that one "
         "last output depends on.",
    reference=_reference_costs,
    meets="fmlab.backbones.counting.costs",
    cases=(
        Case("one layer in 2-D", _layers(2, 16, (2, 4, 3, 1)),
             "Parameters: inputs * outputs * kernel**dims. Each is used once for each output voxel, side**dims of them."),
        Case("one layer in 3-D", _layers(3, 16, (2, 4, 3, 1)),
             "All four numbers have a power of `dims` in them: kernel**dims places, side**dims voxels, reach**dims in the "
             "field."),
        Case("three layers of 3 and 5 places", _layers(3, 12, (1, 4, 3, 1), (4, 4, 5, 1), (4, 8, 1, 1)),
             "Add up over the layers. Each makes the reach larger by kernel - 1."),
        Case("layers with strides", _layers(2, 32, (1, 4, 3, 1), (4, 8, 3, 2), (8, 8, 3, 1), (8, 16, 3, 2)),
             "After a stride of 2 the side is half, and a step to the neighbour is two voxels of the patch: each later kernel "
             "reaches (kernel - 1) * step further, where step is the product of the strides before it."),
        Case("an odd side with strides, in 3-D", _layers(3, 15, (1, 4, 3, 2), (4, 8, 3, 2), (8, 8, 3, 1)),
             "A side n becomes ceil(n / stride), that is -(-n // stride)."),
    ),
    misconceptions=(
        Misconception("You count k * k places of a kernel whatever the dimensions. In 3-D it is k * k * k: `kernel**dims`.",
                      _Wrong(places=lambda kernel, dims: kernel**2)),
        Misconception("You count k places an axis and add the axes up. They multiply: a kernel of 3 x 3 x 3 has 27 numbers, not "
                      "9.",
                      _Wrong(places=lambda kernel, dims: kernel * dims)),
        Misconception("You count multiply-adds on the voxels that go *in*. A convolution is computed once for each voxel that "
                      "comes *out*; with a stride of 2 in 3-D that is an eighth.",
                      _Wrong(voxels=lambda before, after, dims: before**dims)),
        Misconception("You count multiply-adds on the side instead of on all voxels: `side**dims`.",
                      _Wrong(voxels=lambda before, after, dims: after)),
        Misconception("You count two operations for each multiply-add, as FLOPs are often counted. Here a multiply-add is one; "
                      "papers differ in this, so look before you compare two of them.", _Wrong(adds=2)),
        Misconception("You add a bias for each output; these convolutions have none, as a norm with a shift follows.",
                      _Wrong(bias=1)),
        Misconception("You leave the inputs out: each output channel has a kernel for *each* input channel. (Depth-wise "
                      "convolutions do not, and are much cheaper.)", _Wrong(inputs=lambda layer: 1)),
        Misconception("Your values are those of one channel: a layer gives as many maps as it has outputs.",
                      _Wrong(kept=lambda layer, before, after, dims: after**dims)),
        Misconception("Your values are those that go into the layers. What is asked for is what they give.",
                      _Wrong(kept=lambda layer, before, after, dims: layer.inputs * before**dims)),
        Misconception("Your side stays what it was: after a stride s it is ceil(side / s), and all later layers are cheaper.",
                      _Wrong(after=lambda side, stride: side)),
        Misconception("You divide a side and drop the rest. With \"same\" padding an odd side keeps its last voxel: 15 becomes "
                      "8.",
                      _Wrong(after=lambda side, stride: side // stride)),
        Misconception("Your field does not know of strides. After a stride of 2 neighbours lie two voxels of the patch apart, so "
                      "that a later kernel of 3 reaches 4 further, not 2.",
                      _Wrong(grow=lambda reach, layer, step: reach + layer.kernel - 1)),
        Misconception("You count a layer's own stride for its own reach. It reads its *input*, whose voxels are as far apart as "
                      "the strides before it say; its own stride tells for the layers after it.", _Wrong(own=True)),
        Misconception("You multiply the kernels for the field. Two kernels of 3 in a row see 5, not 9: each adds kernel - 1.",
                      _Wrong(grow=lambda reach, layer, step: reach * layer.kernel)),
        Misconception("Your field adds a whole kernel for each layer. The middle of a kernel was in reach already: "
                      "kernel - 1 are new.", _Wrong(grow=lambda reach, layer, step: reach + layer.kernel * step)),
        Misconception("Your field is a length along one axis; asked for is how many voxels: `reach**dims`.",
                      _Wrong(power=lambda reach, dims: reach)),
    ),
    hints=(
        "Go through the layers one after the other, and carry three numbers along: the side, the reach and the step between two "
        "neighbours in voxels of the patch. Reach and step begin at 1.",
        "For each layer: `side = -(-side // stride)`; its kernel has `inputs * outputs * kernel**dims` numbers, each used "
        "`side**dims` times; it gives `outputs * side**dims` values.",
        "The reach grows by `(kernel - 1) * step`, and only then `step *= stride`.",
        "`for inputs, outputs, kernel, stride in layers:` with `side = -(-side // stride)`, "
        "`weights = inputs * outputs * kernel**dims`, `parameters += weights`, `adds += weights * side**dims`, "
        "`values += outputs * side**dims`, `reach += (kernel - 1) * step`, `step *= stride`; and "
        "`return parameters, adds, values, reach**dims`.",
    ),
)

# ---- 03-vote: ask, volume -> labels (X, Y, Z)


@dataclass(frozen=True)
class Reader:
    """Stands for a 2-D network: slices (N, A, B) to probabilities (N, K, A, B). It knows a row from a column, and a voxel's
    neighbour from the voxel."""

    seed: int
    classes: int = 4

    def __call__(self, slices: Tensor) -> Tensor:
        rng = torch.Generator().manual_seed(self.seed)
        grey, beside, row, column, shift = 3 * torch.randn(5, 1, self.classes, 1, 1, generator=rng)
        rows, columns = (torch.linspace(-1, 1, n) for n in slices.shape[1:])
        x = slices[:, None].float()
        return (grey * x + beside * x.roll(1, 3) + row * rows[:, None] + column * columns + 0.3 * shift).softmax(1)


def _volume(*shape: int) -> Callable[[np.random.Generator], tuple]:
    return lambda rng: (Reader(int(rng.integers(10_000))), torch.from_numpy(rng.random(shape)).float())


def _each(ask: Reader, volume: Tensor) -> Tensor:
    """(3, K, X, Y, Z): the answers along each axis."""
    return torch.stack([along(ask, volume, axis) for axis in range(3)])


def _not_moved_back(ask: Reader, volume: Tensor) -> Tensor:
    return sum(ask(volume.movedim(axis, 0)).movedim(1, 0) for axis in range(3)).argmax(0)


def _reshaped(ask: Reader, volume: Tensor) -> Tensor:
    found = [ask(volume.movedim(axis, 0)) for axis in range(3)]
    return sum(each.transpose(0, 1).reshape(-1, *volume.shape) for each in found).argmax(0)


def _on_their_side(ask: Reader, volume: Tensor) -> Tensor:
    def turned(axis: int) -> Tensor:
        return ask(volume.movedim(axis, 0).mT).mT.movedim(1, 0).movedim(1, 1 + axis)
    return sum(map(turned, range(3))).argmax(0)


def _labels(ask: Reader, volume: Tensor) -> Tensor:
    return voted(ask, volume).argmax(0)


VOTE = Exercise(
    id="03-vote",
    task="`vote(ask, volume)` -> labels (X, Y, Z), whole numbers: ask a 2-D network for all slices across X, across Y and across "
         "Z, and give each voxel the class with the largest mean of the three probabilities. ask: slices (N, A, B) to "
         "probabilities (N, K, A, B); A and B are the two other axes, in their order.",
    reference=_labels,
    meets="fmlab.slice_inference.voted",
    cases=(
        Case("a box of 4 x 6 x 8 voxels", _volume(4, 6, 8),
             "After asking you hold (N, K, A, B). Classes to the front gives (K, N, A, B), and N then goes to place 1 + axis."),
        Case("a cube", _volume(6, 6, 6),
             "For each axis: slices first (`volume.movedim(axis, 0)`), ask, classes first, slices back to their axis; then the "
             "mean."),
        Case("a volume of a single slice", _volume(5, 7, 1), "An axis of one voxel is an axis like others.", draws=1),
    ),
    misconceptions=(
        Misconception("You ask across Z alone: that is plain 2-D. Go over the three axes.",
                      lambda ask, volume: along(ask, volume, 2).argmax(0)),
        Misconception("You ask across X alone. Go over the three axes; and mind that for axial slices the axis is 2.",
                      lambda ask, volume: along(ask, volume, 0).argmax(0)),
        Misconception("You let the three *labels* vote. A network that is quite unsure then counts as much as one that is sure, "
                      "and where all three differ the lowest number wins. Take the mean of the probabilities, then the largest.",
                      lambda ask, volume: _each(ask, volume).argmax(1).mode(0).values),
        Misconception("You average class numbers: between liver (2) and spleen (4) lies no heart (3). Average probabilities.",
                      lambda ask, volume: _each(ask, volume).argmax(1).float().mean(0).round()),
        Misconception("You take the largest of the three probabilities instead of their mean: whoever is most sure decides "
                      "alone, also where the other two agree against it.",
                      lambda ask, volume: _each(ask, volume).amax(0).argmax(0)),
        Misconception("You multiply the three probabilities (or add their logarithms). Then one network that says 0 forbids a "
                      "class for all. It is a good rule for independent experts; these three are the same network, so take the "
                      "mean.",
                      lambda ask, volume: _each(ask, volume).log().sum(0).argmax(0)),
        Misconception("The slices are not moved back to their axis: you add the answer for (x, y, z) to that for another voxel. "
                      "In a cube the shapes hide it. `.movedim(1, 0).movedim(1, 1 + axis)`.", _not_moved_back),
        Misconception("You reshape where the axes must be moved: `reshape` reads the same numbers in another order. "
                      "`.movedim(1, 1 + axis)`.", _reshaped),
        Misconception("Your slices lie on their side when the network sees them: A and B are the two other axes in their order, "
                      "as in `volume.movedim(axis, 0)`. A network that learned with the spine below knows no spine at the left.",
                      _on_their_side),
        Misconception("You give back probabilities (K, X, Y, Z); labels are their `argmax(0)`.", voted),
        Misconception("You leave the background out of the vote: its class 0 may win like any other.",
                      lambda ask, volume: voted(ask, volume)[1:].argmax(0) + 1),
        Misconception("You put a softmax over what are probabilities already. It flattens them, a sure answer most of all.",
                      lambda ask, volume: _each(ask, volume).softmax(1).mean(0).argmax(0)),
    ),
    hints=(
        "Write it for one axis first, and look at the shape after each step: (N, A, B), (N, K, A, B), (K, N, A, B), (K, X, Y, "
        "Z).",
        "`ask(volume.movedim(axis, 0))` is (N, K, A, B). `.movedim(1, 0)` brings the classes to the front.",
        "Then N stands at place 1, and belongs to place 1 + axis: `.movedim(1, 1 + axis)`.",
        "`answers = [ask(volume.movedim(axis, 0)).movedim(1, 0).movedim(1, 1 + axis) for axis in range(3)]`, and the labels are "
        "`torch.stack(answers).mean(0).argmax(0)`.",
    ),
)

EXERCISES = (INFLATE, COSTS, VOTE)
