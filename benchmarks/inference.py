"""What does a whole scan cost? ``inference.segment`` beside a plain MONAI loop on the same nano: seconds, windows/s, memory.

    python benchmarks/inference.py [--side 160] [--rounds 5]
    python benchmarks/inference.py --large      a CT of 512 x 512 x 1000 voxels from a file to a file, once

The plain loop is what a user of MONAI would write: Spacing, a sliding window, logits back on the scan's grid, arg max. The two
take turns in one process, and the median counts; the peak of memory is that of a process of its own, less what importing takes.
On CUDA too where there is one, there with the memory of the device.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from backbones import resident_peak
from monai.data import MetaTensor
from monai.inferers import sliding_window_inference
from monai.transforms import Spacing
from torch import nn

from fmlab import hub, inference
from fmlab.segment_scan import segment_file
from fmlab.volume import Volume
from fmlab.windows import WIDE

GRID, CUBE = 4.0, 64  # mm, voxels


def network(device: str = "cpu") -> nn.Module:
    """nano with 30 classes and random weights, as likely above 0 as below: all classes occur, the worst case for what follows."""
    torch.manual_seed(0)
    model = hub.build("universal").to(device).eval()
    nn.init.zeros_(model.head.bias)
    return model


def scan(side: int) -> Volume:
    """A noisy body in air, 400 mm wide."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, side, side, side, generator=generator) * 30 + 40
    image[:, : side // 8], image[:, -side // 8 :] = -1000, -1000
    return Volume(image, np.diag([400 / side] * 3 + [1]))


def ours(model: nn.Module, volume: Volume) -> torch.Tensor:
    """Labels (X, Y, Z) by ``segment``."""
    return inference.segment(model, volume).labels[0]


def plain(model: nn.Module, volume: Volume) -> torch.Tensor:
    """The same by hand, with the whole scan's logits in memory."""
    device = next(model.parameters()).device
    image = Spacing((GRID,) * 3, mode="bilinear")(MetaTensor(volume.image, affine=torch.as_tensor(volume.affine)))
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        values = WIDE(image.as_tensor())[None]
        logits = sliding_window_inference(values, (CUBE,) * 3, 1, model, 0.5, mode="gaussian", sw_device=device, device="cpu")
    fine = nn.functional.interpolate(logits.float(), size=volume.shape, mode="trilinear", align_corners=False)[0]
    best, winner = fine.max(0)
    return torch.where(best > 0, winner + 1, 0)


WAYS = {"ours": ours, "plain": plain}


def windows(side: int) -> int:
    """How many cubes cover the scan, half of one over the next."""
    wide = max(round(400 / GRID), CUBE)
    return (-(-(wide - CUBE) // (CUBE // 2)) + 1) ** 3


def peak(way: str, side: int) -> int:
    """The most memory (bytes) that a process needs for one scan, beyond imports; ask early, as Linux counts its parent's too."""
    command = [sys.executable, __file__, "--child", way, "--side", str(side)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def compare(device: str, side: int, rounds: int) -> None:
    """Both ways in turn on one device; one line."""
    memory = {name: peak(name, side) for name in WAYS} if device == "cpu" else {}
    model, volume, seconds = network(device), scan(side), {name: [] for name in WAYS}
    for turn in range(rounds + 1):
        for name, run in WAYS.items():
            if device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            start = time.perf_counter()
            run(model, volume)
            if turn:  # the first is to warm up
                seconds[name].append(time.perf_counter() - start)
            if device == "cuda":
                memory[name] = torch.cuda.max_memory_allocated()
    ratio = statistics.median(a / b for a, b in zip(seconds["ours"], seconds["plain"]))
    count = windows(side)
    for name, times in seconds.items():
        middle = statistics.median(times)
        print(f"{device}, {name:<5}: median {middle:.2f} s a scan, {count / middle:.1f} windows/s, "
              f"{memory[name] / 2**20:.0f} MiB at most")
    load = f", load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores" if hasattr(os, "getloadavg") else ""
    print(f"{device}, ours / plain: {ratio:.3f} ({rounds} rounds, {side}^3 scan, {count} windows of {CUBE}^3, nano, 30 classes, "
          f"{torch.get_num_threads()} threads{load})")


def large(shape: tuple[int, int, int] = (512, 512, 1000)) -> None:
    """A CT as large as they come, 0.7 x 0.7 x 1 mm, from a NIfTI file to a label file: seconds and the process's whole memory."""
    with tempfile.TemporaryDirectory() as folder:
        weights = hub.save(network(), Path(folder) / "random.safetensors")
        subprocess.run([sys.executable, __file__, "--child", "draw", "--folder", folder, "--shape", *map(str, shape)], check=True)
        start = time.perf_counter()
        found = segment_file(Path(folder) / "ct.nii", Path(folder) / "labels.nii.gz", weights, progress=False)
        print(f"{' x '.join(map(str, shape))} from file to file: {time.perf_counter() - start:.0f} s, "
              f"{resident_peak() / 2**30:.2f} GiB at most, imports included ({len(found.volume.structures)} structures found)")


def draw(folder: Path, shape: tuple[int, ...]) -> None:
    """The large CT, in a process of its own, so that its memory is not counted."""
    rng, image = np.random.default_rng(0), np.full(shape, -1000, np.int16)
    for z in range(shape[2]):
        image[60:-60, 100:-100, z] = rng.normal(40, 30, (shape[0] - 120, shape[1] - 200))
    nib.save(nib.Nifti1Image(image, np.diag([-0.7, -0.7, 1.0, 1.0])), folder / "ct.nii")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--child", choices=(*WAYS, "draw"))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--shape", type=int, nargs=3)
    wanted = parser.parse_args()
    if wanted.child == "draw":
        draw(wanted.folder, wanted.shape)
    elif wanted.child:
        before = resident_peak()
        WAYS[wanted.child](network(), scan(wanted.side))
        print(resident_peak() - before)
    elif wanted.large:
        large()
    else:
        for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
            compare(device, wanted.side, wanted.rounds)
