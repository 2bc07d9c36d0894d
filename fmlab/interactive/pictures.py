"""Slices of a volume as pictures that a promptable model looks at, and the objects in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fmlab.errors import PromptError
from fmlab.interactive.slices import largest_object, upright
from fmlab.volume import Volume
from fmlab.windows import SOFT_TISSUE, Window

AXES = {"sagittal": 0, "coronal": 1, "axial": 2}


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture and an object in it. image: (H, W) uint8. mask: (H, W) bool. name: of the structure. person: whose it is."""

    image: np.ndarray
    mask: np.ndarray
    name: str
    person: str


def grey(volume: Volume, axis: str = "axial", index: int = 0, window: Window | None = SOFT_TISSUE) -> np.ndarray:
    """A slice as a picture (H, W) uint8, upright. window: of HU; None, and for what is no CT, the 0.5 and 99.5 percentiles of the
    volume become black and white. Raises PromptError for an axis or a slice that is not there."""
    flat = _slice(volume.image[0].numpy(), axis, index)
    if window is None or volume.modality != "CT":
        low, high = np.percentile(volume.image[0].numpy(), (0.5, 99.5))
        return (255 * np.clip((flat - low) / max(high - low, 1e-6), 0, 1)).round().astype(np.uint8)
    return (255 * window(volume.image[0].select(AXES[axis], index)).clamp(0, 1)).round().numpy().astype(np.uint8).T[::-1].copy()


def drawn(volume: Volume, name: str, axis: str = "axial", index: int = 0) -> np.ndarray:
    """The structure's mask (H, W) bool in that slice."""
    return _slice(volume.mask(name).numpy(), axis, index)


def largest_slice(volume: Volume, name: str, axis: str = "axial") -> int:
    """The slice in which a structure takes most voxels. Raises PromptError where the volume does not show it."""
    area = volume.mask(name).sum([i for i in range(3) if i != AXES[axis]])
    if not int(area.max()):
        raise PromptError(f"{volume.name!r} does not show {name}; ask for a structure that it shows.")
    return int(area.argmax())


def scene(volume: Volume, name: str, axis: str = "axial", index: int | None = None, window: Window | None = SOFT_TISSUE) -> Scene:
    """The largest object of a structure, in one slice or in the one that shows most of it."""
    index = largest_slice(volume, name, axis) if index is None else index
    return Scene(grey(volume, axis, index, window), largest_object(drawn(volume, name, axis, index)), name, volume.name)


def _slice(values: np.ndarray, axis: str, index: int) -> np.ndarray:
    if axis not in AXES:
        raise PromptError(f"There is no axis {axis!r} to cut along; choose one of {', '.join(AXES)}.")
    if not -values.shape[AXES[axis]] <= index < values.shape[AXES[axis]]:
        raise PromptError(f"There are {values.shape[AXES[axis]]} {axis} slices, so none of number {index}.")
    return upright(values.take(index, AXES[axis]))
