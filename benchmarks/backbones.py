"""nano at 64^3: seconds and steps/s of one training step (batch 1, 30 classes, BCE, AdamW), and the memory it needs at most.

    python benchmarks/backbones.py [--threads 2] [--steps 10] [--side 64]

On CUDA too where there is one, there under bf16 autocast. CPU memory is what the process grew by, at its highest.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import time

import torch
from torch.nn import functional as F

from fmlab import hub


def resident_peak() -> int:
    """The most memory that this process has held so far, in bytes; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def train(device: str, side: int, steps: int) -> tuple[list[float], int]:
    """Seconds of each step after two to warm up, and the peak of memory in bytes."""
    model = hub.build("nano", classes=30).to(device)
    optimiser = torch.optim.AdamW(model.parameters())
    x = torch.randn(1, 1, side, side, side, device=device)
    y = (torch.rand(1, 30, side, side, side, device=device) > 0.5).float()
    before, seconds = resident_peak(), []
    for _ in range(steps + 2):
        start = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16) if device == "cuda" else contextlib.nullcontext():
            logits = model(x)
        F.binary_cross_entropy_with_logits(logits.float(), y).backward()
        optimiser.step()
        optimiser.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else resident_peak() - before
    return seconds[2:], peak


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--side", type=int, default=64)
    wanted = parser.parse_args()
    torch.set_num_threads(wanted.threads)
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        seconds, peak = train(device, wanted.side, wanted.steps)
        middle = statistics.median(seconds)
        load = f", load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores" if hasattr(os, "getloadavg") else ""
        print(
            f"nano {wanted.side}^3 {device}: median {middle:.2f} s a step ({1 / middle:.2f} steps/s), "
            f"fastest {min(seconds):.2f} s, {peak / 2**20:.0f} MiB at most; {wanted.threads} threads{load}")
