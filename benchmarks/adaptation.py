"""What does a way to adapt cost? Steps beside full fine-tuning's, and epochs on stored features beside theta_f in the loop.

    python benchmarks/adaptation.py [--size nano] [--side 32] [--rounds 5] [--methods linear_probe lora ...]
    python benchmarks/adaptation.py --size published --side 96 --batch 6     # on a GPU, bf16

A step is forward, loss, backward and AdamW on ``batch`` cubes of noise; methods take turns in one process, and the median counts.
Activations are what autograd keeps for one cube; on CUDA the device's peak is printed too. Wanted: PEFT steps at most 0.8 of full
fine-tuning's time and less memory; an epoch on stored features at least ten times as fast as with theta_f in the loop, which the
probe reaches. The spatial adapter's own two convolutions at full resolution cost about as much as theta_f's forward pass, with
their backward pass more, so no store of features can make it ten times as fast.
On a GPU the seconds of 199 epochs with ten shots are set beside the slides' minutes on their hardware.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from fmlab import hub
from fmlab.adaptation import METHODS, attach
from fmlab.adaptation.adapting import objective
from fmlab.adaptation.black_box import Features, Head
from fmlab.adaptation.report import activation_bytes
from fmlab.errors import ModelError

MINUTES = {"full": 8, "decoder": 7, "bitfit": 5, "lora": 6, "adaptformer": 7, "affine": 5, "linear_probe": 4,
           "spatial_adapter": 5}
"""The slides', per organ of TotalSegmentator."""
EPOCHS, SHOTS = 199, 10


class Noise(list):
    """Cubes of noise with targets, as ``Shots`` holds them in ``items``."""

    @property
    def items(self) -> list[dict]:
        return self


def noise(count: int, side: int, classes: int) -> Noise:
    """``count`` cubes."""
    generator = torch.Generator().manual_seed(0)
    return Noise({"image": torch.rand(1, side, side, side, generator=generator), "w": torch.ones(classes),
                  "target": (torch.rand(classes, side, side, side, generator=generator) > 0.9).to(torch.uint8)}
                 for _ in range(count))


def batch_of(items: list[dict], device: torch.device) -> dict:
    """A batch of cubes on the device."""
    return {name: torch.stack([item[name] for item in items]).to(device) for name in ("image", "target", "w")}


def stepper(model: nn.Module, device: torch.device) -> Callable[[dict], None]:
    """A function that makes one step on a batch."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=1e-4, weight_decay=0)

    def step(batch: dict) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = objective(model, batch)
        optimiser.zero_grad()
        loss.backward()
        clip_grad_norm_(weights, 1.0)
        optimiser.step()
        if hasattr(model, "after_step"):
            model.after_step(1e-4)

    return step


def clocked(work: Callable[[], None], device: torch.device) -> tuple[float, int]:
    """Seconds of some work, and on CUDA the most memory that it needed beyond what was there."""
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    start = time.perf_counter()
    work()
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start, torch.cuda.max_memory_allocated() - before if cuda else 0


def steps(size: str, side: int, batch: int, rounds: int, methods: list[str], device: torch.device) -> None:
    """Every method's step beside that of full fine-tuning; a line each."""
    base, cubes = hub.build("fseft", size=size).to(device), noise(batch, side, 1)
    one, models, times, memory = batch_of(cubes, device), {}, {}, {}
    for method in ["full", *(name for name in methods if name != "full")]:
        model = copy.deepcopy(base)
        try:
            adapter = attach(model, method, 1)
        except ModelError as error:
            print(f"{method}: {error}")
            continue
        kept = activation_bytes(model, one["image"][:1])
        models[method], times[method], memory[method] = (adapter, stepper(model, device), kept), [], 0
    for turn in range(rounds + 1):
        for method, (_, step, _) in models.items():
            seconds, peak = clocked(lambda step=step: step(one), device)
            memory[method] = max(memory[method], peak)
            if turn:  # the first is to warm up
                times[method].append(seconds)
    whole, whole_kept = statistics.median(times["full"]), models["full"][2]
    for method, (adapter, _, kept) in models.items():
        seconds = statistics.median(times[method])
        print(f"{method}: {seconds:.3f} s a step, {seconds / whole:.2f} of full; {adapter.count:,} trained; activations "
              f"{kept / 2**20:.0f} MiB, {kept / whole_kept:.2f} of full"
              + (f"; peak {memory[method] / 2**30:.2f} GiB" if memory[method] else "")
              + (f"; {seconds * EPOCHS * SHOTS / 60:.1f} min for {EPOCHS} epochs of {SHOTS} shots, the slides have "
                 f"{MINUTES[method]}" if size == "published" and method in MINUTES else ""))


def epochs(size: str, side: int, rounds: int, device: torch.device, count: int = 8, batch: int = 2) -> None:
    """An epoch of the black-box methods on stored features, beside one with theta_f in the loop."""
    for method in ("linear_probe", "spatial_adapter"):
        model, cubes = hub.build("fseft", size=size).to(device).eval(), noise(count, side, 1)
        attach(model, method, 1)
        stored, through, behind = Features(model, cubes), stepper(model, device), stepper(Head(model).to(device), device)

        def in_the_loop(cubes: Noise = cubes, through: Callable[[dict], None] = through) -> None:
            for n in range(0, count, batch):
                through(batch_of(cubes[n:n + batch], device))

        def on_features(stored: Features = stored, behind: Callable[[dict], None] = behind) -> None:
            for n in range(0, count, batch):
                behind(batch_of([stored[i] for i in range(n, n + batch)], device))

        first, _ = clocked(on_features, device)
        slow, fast = [], []
        for _ in range(rounds):
            slow.append(clocked(in_the_loop, device)[0])
            fast.append(clocked(on_features, device)[0])
        ratio = statistics.median(slow) / statistics.median(fast)
        print(f"{method}, an epoch of {count} cubes: {statistics.median(slow):.3f} s with theta_f in the loop; on stored "
              f"features {first:.3f} s the first time, then {statistics.median(fast):.3f} s, {ratio:.1f} times as fast; "
              f"theta_f ran {stored.runs} times")


def main() -> None:
    """Both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=["nano", "published"], default="nano")
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--methods", nargs="+", choices=sorted(METHODS), default=list(METHODS))
    given = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(f"{device}, {given.size}, cubes of {given.side}, batches of {given.batch}")
    steps(given.size, given.side, given.batch, given.rounds, given.methods, device)
    epochs(given.size, given.side, given.rounds, device)


if __name__ == "__main__":
    main()
