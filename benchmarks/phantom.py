"""How long does a body take? Median of ten, labels and image, 96 x 80 x 112 voxels of 4 mm; on CUDA too where there is one."""

from __future__ import annotations

import statistics
import time

import torch

from fmlab.phantom import draw, paint
from fmlab.phantom.centres import centre
from fmlab.phantom.scanner import scan
from fmlab.phantom.tidy import tidy

SHAPE = (96, 80, 112)


def seconds(seed: int, device: str) -> float:
    """Time for one body on one device, transfers of the labels for tidying included."""
    person = draw(seed)
    axes = tuple(
        (torch.arange(n, dtype=torch.float64, device=device) - n / 2 + 0.5) * 4.0 + shift for n, shift in zip(SHAPE, (0, 0, 64))
    )
    start = time.perf_counter()
    canvas = paint(person, axes, "portal")
    tidy(canvas.label)
    scan(canvas, person, centre("A"))
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        seconds(99, device)  # imports and first allocations
        times = [seconds(seed, device) for seed in range(10)]
        print(
            f"{device}: median {statistics.median(times):.2f} s, slowest {max(times):.2f} s "
            f"({torch.get_num_threads()} threads, {SHAPE[0]} x {SHAPE[1]} x {SHAPE[2]})"
        )
