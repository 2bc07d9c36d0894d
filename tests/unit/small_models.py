"""Small base models for the tests of adapters, built once, and what is done with them."""

from __future__ import annotations

from copy import deepcopy
from functools import cache

import torch
from torch import Tensor, nn

from fmlab import hub

X = torch.rand(1, 1, 32, 16, 16, generator=torch.Generator().manual_seed(0))
_MAKE = {"swin": lambda: hub.build("fseft"), "unet": lambda: hub.build("universal", width=4),
         "suprem": lambda: hub.build("suprem_unet", classes=2, width=4),
         "running": lambda: hub.build("suprem_unet", classes=2, width=4, statistics="running")}


@cache
def original(name: str) -> nn.Module:
    """The one that all copies are made of, in eval mode; not to be changed."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return _MAKE[name]().eval()


def base(name: str) -> nn.Module:
    return deepcopy(original(name))


def logits(model: nn.Module) -> Tensor:
    """Of X, in eval mode."""
    with torch.no_grad():
        return model.eval()(X)


@cache
def base_logits(name: str) -> Tensor:
    return logits(original(name))


def trained(adapter, steps: int = 2):
    """The adapter after a few steps of Adam, in eval mode, without gradients."""
    optimiser = torch.optim.Adam(adapter.trainable.values(), 1e-2)
    adapter.model.train()
    for _ in range(steps):
        optimiser.zero_grad()
        (adapter.model(X) - 1).square().mean().backward()
        optimiser.step()
    adapter.model.eval().zero_grad()
    return adapter


def state_of(model: nn.Module) -> dict:
    """Everything that a refusal must leave as it is, for ``same``."""
    return {"weights": {name: (id(value), value.requires_grad) for name, value in model.named_parameters()},
            "values": {name: value.clone() for name, value in model.state_dict().items()},
            "modules": [(name, id(module), module.training) for name, module in model.named_modules()],
            "says": {name: value for name, value in vars(model).items() if not name.startswith("_")}}


def same(one: dict, other: dict) -> bool:
    values, others = one["values"], other["values"]
    return (all(one[key] == other[key] for key in ("weights", "modules", "says")) and values.keys() == others.keys()
            and all(torch.equal(values[name], others[name]) for name in values))
