"""The course's own small promptable models: what they were trained on, and whom they never met."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from fmlab.cohorts import Cohort
from fmlab.held_out import HELD_OUT as HELD_OUT  # what they are examined on
from fmlab.held_out import TASKS as TASKS
from fmlab.interactive.cubes import Cubes
from fmlab.interactive.large_volumes import LargeVolume
from fmlab.interactive.preprocess_sam_med3d import z_normalised
from fmlab.interactive.slices import Slices
from fmlab.phantom.visits import any_visit
from fmlab.templates import assembly
from fmlab.volume import Volume

SIZE, SIDE = 128, 32  # pixels of a picture, voxels of a cube
FINE, COARSE = 4.0, 6.0  # mm of the bodies that pictures are cut from, and of cubes
FINE_COUNTS = dict.fromkeys("ABCD", 24)  # bodies per hospital
COARSE_COUNTS = dict.fromkeys("ABCD", 40)  # the people of the in-context models


SOLID = tuple(name for name in TASKS if name not in ("body", "subcutaneous_fat", "muscle", "bone"))
"""What one points at in 3-D: things, and not what is everywhere."""


def bodies(counts: Mapping[str, int], spacing: float, first_seed: int = 0, workers: int | None = None) -> Cohort:
    """Whole label maps of several hospitals' bodies, in any phase and field of view; a seed is a person."""
    return assembly(counts, spacing, first_seed, workers, any_visit, partial=False)


def slices(counts: Mapping[str, int] = FINE_COUNTS, workers: int | None = None, **changes) -> Slices:
    """What the nano SAM was trained on."""
    return Slices(bodies(counts, FINE, workers=workers), TASKS, SIZE, **changes)


def cubes(counts: Mapping[str, int] = COARSE_COUNTS, workers: int | None = None, **changes) -> Cubes:
    """What the nano SAM-Med3D was trained on: cubes of 192 mm."""
    return Cubes(bodies(counts, COARSE, workers=workers), SOLID, SIDE, COARSE, values=soft, **changes)


def soft(image: Tensor) -> Tensor:
    """HU to what the nano SAM-Med3D reads: soft tissue between -1 and 1, fat below, air and bone cut off.

    SAM-Med3D's z-score has air at -10 and tells two organs apart by 0.1; a small model learns little from that.
    """
    return (image.clamp(-250, 450) - 50) / 100


def soft_of_others(image: Tensor) -> Tensor:
    """The same for what is no CT: z-scored by the voxels above 0, as SAM-Med3D does, and cut off at 3 deviations."""
    return z_normalised(image).clamp(-3, 3)


def clickable(model: nn.Module, volume: Volume, **changes) -> LargeVolume:
    """A volume to be clicked on with the nano SAM-Med3D: its spacing, its values, air beyond the scan."""
    ct = volume.modality == "CT"
    return LargeVolume(model, volume, COARSE, soft if ct else soft_of_others, fill=-1000.0 if ct else 0.0, **changes)
