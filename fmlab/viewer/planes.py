"""The three planes and the display windows: what the screen shows of an array in RAS order.

Radiological convention: the patient's right is on the screen's left. In RAS order every voxel axis runs right, front or up, so in
each plane the screen's columns and rows both run against the voxel axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fmlab.errors import ScanError


@dataclass(frozen=True)
class Plane:
    """axis: scrolled through. u, v: along the screen's columns and rows. marks: at the left, right, top, bottom edge."""

    axis: int
    u: int
    v: int
    marks: str


PLANES = {"axial": Plane(2, 0, 1, "RLAP"), "coronal": Plane(1, 0, 2, "RLSI"), "sagittal": Plane(0, 1, 2, "APSI")}
# (centre, width) in HU
WINDOWS = {"soft tissue": (40.0, 400.0), "lung": (-600.0, 1500.0), "bone": (400.0, 1800.0), "liver": (60.0, 160.0)}


def plane_named(name: str) -> Plane:
    """The plane of that name; ScanError lists the names if there is none."""
    if name not in PLANES:
        raise ScanError(f"There is no plane {name!r}; choose one of {', '.join(PLANES)}.")
    return PLANES[name]


def window_pair(window: str | Sequence[float], auto: tuple[float, float]) -> tuple[float, float]:
    """(centre, width) of a preset's name, of "auto" (given), or of a pair of numbers; ScanError for anything else."""
    if isinstance(window, str):
        if window not in WINDOWS and window != "auto":
            raise ScanError(f"There is no window {window!r}; choose one of {', '.join(WINDOWS)}, auto, or give (centre, width).")
        return auto if window == "auto" else WINDOWS[window]
    try:
        centre, width = (float(value) for value in window)
    except (TypeError, ValueError):
        centre, width = 0.0, 0.0
    if not (np.isfinite([centre, width]).all() and width > 0):
        raise ScanError(f"The window {window!r} is not a pair (centre, width) with a width above 0, nor the name of a preset.")
    return centre, width


def window_name(window: Sequence[float]) -> str:
    """The preset's name, or "centre 50, width 300" for a free window."""
    for name, pair in WINDOWS.items():
        if tuple(window) == pair:
            return name
    return f"centre {window[0]:g}, width {window[1]:g}"


def screen_slice(array: np.ndarray, plane: str, index: int) -> np.ndarray:
    """One slice of an (X, Y, Z) array as the screen shows it: rows from the top, columns from the left."""
    chosen = PLANES[plane]
    return np.take(array, index, axis=chosen.axis).T[::-1, ::-1]
