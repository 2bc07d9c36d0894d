"""The learning rate as a function of the step: no state, so that nothing about it can be lost when a run resumes."""

from __future__ import annotations

import math

from fmlab.training.config import TrainConfig


def learning_rate(config: TrainConfig, step: int) -> float:
    """The learning rate of step k = 0 ... steps - 1: warm-up first, then the schedule over what is left.

    While k < warmup:  lr (k + 1) / warmup.  After it, with t = (k - warmup) / (steps - warmup), from 0 to just below 1:
    ``lr * cosine(t)``, ``lr * poly(t, power)``, or ``lr`` ("constant").
    """
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    t = (step - config.warmup) / max(1, config.steps - config.warmup)
    factor = {"cosine": cosine(t), "poly": poly(t, config.power), "constant": 1.0}[config.schedule]
    return config.lr * factor


def cosine(t: float) -> float:
    """(1 + cos(pi t)) / 2: slow, fast, slow; without restarts. Source: Loshchilov and Hutter 2017, arXiv:1608.03983, eq. 5."""
    return (1 + math.cos(math.pi * min(t, 1.0))) / 2


def poly(t: float, power: float = 0.9) -> float:
    """(1 - t)^power: nearly a straight line to zero. Source: Isensee et al. 2021 (nnU-Net), doi:10.1038/s41592-020-01008-z."""
    return max(0.0, 1 - t) ** power
