"""What a plain stack of convolutions costs in two and in three dimensions: numbers, multiply-adds, memory, and how far it sees.

    costs([Layer(1, 8), Layer(8, 16, stride=2)], dims=3, side=32)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fmlab.errors import ModelError


class Layer(NamedTuple):
    """A convolution without bias: ``kernel`` places an axis, "same" padding, so that a side n becomes ceil(n / stride)."""

    inputs: int
    outputs: int
    kernel: int = 3
    stride: int = 1


class Costs(NamedTuple):
    """parameters. multiply_adds: of one forward pass. values: that all layers give, which training keeps for the backward pass.
    field: how many voxels of the input an output voxel of the last layer depends on, away from the edges."""

    parameters: int
    multiply_adds: int
    values: int
    field: int


def costs(layers: Sequence[Layer], dims: int, side: int) -> Costs:
    """Costs of a stack of convolutions on one patch of ``side`` voxels an axis, in 2 or 3 dimensions.

    A receptive field grows by (kernel - 1) voxels of the layer's own input, and one of those is as many of the patch's as all
    strides before it. ModelError for layers that do not follow on one another.
    """
    parameters = multiply_adds = values = 0
    reach, step = 1, 1  # voxels of the patch, along an axis
    for before, layer in zip((None, *layers), layers):
        if before is not None and before.outputs != layer.inputs:
            raise ModelError(f"A layer of {before.outputs} outputs is followed by one of {layer.inputs} inputs; make them equal.")
        side = -(-side // layer.stride)
        kernel = layer.inputs * layer.outputs * layer.kernel**dims
        parameters += kernel
        multiply_adds += kernel * side**dims
        values += layer.outputs * side**dims
        reach += (layer.kernel - 1) * step
        step *= layer.stride
    return Costs(parameters, multiply_adds, values, reach**dims)


def multiply_adds(model: nn.Module, shape: Sequence[int]) -> int:
    """Multiply-adds of one forward pass of any model on an input of this shape, as torch counts them."""
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        model(torch.zeros(tuple(shape)))
    return counted.get_total_flops() // 2
