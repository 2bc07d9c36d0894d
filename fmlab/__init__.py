"""fmlab: a course that runs, on foundation models for medical image segmentation.

``fmlab.view(volume)`` looks at a scan, ``fmlab.Volume.read(path)`` reads one, ``fmlab.phantom.sample(seed)`` makes one;
``fmlab.sketch(pictures)`` lets you draw masks on pictures.
The folders are the course's map; start with ``tutorials/00_welcome.py`` or ``make lab``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fmlab.viewer import Sketch
    from fmlab.viewer import view as view
    from fmlab.volume import Volume as Volume

    sketch = Sketch

__version__ = "0.1.0"
# Where a name comes from, and its name there. torch takes seconds to import; `fmlab --help` should not.
_LAZY = {"view": ("fmlab.viewer", "view"), "sketch": ("fmlab.viewer", "Sketch"), "Volume": ("fmlab.volume", "Volume")}
_ROOMS = ("cohorts", "hub", "lessons", "metrics", "phantom", "settings", "viewer", "vocabulary", "volume")


def __getattr__(name: str) -> object:
    if name in _LAZY:
        room, there = _LAZY[name]
        return getattr(importlib.import_module(room), there)
    if name in _ROOMS:
        return importlib.import_module(f"fmlab.{name}")
    raise AttributeError(f"module 'fmlab' has no attribute {name!r}")
