"""What every additive method shares: a layer of the base model, and something beside it that can be turned off and merged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fmlab.adaptation.sites import NORMS


class Added(nn.Module):
    """A layer of the base model (``base``, never trained) with an addition. on: False gives the base layer alone; with no layer
    as base, what went in."""

    def __init__(self, base: nn.Module | None = None):
        super().__init__()
        self.base, self.on = base, True

    def merged(self) -> nn.Module:
        """A plain layer that computes the same; NotImplementedError where none can."""
        raise NotImplementedError


class Update(Added):
    """W = W0 + Delta W for one linear layer or convolution."""

    def delta(self) -> Tensor:
        """Delta W, of the shape of the base layer's weight."""
        raise NotImplementedError

    def merged(self) -> nn.Module:
        """The base layer with W0 + Delta W."""
        with torch.no_grad():
            self.base.weight += self.delta().to(self.base.weight)
        return self.base


def added(model: nn.Module) -> Iterator[tuple[str, Added]]:
    """Name and module of every addition, outermost first."""
    yield from [(name, module) for name, module in model.named_modules() if isinstance(module, Added)]


@contextmanager
def turned_off(model: nn.Module) -> Iterator[None]:
    """Within it, every addition of the model is off."""
    modules = [module for _, module in added(model)]
    states = [module.on for module in modules]
    for module in modules:
        module.on = False
    try:
        yield
    finally:
        for module, state in zip(modules, states):
            module.on = state


@contextmanager
def unchanged_on_failure(model: nn.Module) -> Iterator[None]:
    """Within it, modules, attributes and what is trained may change; where something is raised they are put back."""
    children = [(module, dict(module._modules)) for module in model.modules()]
    needed = [(weight, weight.requires_grad) for weight in model.parameters()]
    attributes = dict(vars(model))
    try:
        yield
    except BaseException:
        vars(model).clear()
        vars(model).update(attributes)
        for module, before in children:
            module._modules.clear()
            module._modules.update(before)
        for weight, was in needed:
            weight.requires_grad_(was)
        raise


def statistics(model: nn.Module) -> dict[str, Tensor]:
    """Name -> tensor of what the norms count along: frozen or not, it moves in training mode."""
    return {f"{name}.{part}": tensor for name, norm in model.named_modules() if isinstance(norm, NORMS)
            for part, tensor in norm.named_buffers(recurse=False)}


def kaiming(*shape: int) -> nn.Parameter:
    """A matrix or kernel as PyTorch's own layers begin: U(-b, b), b = 1 / sqrt(fan in)."""
    weight = torch.empty(shape)
    nn.init.kaiming_uniform_(weight, a=5 ** 0.5)
    return nn.Parameter(weight)
