"""Recipes for the tests of the training loop, importable by the processes that the tests start."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import torch

import fmlab
from fmlab.training.demo import Balls, loss, net


def environment() -> dict[str, str]:
    """For a process that shall find fmlab and this file, and compute on one thread."""
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(fmlab.__file__).parents[1])])
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}


class Jittered(Balls):
    """Balls whose augmentation draws from all three global generators."""

    def __getitem__(self, index: int) -> dict:
        case = super().__getitem__(index)
        return case | {"image": case["image"] * (1 + 0.1 * np.random.rand() + 0.1 * random.random())}


def noisy():
    """Random numbers everywhere: dropout in the net, augmentation in the cases, and the loss asks numpy and random."""
    def unsteady(model, batch):
        return loss(model, batch) * (1 + 0.01 * np.random.rand() + 0.01 * random.random())
    return net(), unsteady, Jittered(7, size=8)


def steady():
    """No dropout: what several processes must repeat."""
    return net(dropout=0.0), loss, Jittered(10, size=8)


def poisoned():
    """Case 3 has a NaN in its image."""
    return net(dropout=0.0), loss, Poisoned(8, size=8)


class Poisoned(Balls):
    def __getitem__(self, index: int) -> dict:
        case = super().__getitem__(index)
        return case | {"image": case["image"] * torch.nan} if index == 3 else case
