"""What may be set about a training, and what is refused."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fmlab.errors import SettingsError

_COUNTS = {"steps": 1, "warmup": 0, "batch": 1, "accumulate": 1, "every": 1, "workers": 0, "seed": 0}  # name: least
_AMOUNTS = ("lr", "weight_decay", "power")
_CHOICES = {"schedule": ("cosine", "poly", "constant"), "precision": ("bf16", "bf16-everywhere", "float32"),
            "optimiser": ("adamw", "muon")}
FREE = ("every", "workers", "device", "unused_parameters")  # what may change between a run and its continuation


@dataclass(frozen=True)
class TrainConfig:
    """The settings of a training; SettingsError for a value outside its range.

    steps: updates of the weights. lr: highest learning rate. weight_decay: taken off the weights in each step, in units
    of the rate. optimiser: "adamw", or "muon" for the matrices (``optimisers``). schedule: "cosine", "poly" or "constant".
    warmup: steps until ``lr`` is reached. power: exponent of "poly". batch: cases of one pass, all processes together.
    accumulate: passes per step. clip: largest norm of the gradient, None for no limit. seed: order, augmentation and dropout.
    precision: "bf16" (autocast, on CUDA only; float32 elsewhere), "bf16-everywhere" (on a CPU too: half the time where the
    processor has AVX512-BF16 or AMX, much longer where not) or "float32". every: steps from checkpoint to checkpoint.
    workers: processes that load cases. device: None for ``fmlab.settings.device()``. unused_parameters: under DDP, allow steps
    that leave a weight out (as the heads of other tasks).
    """

    steps: int
    lr: float = 1e-3
    weight_decay: float = 0.01
    optimiser: str = "adamw"
    schedule: str = "cosine"
    warmup: int = 0
    power: float = 0.9
    batch: int = 2
    accumulate: int = 1
    clip: float | None = 1.0
    seed: int = 0
    precision: str = "bf16"
    every: int = 100
    workers: int = 0
    device: str | None = None
    unused_parameters: bool = False

    def __post_init__(self) -> None:
        for name, least in _COUNTS.items():
            if not (isinstance(getattr(self, name), int) and getattr(self, name) >= least):
                raise SettingsError(f"TrainConfig: {name} is {getattr(self, name)!r}; give a whole number, {least} or more.")
        for name in _AMOUNTS:
            value = getattr(self, name)
            if not (isinstance(value, int | float) and math.isfinite(value) and value >= 0):
                raise SettingsError(f"TrainConfig: {name} is {value!r}; give a finite number, 0 or more.")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise SettingsError(f"TrainConfig: {name} is {getattr(self, name)!r}; choose one of {', '.join(choices)}.")
        if self.clip is not None and not self.clip > 0:
            raise SettingsError(f"TrainConfig: clip is {self.clip!r}; set it above 0, or to None for no limit.")
