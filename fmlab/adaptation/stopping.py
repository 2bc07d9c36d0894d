"""FSEFT's schedule of the learning rate, and the published rules that stop on a plateau of the training loss."""

from __future__ import annotations

import math
from collections.abc import Sequence

SMOOTH, PATIENCE = 10, 20  # epochs


def learning_rate(epoch: int, base: float, epochs: int = 200, warmup: int = 1) -> float:
    """The rate in force during an epoch, counted from 0, as published: base / warmup, 2 base / warmup, ..., base, and then from
    epoch ``warmup`` on a cosine to 0 at ``epochs``. FSEFT's counter begins with 1, so its first two epochs get the whole rate.
    """
    if epoch < warmup:
        return base * (epoch + 1) / warmup
    return base * 0.5 * (1 + math.cos(math.pi * (epoch - warmup) / (epochs - warmup)))


def stop_epoch(losses: Sequence[float], relative: bool = False, least: float | None = None) -> int:
    """How many epochs a training with these losses lasts: the first at which the smoothed loss has stopped falling, or all.

    With s the mean over the last 10 epochs, it stops where s[-20] - s[-1] < least: 0.001 in FSEFT's code, and 0.01 s[-20] in
    ARENA's, the ``relative`` rule. Epoch 31 is the first that can be the last.
    """
    least = (0.01 if relative else 0.001) if least is None else least
    smoothed: list[float] = []
    for epoch in range(1, len(losses) + 1):
        if epoch >= SMOOTH:
            smoothed.append(sum(losses[epoch - SMOOTH:epoch]) / SMOOTH)
        if epoch > SMOOTH + PATIENCE:
            before = smoothed[-PATIENCE]
            if before - smoothed[-1] < (least * before if relative else least):
                return epoch
    return len(losses)
