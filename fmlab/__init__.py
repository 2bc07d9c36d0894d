"""fmlab: a course that runs, on foundation models for medical image segmentation.

``fmlab.view(volume)`` looks at a scan, ``fmlab.Volume.read(path)`` reads one, ``fmlab.phantom.sample(seed)`` makes one.
The folders are the course's map; start with ``tutorials/00_welcome.py`` or ``make lab``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fmlab.viewer import view as view
    from fmlab.volume import Volume as Volume

__version__ = "0.1.0"
_LAZY = {"view": "fmlab.viewer", "Volume": "fmlab.volume"}  # torch takes seconds to import; `fmlab --help` should not
_ROOMS = ("cohorts", "hub", "lessons", "metrics", "phantom", "settings", "viewer", "vocabulary", "volume")


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"fmlab.{name}")
    raise AttributeError(f"module 'fmlab' has no attribute {name!r}")
