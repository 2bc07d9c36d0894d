"""What does the dynamic head save? All classes at once in chunks, beside the published form: grouped convolutions on replicas.

    python benchmarks/clip_driven.py [--rounds 3] [--side 96] [--classes 32]

One map of 8 channels, batch 1, without gradients. The two forms take turns in one process, and the median counts; the peak of
memory is that of a process of its own, beyond imports and the map. Wanted: at least eight times as fast, a tenth of the memory,
logits equal within 1e-5. On CUDA too where there is one, there with the memory of the device.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

import torch
from backbones import resident_peak
from torch import Tensor
from torch.nn import functional as F

from fmlab.pretraining.dynamic_head import dynamic_head, parameter_count

WIDTH = 8


def grouped(f: Tensor, theta: Tensor) -> Tensor:
    """The published form: for each sample, F once per class, and three convolutions with one group per class."""
    results = []
    for sample, numbers in zip(f, theta):
        k, c = len(numbers), len(sample)
        w1, w2, w3, b1, b2, b3 = numbers.split([c * c, c * c, c, c, c, 1], 1)
        h = sample[None].repeat(1, k, 1, 1, 1)
        h = F.relu(F.conv3d(h, w1.reshape(k * c, c, 1, 1, 1), b1.flatten(), groups=k))
        h = F.relu(F.conv3d(h, w2.reshape(k * c, c, 1, 1, 1), b2.flatten(), groups=k))
        results.append(F.conv3d(h, w3.reshape(k, c, 1, 1, 1), b3.flatten(), groups=k))
    return torch.cat(results)


FORMS = {"at once": dynamic_head, "grouped": grouped}


def material(side: int, classes: int, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """F and theta, of noise: what they hold costs nothing."""
    generator = torch.Generator().manual_seed(0)
    f = torch.randn(1, WIDTH, side, side, side, generator=generator)
    return f.to(device), torch.randn(1, classes, parameter_count(WIDTH), generator=generator).div(WIDTH**0.5).to(device)


def peak(side: int, classes: int, form: str) -> int:
    """The most memory (bytes) that a process needs, beyond imports; ask early, as Linux counts its parent's too."""
    command = [sys.executable, __file__, "--child", form, "--side", str(side), "--classes", str(classes)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


@torch.no_grad()
def compare(side: int, classes: int, device: str, rounds: int, memory: dict[str, int]) -> None:
    """Both forms in turn; one line."""
    given, seconds, found = material(side, classes, device), {form: [] for form in FORMS}, {}
    for turn in range(rounds + 1):
        for form, head in FORMS.items():
            if device == "cuda":
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
            start = time.perf_counter()
            logits = head(*given)
            if device == "cuda":
                torch.cuda.synchronize()
                memory[form] = torch.cuda.max_memory_allocated() - before
            if turn:  # the first is to warm up
                seconds[form].append(time.perf_counter() - start)
            found[form] = logits.cpu()
            del logits
    fast, literal = (statistics.median(times) for times in seconds.values())
    apart = (found["at once"] - found["grouped"]).abs().max() / found["grouped"].abs().max()
    print(f"{device}, {side}^3, {classes} classes: at once {fast:.3f} s, grouped {literal:.3f} s, "
          f"a factor of {literal / fast:.1f}; {memory['at once'] / 2**20:.0f} and {memory['grouped'] / 2**20:.0f} MiB at most, "
          f"a share of {memory['at once'] / memory['grouped']:.3f}; logits {apart:.1e} of the largest apart")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--classes", type=int, default=32)
    parser.add_argument("--child", choices=FORMS)
    wanted = parser.parse_args()
    size = wanted.side, wanted.classes
    if wanted.child:
        with torch.no_grad():
            FORMS[wanted.child](*material(8, wanted.classes))  # what a first call loads is not the head's
            given = material(*size)
            before = resident_peak()
            FORMS[wanted.child](*given)
        print(resident_peak() - before)
        raise SystemExit
    peaks = {form: peak(*size, form) for form in FORMS}  # first, while this process is small
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        compare(*size, device, wanted.rounds, peaks if device == "cpu" else {})
    load = f", load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores" if hasattr(os, "getloadavg") else ""
    print(f"({wanted.rounds} rounds, {torch.get_num_threads()} threads{load})")
