"""Which task a sample is of, as DoDNet and UniSeg are told it: a number below the count of tasks, one for each sample."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fmlab.errors import ModelError


def task_ids(task: int | Sequence[int] | Tensor, x: Tensor, tasks: int) -> Tensor:
    """(B,) int64 on the device of x (B, ...). task: one number for the whole batch, or one a sample; each from 0 to tasks - 1."""
    ids = torch.as_tensor(task, device=x.device)
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool or ids.ndim > 1 \
            or ids.ndim == 1 and len(ids) != len(x):
        raise ModelError(f"The task was given as {task!r} for {len(x)} samples; give one whole number, or one a sample.")
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < tasks:
        raise ModelError(f"There is no task {task!r}; the model knows {tasks}, numbered 0 to {tasks - 1}.")
    return ids.long().expand(len(x))
