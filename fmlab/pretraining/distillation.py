"""Self-distillation without labels: a student predicts what a teacher says of another view; the teacher is the student's past.

    p_t = softmax((t - c) / tau_t),  L = - sum p_t log softmax(s / tau_s)
    theta_t <- m theta_t + (1 - m) theta_s,  c <- 0.9 c + 0.1 mean(t)

Source: Caron et al. 2021 (DINO), doi:10.1109/ICCV48922.2021.00951, sections 3.1 and 5.3. Nothing in L forbids that both say the
same of everything, the collapse. Two forces keep away from it and only together: the centre c, without which one output takes
all, and the teacher's low temperature, without which all outputs become equal. ``collapse`` measures it, ``watch`` shows it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from fmlab.errors import ModelError


@dataclass(frozen=True)
class Dino:
    """student, teacher: temperatures; warm, warmup: the teacher's at first, and in how many passes it goes to ``teacher``.

    centre: momentum of c, None for no centre at all. ema: m at first; it rises to 1 as a cosine over ``passes``. frozen: passes
    in which the head's last layer stays as it is.
    """

    student: float = 0.1
    teacher: float = 0.04
    warm: float = 0.04
    warmup: int = 0
    centre: float | None = 0.9
    ema: float = 0.996
    passes: int = 2000
    frozen: int = 0

    def __post_init__(self) -> None:
        if min(self.student, self.teacher, self.warm) <= 0 or not 0 <= self.ema <= 1 or self.passes < 1:
            raise ModelError(f"{self} cannot be; temperatures are above 0, ema lies in 0 to 1, and there is a pass at least.")


DINO = Dino()


class Head(nn.Module):
    """Features (B, inputs) to scores (B, outputs): an MLP of three layers, unit length, and a layer of unit rows without bias.

    As published 2048, 2048, 256 and 65,536; batch_norm as in DeSD (60,000). The scores are cosines.
    """

    def __init__(self, inputs: int, outputs: int = 256, hidden: int = 256, bottleneck: int = 64, batch_norm: bool = False):
        super().__init__()
        norm = nn.BatchNorm1d if batch_norm else lambda _: nn.Identity()
        self.mlp = nn.Sequential(
            nn.Linear(inputs, hidden), norm(hidden), nn.GELU(), nn.Linear(hidden, hidden), norm(hidden), nn.GELU(),
            nn.Linear(hidden, bottleneck))
        self.last = nn.Parameter(torch.empty(outputs, bottleneck))
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, z: Tensor, frozen: bool = False) -> Tensor:
        rows = F.normalize(self.last, dim=1)
        if frozen:
            rows = rows.detach() + 0 * rows  # a gradient of zero: DistributedDataParallel waits for each parameter's
        return F.linear(F.normalize(self.mlp(z), dim=1), rows)


class Teacher(nn.Module):
    """A student's moving average, with the centre of what it says.

    net: any part of the student, copied; ``follow`` finds its parameters in the student by their names.
    """

    def __init__(self, net: nn.Module, outputs: int, settings: Dino):
        super().__init__()
        self.net, self.settings = deepcopy(net).requires_grad_(False), settings
        self.register_buffer("centre", torch.zeros(outputs))
        self.register_buffer("passed", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def follow(self, student: nn.Module) -> None:
        """One pass is over: m theta_t + (1 - m) theta_s. Running statistics of norms are the teacher's own."""
        m = 1 - (1 - self.settings.ema) * (1 + math.cos(math.pi * min(1.0, int(self.passed) / self.settings.passes))) / 2
        theirs = dict(student.named_parameters())
        for name, parameter in self.net.named_parameters():
            parameter.lerp_(theirs[name].to(parameter), 1 - m)
        self.passed += 1

    @torch.no_grad()
    def probabilities(self, scores: Tensor) -> Tensor:
        """p_t (B, K) of scores (B, K)."""
        s = self.settings
        share = min(1.0, int(self.passed) / s.warmup) if s.warmup else 1.0
        return ((scores.float() - self.centre) / (s.warm + share * (s.teacher - s.warm))).softmax(1)

    @torch.no_grad()
    def recentre(self, scores: Tensor) -> None:
        """c <- 0.9 c + 0.1 mean, over all processes; nothing where there is no centre."""
        if self.settings.centre is None:
            return
        mean = scores.float().mean(0)
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(mean)
            mean /= distributed.get_world_size()
        self.centre.lerp_(mean, 1 - self.settings.centre)

    @property
    def head_frozen(self) -> bool:
        """Whether the student's last layers still stay as they are."""
        return int(self.passed) < self.settings.frozen


def dino(scores: Tensor, probabilities: Tensor, temperature: float = 0.1) -> Tensor:
    """Cross-entropy of the student's scores (B, K) with the teacher's probabilities (B, K), mean over the batch."""
    return -(probabilities * (scores.float() / temperature).log_softmax(1)).sum(1).mean()


@dataclass(frozen=True)
class Collapse:
    """How much a teacher's word depends on what it sees, all but ``spread`` as shares of log K.

    information: entropy of the mean less mean entropy, 0 when every sample gets the same answer. together: entropy of the mean, 0
    when one output takes all. each: mean entropy of a sample, 1 when all outputs are equal. spread: deviation of the unit-length
    features across samples, 0 when they are one point, 1 when they lie anywhere.
    """

    information: float
    together: float
    each: float
    spread: float


@torch.no_grad()
def collapse(probabilities: Tensor, features: Tensor) -> Collapse:
    """Of p_t (N, K) and the features (N, C) behind them. ModelError for a single sample."""
    if len(probabilities) < 2 or len(features) != len(probabilities):
        raise ModelError(f"Collapse was given {len(probabilities)} and {len(features)} samples; give two or more of both.")
    p = probabilities.double()
    whole = math.log(p.shape[1])
    together, each = (float(torch.special.entr(q).sum(-1).mean()) / whole for q in (p.mean(0), p))
    unit = F.normalize(features.double(), dim=1)
    spread = float(unit.std(0, correction=0).square().sum().sqrt())
    return Collapse(together - each, together, each, spread)


def watch(model: nn.Module, batches: Callable[[int], Tensor], looked_at: Tensor, steps: int = 60, lr: float = 1e-3,
          every: int = 10) -> list[Collapse]:
    """A short training in place, and the collapse before it and after every few steps: of one with a centre and one without it.

    model: a ``DeSD`` or ``UniMiSS``; called with images it gives its loss, ``model.said(images)`` gives (p_t, features). batches:
    step -> images. looked_at: images (N, C, X, Y, Z) that collapse is measured on. AdamW, on the model's device.
    """
    optimiser, seen = torch.optim.AdamW(model.parameters(), lr), [collapse(*model.said(looked_at))]
    for step in range(steps):
        optimiser.zero_grad()
        model(batches(step)).backward()
        optimiser.step()
        if (step + 1) % every == 0 or step + 1 == steps:
            seen.append(collapse(*model.said(looked_at)))
    return seen
