"""What do the exact short cuts of the SAM family save? Attention and whole image encoders, beside the literal forms.

    python benchmarks/interactive.py [--rounds 5] [--cases window med3d everywhere sam]

window, med3d: SAM-Med3D's filled windows in closed form, one attention and the whole encoder; 512 tokens in a window of 14 a
side, whose 2232 others are empty. everywhere, sam: SAM's attention over the whole image by rows of queries, one attention and the
whole vit_b encoder at 1024 pixels (minutes on a CPU). Published sizes, random weights, no gradients. The two forms take turns
in one process, and the median counts; the peak of memory is that of a process of its own, beyond imports, weights and input.
Wanted: a window at least four times as fast, in a quarter of the memory; SAM in less memory than the literal form. On CUDA too
where there is one, there with the memory of the device. Last: the time of a click, for which the encoder is not asked again.
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
from fmlab.interactive.image_attention import ImageAttention
from fmlab.interactive.volume_attention import VolumeAttention

FORMS = ("exact", "literal")
CASES = ("window", "med3d", "everywhere", "sam")
CLICKS = 20


def network(case: str, device: str = "cpu") -> tuple[nn.Module, Tensor]:
    """What is timed, with positions and biases that are not 0, and its input."""
    torch.manual_seed(0)
    made, shape = {
        "window": lambda: (VolumeAttention(768, 12, (14, 14, 14)), (1, 8, 8, 8, 768)),
        "med3d": lambda: (hub.build("sam_med3d").image_encoder, (1, 1, 128, 128, 128)),
        "everywhere": lambda: (ImageAttention(768, 12, (64, 64)), (1, 64, 64, 768)),
        "sam": lambda: (hub.build("sam").image_encoder, (1, 3, 1024, 1024)),
    }[case]()
    x = torch.randn(shape)
    for name, table in made.named_parameters():
        if "rel_pos" in name or name.endswith("qkv.bias"):
            nn.init.normal_(table, std=0.1)
    return made.to(device).eval(), x.to(device)


@torch.no_grad()
def run(made: nn.Module, x: Tensor, form: str) -> Tensor:
    """The output in one of the forms."""
    for part in made.modules():
        if isinstance(part, VolumeAttention | ImageAttention):
            part.forward = part.literal if form == "literal" else type(part).forward.__get__(part)
    return made(x)


def peak(case: str, form: str) -> int:
    """The most memory (bytes) that a process needs beyond what it starts with; ask early, as Linux counts its parent's too."""
    command = [sys.executable, __file__, "--child", case, form]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def compare(case: str, device: str, rounds: int, memory: dict[str, int]) -> None:
    """Both forms in turn; one line."""
    (made, x), seconds, found = network(case, device), {form: [] for form in FORMS}, {}
    for turn in range(rounds + 1):
        for form in FORMS:
            if device == "cuda":
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
            start = time.perf_counter()
            found[form] = run(made, x, form).cpu()  # waits for the device
            if turn:  # the first is to warm up
                seconds[form].append(time.perf_counter() - start)
            if device == "cuda":
                memory[form] = torch.cuda.max_memory_allocated() - before
    exact, literal = (statistics.median(times) for times in seconds.values())
    apart = (found["exact"] - found["literal"]).abs().max()
    print(f"{device}, {case}: exact {exact:.4f} s, literal {literal:.4f} s, a factor of {literal / exact:.2f}; "
          f"{memory['exact'] / 2**20:.0f} and {memory['literal'] / 2**20:.0f} MiB at most, "
          f"a share of {memory['exact'] / memory['literal']:.2f}; outputs {apart:.1e} apart")


@torch.no_grad()
def click(device: str) -> None:
    """The time of one click with a mask prompt, of the published models and of nano."""
    for name, size in (("sam", "vit_b"), ("sam", "nano"), ("sam_med3d", "vit_b_ori"), ("sam_med3d", "nano")):
        model = hub.build(name, size=size).to(device).eval()
        grid, axes = model.image_encoder.grid, len(model.image_encoder.grid)
        features = torch.randn(1, model.prompt_encoder.channels, *grid, device=device)
        point, label = torch.tensor([[[model.size / 2] * axes]], device=device), torch.tensor([[1]], device=device)
        times, mask = [], torch.zeros(1, 1, *[4 * n for n in grid], device=device)
        for _ in range(CLICKS):
            start = time.perf_counter()
            model.decode(features, point, label, masks=mask)[0].cpu()
            times.append(time.perf_counter() - start)
        print(f"{device}, one click of {name} {size}: {1000 * statistics.median(times):.1f} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--child", nargs=2)
    wanted = parser.parse_args()
    if wanted.child:
        case, form = wanted.child
        made, x = network(case)
        before = resident_peak()
        run(made, x, form)
        print(resident_peak() - before)
        raise SystemExit
    peaks = {case: {form: peak(case, form) for form in FORMS} for case in wanted.cases}  # first, while this process is small
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        for case in wanted.cases:
            compare(case, device, wanted.rounds, peaks[case] if device == "cpu" else {})
        click(device)
    load = f", load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores" if hasattr(os, "getloadavg") else ""
    print(f"({wanted.rounds} rounds, {torch.get_num_threads()} threads{load})")
