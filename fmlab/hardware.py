"""What computes here, in words (results say it beside their seconds), and the precision that is fast on it."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import torch

from fmlab.settings import device


def hardware() -> str:
    """What computes here: the GPU if ``settings.device()`` is one, the CPU's model, and how many threads torch uses."""
    chosen = device()
    gpu = {"cuda": lambda: f"{torch.cuda.get_device_name(chosen)}, ", "mps": lambda: "Apple GPU, "}.get(chosen.type, lambda: "")()
    threads = torch.get_num_threads()
    return f"{gpu}{_cpu()}, {threads} thread{'s' * (threads != 1)}"


def fast_precision() -> str:
    """The ``precision`` of ``TrainConfig`` that is fast here: bf16 also on a CPU that computes it, by AVX512-BF16 or AMX."""
    here = torch.backends.cpu.get_cpu_capability()
    knows = torch.cpu._is_avx512_bf16_supported() if hasattr(torch.cpu, "_is_avx512_bf16_supported") else False
    return "bf16-everywhere" if here.startswith("AVX512") and knows else "bf16"


def _cpu() -> str:
    """The CPU's model in words; each system tells it elsewhere, and ``platform.processor()`` is often empty or just "x86_64"."""
    try:
        if platform.system() == "Linux":
            told = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            names = [line.split(":", 1)[1].strip() for line in told if line.lower().startswith("model name")]
        else:
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            names = [_output(command)] if platform.system() == "Darwin" else []
    except OSError:
        names = []
    return next(filter(None, names), "") or platform.processor() or platform.machine()


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
