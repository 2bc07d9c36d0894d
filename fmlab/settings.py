"""The three knobs, each read in this one place: FMLAB_PROFILE (cost), FMLAB_DEVICE (hardware), FMLAB_DATA (cache)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from fmlab.errors import SettingsError


@dataclass(frozen=True)
class Profile:
    """How much a lesson may spend; lesson code is the same in every profile.

    spacing: phantom voxel size in mm. cases: bodies in a small cohort. steps: of a short live training. seconds, gigabytes: a
    lesson's budget.
    """

    name: str
    spacing: float
    cases: int
    steps: int
    seconds: float
    gigabytes: float


_PROFILES = {
    "ci": Profile("ci", spacing=6.0, cases=3, steps=4, seconds=150, gigabytes=3.0),
    "laptop": Profile("laptop", spacing=4.0, cases=6, steps=40, seconds=150, gigabytes=3.0),
    "gpu": Profile("gpu", spacing=3.0, cases=24, steps=200, seconds=150, gigabytes=12.0),
}


def profile() -> Profile:
    """The cost profile named by FMLAB_PROFILE (ci, laptop or gpu; laptop when unset)."""
    name = os.environ.get("FMLAB_PROFILE", "laptop")
    if name not in _PROFILES:
        raise SettingsError(f"FMLAB_PROFILE is {name!r}; set it to one of {', '.join(_PROFILES)}.")
    return _PROFILES[name]


def device() -> torch.device:
    """Where tensors live: FMLAB_DEVICE if set, else cuda, else mps, else cpu."""
    name = os.environ.get("FMLAB_DEVICE")
    if name is None:
        if torch.cuda.is_available():
            name = "cuda"
        else:
            name = "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        chosen = torch.device(name)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(f"FMLAB_DEVICE is {name!r}, which this machine does not offer; unset it or set it to cpu.") from error
    return chosen


def data_folder() -> Path:
    """The cache of downloaded and generated data: FMLAB_DATA if set, else ~/.cache/fmlab (or XDG_CACHE_HOME/fmlab)."""
    try:
        if folder := os.environ.get("FMLAB_DATA"):
            return Path(folder).expanduser()
        return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "fmlab"
    except RuntimeError as error:  # a user without a home, as in some containers
        raise SettingsError("There is no home folder to keep data in; set FMLAB_DATA to a folder of yours.") from error
