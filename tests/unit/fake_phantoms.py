"""Samplers that stand in for fmlab.phantom.sample: tiny bodies, in a module of its own so that spawned processes find them."""

from __future__ import annotations

import os

import numpy as np
import torch

from fmlab.volume import Volume

MADE: list[int] = []  # seeds that this process sampled


def fake_sample(seed: int, centre: str = "A", spacing: float = 4.0, partial: bool = False) -> Volume:
    """A tiny body that shows its seed, centre and spacing."""
    MADE.append(seed)
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(1, 6, 5, 4, generator=generator) * 300 + ord(centre)
    labels = (image > 100).to(torch.uint8)
    info = {"seed": seed, "process": os.getpid(), "weight": np.float32(70.5)}
    return Volume(image=image, affine=np.diag([spacing, spacing, spacing, 1.0]), labels=labels,
                  annotated=frozenset({"liver"} if partial else {"liver", "spleen"}), info=info)


fake_sample.VERSION = "1"


def dies(seed: int, centre: str = "A", spacing: float = 4.0) -> Volume:
    """Kills its process, as running out of memory does, unless it is the main one."""
    if not MADE:
        os._exit(1)
    return fake_sample(seed, centre, spacing)


def interrupted(seed: int, centre: str = "A", spacing: float = 4.0) -> Volume:
    """Ctrl-C at the third body."""
    if seed == 2 and MADE.count(2) == 0:
        MADE.append(2)
        raise KeyboardInterrupt
    return fake_sample(seed, centre, spacing)
