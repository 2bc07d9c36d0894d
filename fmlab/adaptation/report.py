"""What an adapter trains, which of it can never learn, how far it went from the base model, and what it costs.

A parameter is dead where its gradient is exactly zero in theory, whatever the data: a key's bias under the softmax, a bias of
a convolution before a norm, a row of a position table that no pair of voxels in so small a window reaches. The census finds them
by trying: gradients in float64, at random points near the start (at the start itself B = 0 makes A look dead) and near its
negative (where a ReLU is open that is shut at the start), on random input.
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fmlab.adaptation.added import Update, added

if TYPE_CHECKING:
    from fmlab.adaptation.attach import Adapter

DEAD = 1e-13  # of the largest gradient; float64 rounding leaves 1e-16 of it
NEAR = 0.05  # standard deviation of what is added to the weights before the census


@dataclass(frozen=True)
class Report:
    """What an adapter is, in numbers; printed, it is the table that a lesson shows.

    groups: kind of tensor -> how many numbers of it are trained. total: all numbers of the model. dead: kind -> how many of the
    trained ones are dead on a cube of ``side`` voxels. ranks: layer -> effective rank of its update. away: largest difference of
    the logits to the base model's (under a new head: as that began), over their standard deviation. bytes_*: of the trained
    weights with gradients and Adam's moments, and of the activations kept for the backward pass of one cube.
    """

    method: str
    groups: Mapping[str, int]
    total: int
    dead: Mapping[str, int]
    side: int
    ranks: Mapping[str, float]
    away: float
    bytes_training: int
    bytes_activations: int

    @property
    def count(self) -> int:
        """Numbers that are trained."""
        return sum(self.groups.values())

    def __str__(self) -> str:
        dead = sum(self.dead.values())
        lines = [f"{self.method}: {self.count:,} of {self.total:,} numbers are trained ({self.count / self.total:.2%})"]
        lines += [f"  {count:>12,}  {kind}" + (f", {self.dead[kind]:,} of them dead" if self.dead.get(kind) else "")
                  for kind, count in self.groups.items()]
        lines.append(f"dead: {dead:,} ({dead / max(self.count, 1):.0%}), tried on a cube of {self.side} voxels")
        if self.ranks:
            ranks = list(self.ranks.values())
            mean = sum(ranks) / len(ranks)
            lines.append(f"effective rank of the updates: {min(ranks):.1f} to {max(ranks):.1f}, mean {mean:.1f}")
        lines.append("begins as the base model: the logits are the same" if self.away == 0 else
                     f"logits differ from the base model's by up to {self.away:.2g} of their standard deviation")
        lines.append(f"memory: {_mb(self.bytes_training)} for weights in training, {_mb(self.bytes_activations)} of activations "
                     f"for a cube of {self.side}")
        return "\n".join(lines)


def report(adapter: Adapter, side: int | None = None) -> Report:
    """See ``Adapter.report``."""
    model = adapter.model
    side = 2 * model.backbone.stride if side is None else side
    weight = next(model.parameters())
    x = torch.rand(1, model.backbone.in_channels, side, side, side, generator=torch.Generator().manual_seed(0))
    x = x.to(weight)
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            now = model(x)
            with adapter.without():
                before = model(x)
        away = float((now - before).abs().max() / before.std().clamp(min=1e-12))
        kept = activation_bytes(model, x)
    finally:
        for module in training:
            module.training = True
    groups = Counter()
    for name, value in adapter.trainable.items():
        groups[kind(name)] += value.numel()
    dead = Counter()
    for name, count in census(model, x).items():
        if count:
            dead[kind(name)] += count
    return Report(adapter.method, dict(groups), sum(p.numel() for p in model.parameters()), dict(dead), side,
                  effective_ranks(model), away, 4 * 4 * adapter.count, kept)


def kind(name: str) -> str:
    """A parameter's name without numbers of layers and blocks: the tensors of one kind share it."""
    return re.sub(r"\d+", "*", re.sub(r"(^|\.)(backbone|base)(?=\.)", "", name).lstrip("."))


def census(model: nn.Module, x: Tensor, cubes: int = 4) -> dict[str, int]:
    """Name of each trained parameter -> how many of its numbers have no gradient, on random cubes of x's shape."""
    trial = copy.deepcopy(model).double().eval()
    random = torch.Generator().manual_seed(0)
    weights = {name: weight for name, weight in trial.named_parameters() if weight.requires_grad}
    start = [weight.detach().clone() for weight in weights.values()]
    largest = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for number in range(cubes):  # another point each time: a ReLU that is shut at one is open at another
        with torch.no_grad():
            for weight, value in zip(weights.values(), start):
                noise = torch.randn(value.shape, generator=random, dtype=torch.float64)
                weight.copy_((-1) ** number * value + NEAR * noise.to(value))
        with torch.enable_grad():
            logits = trial(torch.randn(x.shape, generator=random, dtype=torch.float64).to(x.device))
            target = torch.randn(logits.shape, generator=random, dtype=torch.float64).to(x.device)
            gradients = torch.autograd.grad((logits * target).sum(), list(weights.values()), allow_unused=True)
        for name, gradient in zip(weights, gradients):
            if gradient is not None:
                largest[name] = torch.maximum(largest[name], gradient.abs())
    limit = DEAD * max((float(value.max()) for value in largest.values()), default=0.0)
    return {name: int((value <= limit).sum()) for name, value in largest.items()}


def effective_ranks(model: nn.Module) -> dict[str, float]:
    """Layer -> effective rank of its update: exp of the entropy of its singular values' shares; 0 for no update.

    Source: Roy and Vetterli 2007, EUSIPCO, doi:10.5281/zenodo.40432 (the effective rank).
    """
    return {name: effective_rank(module.delta().detach()) for name, module in added(model) if isinstance(module, Update)}


def effective_rank(delta: Tensor) -> float:
    """exp(-sum p log p), p the singular values over their sum, of a matrix (out, in) or a kernel (out, in, X, Y, Z)."""
    values = torch.linalg.svdvals(delta.flatten(1).double())
    if float(values.sum()) == 0:
        return 0.0
    p = values / values.sum()
    return float(torch.exp(-(p * p.clamp(min=1e-300).log()).sum()))


def activation_bytes(model: nn.Module, x: Tensor) -> int:
    """Bytes that autograd keeps for the backward pass of x, weights and x itself not counted, each storage once."""
    own = {weight.untyped_storage().data_ptr() for weight in [*model.parameters(), *model.buffers(), x]}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = model(x)  # held until all is counted, so that no address is used twice
    del logits
    return sum(kept.values())


def _mb(count: int) -> str:
    return f"{count / 2**20:.1f} MB" if count >= 2**20 else f"{count / 2**10:.1f} kB"
