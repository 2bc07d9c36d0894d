"""The course's own small in-context models: which tasks they learned, on which bodies, and which tasks they never met."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fmlab import cohorts
from fmlab.held_out import HELD_OUT as HELD_OUT  # what in-context learning is judged by
from fmlab.held_out import TASKS as TASKS
from fmlab.incontext.bodies import Bodies
from fmlab.incontext.episodes import Episodes
from fmlab.incontext.shapes import Shapes
from fmlab.incontext.volume_episodes import VolumeEpisodes
from fmlab.phantom.visits import any_visit
from fmlab.templates import assembly

SIZE = 64  # pixels of a side
SPACING = 6.0  # mm, so that a body's field of 384 mm fills a picture
WIDTHS = (16, 32, 48, 64)  # of the four levels; the published networks have 64 in each, and 128 pixels
COUNTS = {"A": 40, "B": 40, "C": 40, "D": 40}  # bodies per hospital


def bodies(counts: Mapping[str, int] = COUNTS, first_seed: int = 0, workers: int | None = None) -> cohorts.Cohort:
    """Whole label maps of several hospitals' bodies, in any phase and field of view; a seed is a person, as in ``templates``."""
    return assembly(counts, SPACING, first_seed, workers, any_visit, partial=False)


def training_episodes(drawn_by: Callable | None = None, counts: Mapping[str, int] = COUNTS,
                      workers: int | None = None) -> Episodes:
    """What the shipped weights were trained on: seven tenths structures of bodies, three tenths synthetic shapes.

    drawn_by: ``readers.redrawn`` for Tyche, where each mask is some reader's.
    """
    tasks = Bodies(bodies(counts, workers=workers), TASKS, size=SIZE)
    return Episodes([tasks, Shapes(SIZE)], [0.7, 0.3], drawn_by=drawn_by)


def volume_episodes(counts: Mapping[str, int] = COUNTS, classes: int = 4, people: int = 2, workers: int | None = None
                    ) -> VolumeEpisodes:
    """What the shipped Iris was trained on: the same people and structures, in windows of 384 x 256 x 256 mm."""
    return VolumeEpisodes(bodies(counts, workers=workers), TASKS, classes, people)
