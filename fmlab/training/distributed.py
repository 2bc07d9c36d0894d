"""Several processes under torchrun, or one: who am I, where do I compute, and what do the others have?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from fmlab import settings


@dataclass(frozen=True)
class Place:
    """One process among ``processes``: its rank from 0, and its device."""

    rank: int
    processes: int
    device: torch.device

    def wrap(self, model: nn.Module, unused_parameters: bool) -> nn.Module:
        """The model, or DDP around it: every backward then averages the gradients of all processes."""
        if self.processes == 1:
            return model
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=ids, find_unused_parameters=unused_parameters)

    def gather(self, value: object) -> list:
        """The value of every process, by rank."""
        if self.processes == 1:
            return [value]
        values = [None] * self.processes
        distributed.all_gather_object(values, value)
        return values

    def stack(self, tensor: Tensor) -> Tensor:
        """The tensor (n,) of every process, by rank: (processes, n)."""
        if self.processes == 1:
            return tensor[None]
        parts = [torch.empty_like(tensor) for _ in range(self.processes)]
        distributed.all_gather(parts, tensor)
        return torch.stack(parts)


@contextmanager
def place(device: str | None) -> Iterator[Place]:
    """This process's place, from the variables that torchrun sets (RANK, WORLD_SIZE, LOCAL_RANK); alone without them.

    The group speaks nccl on CUDA, gloo elsewhere. A group that the caller has already made is used and left open.
    """
    where = torch.device(device) if device else settings.device()
    rank, processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if where.type == "cuda" and where.index is None:
        where = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    if where.type == "cuda":
        torch.cuda.set_device(where)
        torch.cuda.init()  # so that its generators can be seeded
    ours = processes > 1 and not distributed.is_initialized()
    if ours:
        distributed.init_process_group("nccl" if where.type == "cuda" else "gloo")
    try:
        yield Place(rank, processes, where)
    finally:
        if ours:
            distributed.destroy_process_group()
