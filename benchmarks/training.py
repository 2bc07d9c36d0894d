"""What does the loop cost? A step of ``train`` beside a plain loop on the same net and cases, as a ratio (target: at most 1.05).

``train`` draws seeded cases, schedules, checks for NaN, logs every step and saves once; the plain loop does what is left. The two
take turns, whole runs are timed (start and end included), and the fastest round of each counts, since other work on the machine
can only add time. The peak of memory is that of a process of its own, less what importing takes. On CUDA too where there is one,
there with the memory of the device.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time

import torch
from backbones import resident_peak
from torch.utils.data import DataLoader, Dataset

from fmlab.training import TrainConfig, train
from fmlab.training.demo import Balls, loss, net

STEPS, ROUNDS, SIZE, WIDTH, BATCH = 40, 9, 32, 16, 2


class Kept(Dataset):
    """Cases made once, so that both loops are timed and not the drawing of balls."""

    def __init__(self) -> None:
        self.cases = [Balls(8, SIZE)[index] for index in range(8)]

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> dict:
        return self.cases[index]


def ours(data: Dataset, device: str) -> None:
    """The run by ``train``."""
    with tempfile.TemporaryDirectory() as folder:
        train(net(WIDTH), loss, data, TrainConfig(STEPS, batch=BATCH, device=device), folder, progress=False)


def plain(data: Dataset, device: str) -> None:
    """The same run by hand: AdamW, clipping, bf16 autocast on CUDA, the loss read at each step."""
    model = net(WIDTH).to(device).train()
    optimiser, done = torch.optim.AdamW(model.parameters(), 1e-3), 0
    while done < STEPS:
        for batch in DataLoader(data, batch_size=BATCH, shuffle=True, pin_memory=device == "cuda"):
            optimiser.zero_grad()
            with torch.autocast("cuda", torch.bfloat16, enabled=device == "cuda"):
                value = loss(model, {key: x.to(device) if torch.is_tensor(x) else x for key, x in batch.items()})
            value.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            value.item()
            done += 1


def seconds(run, data: Dataset, device: str) -> float:
    """Wall time of a step, over a whole run."""
    start = time.perf_counter()
    run(data, device)
    return (time.perf_counter() - start) / STEPS


def peak(name: str, data: Dataset, device: str) -> int:
    """The most memory (bytes) that a run needs: of the device, or of a child process beyond imports and cases."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        RUNS[name](data, device)
        return torch.cuda.max_memory_allocated()
    return int(subprocess.run([sys.executable, __file__, name], capture_output=True, text=True, check=True).stdout.split()[-1])


RUNS = {"train": ours, "plain": plain}

if __name__ == "__main__":
    if sys.argv[1:]:  # the child of ``peak``
        kept, before = Kept(), resident_peak()
        RUNS[sys.argv[1]](kept, "cpu")
        print(resident_peak() - before)
        raise SystemExit
    cases = Kept()
    for where in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        memory = {name: peak(name, cases, where) / 2**20 for name in RUNS}  # first: Linux counts a parent's as the child's
        pairs = [(seconds(ours, cases, where), seconds(plain, cases, where)) for _ in range(ROUNDS + 1)][1:]  # first: warm-up
        a, b = (min(column) for column in zip(*pairs))
        print(f"{where}: train {1000 * a:.2f} ms a step ({1 / a:.1f} steps/s), plain {1000 * b:.2f} ms ({1 / b:.1f} steps/s), "
              f"ratio {a / b:.3f}; {memory['train']:.0f} and {memory['plain']:.0f} MiB at most "
              f"({ROUNDS} rounds of {STEPS} steps, {SIZE}^3, batch {BATCH}, {torch.get_num_threads()} threads)")
