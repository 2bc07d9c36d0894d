"""``fmlab doctor``: what this machine offers to the course, one line a fact, and what to do about what is missing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fmlab.errors import FmlabError

GB = 1e9
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True)
class Finding:
    """One fact. state: "ok", "note" (works, but know it) or "problem"; advice: what to do about it."""

    what: str
    state: Literal["ok", "note", "problem"]
    fact: str
    advice: str = ""

    def __str__(self) -> str:
        mark = {"ok": "ok     ", "note": "note   ", "problem": "PROBLEM"}[self.state]
        return f"{mark} {self.what:<9} {self.fact}" + (f"\n{'':18}{self.advice}" if self.advice else "")


def examine() -> tuple[Finding, ...]:
    """Look at everything the course needs; never raises for what is missing."""
    looks: tuple[Callable[[], Finding], ...] = (_python, _torch, _device, _memory, _cache, _disk, _widgets, _chromium)
    return tuple(_safely(look) for look in looks)


def _safely(look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except (FmlabError, ImportError, OSError) as error:
        advice = "" if isinstance(error, FmlabError) else "Run `make lab` again, or reinstall fmlab."  # ours say what to do
        return Finding(look.__name__.strip("_"), "problem", str(error), advice)


def _python() -> Finding:
    fits = (3, 11) <= sys.version_info[:2] <= (3, 13)
    advice = "" if fits else "fmlab is tested with Python 3.11 to 3.13."
    return Finding("python", "ok" if fits else "problem", f"{platform.python_version()} at {sys.executable}", advice)


def _torch() -> Finding:
    import torch

    return Finding("torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads")


def _device() -> Finding:
    import torch

    from fmlab.settings import device, profile

    chosen = device()
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else platform.processor() or platform.machine()
    return Finding("device", "ok", f"{chosen} ({name}), profile {profile().name}")


def _memory() -> Finding:
    import psutil

    from fmlab.settings import profile

    memory, needed = psutil.virtual_memory(), profile().gigabytes * GB
    fact = f"{memory.available / GB:.1f} GB free of {memory.total / GB:.1f} GB"
    if memory.available >= needed:
        return Finding("memory", "ok", fact)
    return Finding("memory", "note", fact, f"A lesson may take {needed / GB:g} GB; close other programs.")


def _cache() -> Finding:
    from fmlab.settings import data_folder

    folder = data_folder()
    nearest = _nearest(folder)
    if not os.access(nearest, os.W_OK):
        return Finding("cache", "problem", f"{folder} cannot be written", "Set FMLAB_DATA to a folder of yours.")
    held = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else 0
    return Finding("cache", "ok", f"{folder}, {held / 1e6:.0f} MB held")


def _disk() -> Finding:
    from fmlab.settings import data_folder

    free = shutil.disk_usage(_nearest(data_folder())).free
    advice = "" if free > 2 * GB else "Below 2 GB: real data sets may not fit; set FMLAB_DATA to a larger disk."
    return Finding("disk", "note" if advice else "ok", f"{free / GB:.1f} GB free where the cache lies", advice)


def _widgets() -> Finding:
    """Widgets are drawn by JupyterLab only if the Python half and the browser half speak the same major versions."""
    names = ("ipywidgets", "jupyterlab_widgets", "anywidget", "jupyterlab")
    try:
        versions = {name: importlib.metadata.version(name) for name in names}
    except importlib.metadata.PackageNotFoundError as error:
        advice = "Viewer and quizzes show as still pictures; run `make lab`."
        return Finding("widgets", "problem", f"{error.name} is not installed", advice)
    fact = ", ".join(f"{name} {version}" for name, version in versions.items())
    wrong = mismatch(versions)
    return Finding("widgets", "problem" if wrong else "ok", fact, wrong)


def mismatch(versions: dict[str, str]) -> str:
    """What does not fit together among the widget packages, "" if all does."""
    major = {name: int(version.split(".")[0]) for name, version in versions.items()}
    if major["ipywidgets"] != 8 or major["jupyterlab_widgets"] != 3:
        return "ipywidgets 8 needs jupyterlab_widgets 3; install both from constraints.txt."
    if major["jupyterlab"] != 4:
        return "JupyterLab 4 is needed; install it from constraints.txt."
    return ""


def _chromium() -> Finding:
    found = next(filter(None, map(shutil.which, _CHROMIUM)), None)
    if found:
        return Finding("chromium", "ok", found)
    return Finding("chromium", "note", "not found", "Only the browser tests need it.")


def _nearest(folder: Path) -> Path:
    """The folder itself, or its nearest ancestor that exists."""
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())
