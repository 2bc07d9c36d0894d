"""What turns gradients into steps: AdamW, or Muon for the matrices of linear layers and AdamW for the rest.

    Muon:   W <- (1 - eta lambda) W - eta 0.2 sqrt(max(m, n)) orth(momentum)        W: (m, n)

orth gives all singular values of the step about the same size, by five Newton-Schulz iterations. For small vision transformers
that begin at random, as the nano SAMs do. Sources: Loshchilov and Hutter 2019, arXiv:1711.05101; Jordan et al. 2024, "Muon: an
optimizer for hidden layers in neural networks"; for the scale, which lets Muon share AdamW's rates, Liu et al. 2025,
arXiv:2502.16982, section 2.2.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from fmlab.training.config import TrainConfig

BOLDER = 2.0  # Muon's learning rate in units of AdamW's


class Optimisers:
    """Several optimisers that step together; each group of weights belongs to one."""

    def __init__(self, *members: torch.optim.Optimizer):
        self.members = members

    @property
    def groups(self) -> Iterator[dict]:
        return (group for member in self.members for group in member.param_groups)

    @property
    def weights(self) -> list[nn.Parameter]:
        """All of them, for the norm of the whole gradient."""
        return [weight for group in self.groups for weight in group["params"]]

    def set_lr(self, lr: float) -> None:
        """The schedule's learning rate, for each group in its own unit."""
        for group in self.groups:
            group["lr"] = lr * group.get("bolder", 1.0)

    def zero_grad(self) -> None:
        for member in self.members:
            member.zero_grad()

    def step(self) -> None:
        for member in self.members:
            member.step()

    def state_dict(self) -> dict:
        return {"members": [member.state_dict() for member in self.members]}

    def load_state_dict(self, state: dict) -> None:
        for member, own in zip(self.members, state["members"], strict=True):
            member.load_state_dict(own)


def optimisers(model: nn.Module, config: TrainConfig) -> Optimisers:
    """Those of ``config.optimiser`` for the weights of the model that require gradients."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)] if config.optimiser == "muon" else []
    matrices = {id(layer.weight): layer.weight for layer in layers if layer.weight.requires_grad}  # a shared one once
    others = [weight for weight in weights if id(weight) not in matrices]
    members = []
    if matrices:
        groups = [{"params": list(matrices.values()), "bolder": BOLDER}]
        members.append(torch.optim.Muon(groups, config.lr, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"))
    if others:
        members.append(torch.optim.AdamW(others, config.lr, weight_decay=config.weight_decay))
    return Optimisers(*members)
