"""The weights of the parity files: every float entry of a state_dict follows from its key, its shape and a seed.

The generator is PCG64, seeded by CRC-32 of the key plus the seed. Running variances are drawn from 1 to 1.1, 1-D weights (norms)
around 1, matrices and kernels as N(0, 1 / fan-in), all else around 0. Integer entries stay as constructed.
"""

from __future__ import annotations

import math
import zlib

import numpy as np
import torch


def filled(key: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """The float32 array of one entry."""
    random = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode()) + seed))
    if key.endswith("running_var"):
        return np.asarray(1 + 0.1 * random.random(shape), dtype=np.float32)
    normal = np.asarray(random.standard_normal(shape))
    if len(shape) > 1:
        return (normal / math.sqrt(max(math.prod(shape[1:]), 1))).astype(np.float32)
    return ((1 + 0.05 * normal) if len(shape) == 1 and key.endswith("weight") else 0.05 * normal).astype(np.float32)


def filled_state(state: dict[str, torch.Tensor], seed: int = 0) -> dict[str, torch.Tensor]:
    """A state_dict under its official keys, with every float entry filled."""
    return {
        key: torch.from_numpy(np.asarray(filled(key, tuple(value.shape), seed))) if value.is_floating_point() else value
        for key, value in state.items()
    }
