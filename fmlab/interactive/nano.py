"""The course's own small promptable models: what they were trained on, and whom they never met."""

from __future__ import annotations

from collections.abc import Mapping

from fmlab.cohorts import Cohort
from fmlab.held_out import HELD_OUT as HELD_OUT  # what they are examined on
from fmlab.held_out import TASKS as TASKS
from fmlab.interactive.cubes import Cubes
from fmlab.interactive.slices import Slices
from fmlab.phantom.visits import any_visit
from fmlab.templates import assembly

SIZE, SIDE = 128, 32  # pixels of a picture, voxels of a cube
FINE, COARSE = 4.0, 6.0  # mm of the bodies that pictures are cut from, and of cubes
FINE_COUNTS = dict.fromkeys("ABCD", 24)  # bodies per hospital
COARSE_COUNTS = dict.fromkeys("ABCD", 40)  # the people of the in-context models


def bodies(counts: Mapping[str, int], spacing: float, first_seed: int = 0, workers: int | None = None) -> Cohort:
    """Whole label maps of several hospitals' bodies, in any phase and field of view; a seed is a person."""
    return assembly(counts, spacing, first_seed, workers, any_visit, partial=False)


def slices(counts: Mapping[str, int] = FINE_COUNTS, workers: int | None = None, **changes) -> Slices:
    """What the nano SAM was trained on."""
    return Slices(bodies(counts, FINE, workers=workers), TASKS, SIZE, **changes)


def cubes(counts: Mapping[str, int] = COARSE_COUNTS, workers: int | None = None, **changes) -> Cubes:
    """What the nano SAM-Med3D was trained on: cubes of 192 mm."""
    return Cubes(bodies(counts, COARSE, workers=workers), TASKS, SIDE, COARSE, **changes)
