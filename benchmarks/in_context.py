"""What does the factorised cross-convolution save? UniverSeg and Tyche, published widths, beside themselves by the letter.

    python benchmarks/in_context.py [--rounds 5] [--shots 16 64]

One picture of 128 x 128 and S examples, without gradients. The two forms take turns in one process, and the median counts; the
peak of memory is that of a process of its own, beyond imports. Wanted: at least twice as fast and under half the memory. On CUDA
too where there is one, there with the memory of the device.
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
from torch import Tensor, nn

from fmlab import hub

SIDE, CANDIDATES = 128, 8
FORMS = {"factorised": False, "literal": True}


def network(name: str, device: str = "cpu") -> nn.Module:
    torch.manual_seed(0)
    return hub.build(name).to(device).eval()


def episode(shots: int, device: str = "cpu") -> tuple[Tensor, Tensor, Tensor]:
    """Query, support images and masks, of noise: what they show costs nothing."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(1, shots + 1, 1, SIDE, SIDE, generator=generator).to(device)
    return images[:, 0], images[:, 1:], (images[:, 1:] > 0.5).float()


@torch.no_grad()
def run(model: nn.Module, given: tuple[Tensor, Tensor, Tensor], form: str) -> Tensor:
    """Logits; of Tyche those of CANDIDATES, always with the same noise."""
    options = {"candidates": CANDIDATES, "generator": torch.Generator().manual_seed(0)} if model.recipe["name"] == "tyche" else {}
    return model(*given, literal=FORMS[form], **options)


def peak(name: str, shots: int, form: str) -> int:
    """The most memory (bytes) that a process needs, beyond imports; ask early, as Linux counts its parent's too."""
    command = [sys.executable, __file__, "--child", name, form, "--shots", str(shots)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def compare(name: str, shots: int, device: str, rounds: int, memory: dict[str, int]) -> None:
    """Both forms in turn; one line."""
    model, given, seconds, found = network(name, device), episode(shots, device), {form: [] for form in FORMS}, {}
    for turn in range(rounds + 1):
        for form in FORMS:
            if device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            start = time.perf_counter()
            found[form] = run(model, given, form).cpu()  # waits for the device
            if turn:  # the first is to warm up
                seconds[form].append(time.perf_counter() - start)
            if device == "cuda":
                memory[form] = torch.cuda.max_memory_allocated()
    fast, literal = (statistics.median(times) for times in seconds.values())
    apart = (found["factorised"] - found["literal"]).abs().max()
    print(f"{device}, {name}, S={shots}: factorised {fast:.3f} s, literal {literal:.3f} s, a factor of {literal / fast:.2f}; "
          f"{memory['factorised'] / 2**20:.0f} and {memory['literal'] / 2**20:.0f} MiB at most, "
          f"a share of {memory['factorised'] / memory['literal']:.2f}; logits {apart:.1e} apart")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shots", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--child", nargs=2)
    wanted = parser.parse_args()
    if wanted.child:
        name, form = wanted.child
        before = resident_peak()
        run(network(name), episode(wanted.shots[0]), form)
        print(resident_peak() - before)
        raise SystemExit
    cases = [("universeg", shots) for shots in wanted.shots] + [("tyche", wanted.shots[0])]
    peaks = {case: {form: peak(*case, form) for form in FORMS} for case in cases}  # first, while this process is small
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        for case in cases:
            compare(*case, device, wanted.rounds, peaks[case] if device == "cpu" else {})
    load = f", load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores" if hasattr(os, "getloadavg") else ""
    print(f"({wanted.rounds} rounds, {SIDE} x {SIDE}, Tyche: {CANDIDATES} candidates, {torch.get_num_threads()} threads{load})")
