"""Samplers that stand in for fmlab.phantom.sample: tiny bodies, in a module of its own so that spawned processes find them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial as bind

import numpy as np
import torch

from fmlab.cohorts import Case, Cohort
from fmlab.vocabulary import ID
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


def boxed(structures: Sequence[str], count: int, centre: str = "F", first_seed: int = 0, side: int = 32) -> Cohort:
    """People of air and water, in whom each structure is a box of its own value; nothing is computed that takes time."""
    def person(seed: int) -> Volume:
        random = np.random.default_rng(seed)
        image = torch.full((1, side, side, side), -1000.0)
        image[:, 4:-4, 4:-4, 4:-4] = 0.0
        labels = torch.zeros(1, side, side, side, dtype=torch.uint8)
        for number, name in enumerate(structures):
            x, y, z = (int(v) for v in random.integers(5, side - 11, 3))
            image[0, x:x + 6, y:y + 6, z:z + 6] = 120.0 + 40 * number
            labels[0, x:x + 6, y:y + 6, z:z + 6] = ID[name]
        return Volume(image=image, affine=np.diag([8.0, 8.0, 8.0, 1.0]), labels=labels, annotated=frozenset(structures),
                      name=f"boxed-{centre}-{seed}")

    seeds = range(first_seed, first_seed + count)
    return Cohort("boxed", tuple(Case(f"boxed-{centre}-{seed}", f"boxed-{centre}-{seed}", bind(person, seed)) for seed in seeds))
