"""AdaLoRA: W = W0 + P diag(E) Q, and a budget of ranks for the whole network that falls as training goes on.

    importance of a rank = s(E_i) + mean_j s(Q_ij) + mean_j s(P_ji),    s = EMA(|w dL/dw|) x EMA(its deviation)

    budget b(t) = b_T + (b_0 - b_T) (1 - (t - t_i) / (T - t_i - t_f))^3    between a warm-up of t_i and a final phase of t_f steps

Ranks below the budget's threshold have E set to 0 every so many steps; they may come back. P and Q are kept nearly orthogonal.

Source: Zhang et al. 2023, arXiv:2303.10512, equations 3 to 12.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.adaptation.added import Update
from fmlab.adaptation.lora import check_rank
from fmlab.adaptation.sites import attention_blocks, replace
from fmlab.backbones.segmenter import Segmenter
from fmlab.errors import ModelError

BETA = 0.85
PARTS = ("P", "E", "Q")


class SVDLinear(Update):
    """y = W0 x + s P (E * (Q x)), s = alpha / (r + 1e-5). Q (r, d) and P (out, r) begin as N(0, 0.02^2), E (r, 1) as zeros."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float = 1.0):
        super().__init__(base)
        self.Q = nn.Parameter(0.02 * torch.randn(rank, base.in_features))
        self.P = nn.Parameter(0.02 * torch.randn(base.out_features, rank))
        self.E, self.scale = nn.Parameter(torch.zeros(rank, 1)), alpha / (rank + 1e-5)
        for part in PARTS:  # buffers, so that a training that was stopped goes on with them
            self.register_buffer(f"mean_{part}", torch.zeros_like(getattr(self, part)))  # EMA of the importance
            self.register_buffer(f"deviation_{part}", torch.zeros_like(getattr(self, part)))
        self.register_buffer("steps_done", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        y = self.base(x)
        return y + self.scale * F.linear(F.linear(x, self.Q * self.E), self.P) if self.on else y

    def delta(self) -> Tensor:
        return self.scale * self.P @ (self.Q * self.E)

    def watch(self) -> None:
        """Take the last gradients into the running importance of every number."""
        for part in PARTS:
            weight = getattr(self, part)
            if weight.grad is None:
                continue
            now = (weight * weight.grad).abs().detach()
            mean, deviation = getattr(self, f"mean_{part}"), getattr(self, f"deviation_{part}")
            mean.mul_(BETA).add_((1 - BETA) * now)
            deviation.mul_(BETA).add_((1 - BETA) * (now - mean).abs())

    def importance(self) -> Tensor:
        """(r,) of each rank."""
        p, e, q = (getattr(self, f"mean_{part}") * getattr(self, f"deviation_{part}") for part in PARTS)
        return e[:, 0] + q.mean(1) + p.mean(0)


def budget(step: int, first: int, last: int, warm: int, final: int, total: int) -> int:
    """b(t): ranks that may be open after the step, counted from 0; first, last: b_0 and b_T over the whole network."""
    if step <= warm:
        return first
    if step > total - final:
        return last
    return int(last + (first - last) * (1 - (step - warm) / (total - final - warm)) ** 3)


def layers(model: nn.Module) -> list[SVDLinear]:
    """All of the model's. ModelError where there are none."""
    found = [module for module in model.modules() if isinstance(module, SVDLinear)]
    if not found:
        raise ModelError("The model has no AdaLoRA; attach it first.")
    return found


def allocate(found: list[SVDLinear], open_ranks: int) -> None:
    """Set E to 0 where a rank's importance is not among the ``open_ranks`` largest of the network."""
    scores = [layer.importance() for layer in found]
    every = torch.cat(scores)
    if open_ranks >= len(every):
        return
    threshold = every.kthvalue(len(every) - open_ranks)[0]
    for layer, score in zip(found, scores):
        layer.E.data[score <= threshold] = 0


def orthogonality(model: nn.Module) -> Tensor:
    """Mean over all P and Q of || P^T P - 1 || or || Q Q^T - 1 ||, Frobenius."""
    grams = [gram for layer in layers(model) for gram in (layer.Q @ layer.Q.T, layer.P.T @ layer.P)]
    return torch.stack([(gram - torch.eye(len(gram), device=gram.device)).norm() for gram in grams]).mean()


def adalora(model: Segmenter, rank: int = 12, target: int = 8, steps: int = 1000, warm: float = 0.15, final: float = 0.3,
            interval: int = 10, orthogonal: float = 0.1) -> None:
    """AdaLoRA on the fused qkv layer of each attention block.

    rank: of each layer at first. target: mean rank at the end, below ``rank``. steps: T of the training, which must be told.
    warm, final: shares of it before the budget falls and after. interval: steps between allocations. orthogonal: weight of that
    term in the loss.
    Raises ModelError for a target that is not below the rank: the official code breaks down there (peft issue 2337).
    """
    check_rank(rank)
    if not 0 < target < rank:
        raise ModelError(f"A target of {target} is not between 0 and the rank, {rank}; let AdaLoRA begin with more than it ends.")
    if steps < 1 or warm < 0 or final < 0 or warm + final >= 1:
        raise ModelError(f"Of {steps} steps, shares of {warm} and {final} before and after leave none between; make them less.")
    for name, block in attention_blocks(model):
        replace(model, f"{name}.attn.qkv", SVDLinear(block.attn.qkv, rank))


def after_step(model: nn.Module, lr: float, target: int = 8, steps: int = 1000, warm: float = 0.15, final: float = 0.3,
               interval: int = 10, **_: object) -> None:
    """Watch the gradients of the step that was just made, and allocate where it is time."""
    found = layers(model)
    step = int(found[0].steps_done)
    before, after = round(warm * steps), round(final * steps)
    if step < steps - after:
        for layer in found:
            layer.watch()
    ranks = sum(len(layer.E) for layer in found)
    left = budget(step, ranks, target * len(found), before, after, steps)
    if step > steps - after or (step > before and step % interval == 0):
        allocate(found, left)
    for layer in found:
        layer.steps_done += 1


def penalty(model: nn.Module, orthogonal: float = 0.1, **_: object) -> Tensor:
    """What is added to the loss."""
    return orthogonal * orthogonality(model)
