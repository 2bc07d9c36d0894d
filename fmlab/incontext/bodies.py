"""Tasks from labelled volumes: a structure and an axis are a task, a slice of another person each example."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fmlab.errors import DataError
from fmlab.incontext.material import AXES, axis_number, picture
from fmlab.vocabulary import region
from fmlab.volume import Volume
from fmlab.windows import window

ENOUGH = 0.5  # slices that show at least this share of the structure's largest area are examples of it
PIXELS = 12  # and at least this many pixels of the picture


@dataclass(frozen=True)
class _Body:
    volume: Volume  # without image: the geometry
    hu: Tensor  # (X, Y, Z) int16
    labels: Tensor  # (X, Y, Z) uint8
    group: str
    slices: dict[tuple[str, str], np.ndarray]  # (structure, axis) -> numbers of the slices that are examples


class Bodies:
    """A source of tasks (structure, axis), balanced: each task is drawn as often as another.

    cohort: labelled CTs; each is one subject. structures: those that may be asked for, parts included in their wholes. axes: of
    material.AXES. size: of the pictures. jitter: whether each episode has an HU window of its own. In half of the episodes all
    subjects are of one hospital (``info["centre"]``). Raises DataError where fewer than two people show any of the tasks.
    """

    name = "bodies"

    def __init__(self, cohort: Iterable[Volume], structures: Sequence[str], axes: Sequence[str] = tuple(AXES), size: int = 64,
                 jitter: bool = True):
        self.size, self.jitter = size, jitter
        self.bodies = [_kept(volume, structures, axes, size) for volume in cohort]
        shown: dict[tuple[str, str], list[int]] = {}
        for number, body in enumerate(self.bodies):
            for task in body.slices:
                shown.setdefault(task, []).append(number)
        self.tasks = {task: people for task, people in sorted(shown.items()) if len(people) >= 2}
        if not self.tasks:
            raise DataError("No two of these volumes show a structure that was asked for; give more volumes or structures.")

    def draw(self, rng: np.random.Generator, count: int, task: tuple[str, str] | None = None) -> tuple[Tensor, Tensor, list[str]]:
        """The query first, and ``count`` - 1 supports of a task: images (N, 1, H, W) in [0, 1], masks (N, 1, H, W), who each is.

        The query's subject is never in its support; if there are too few others, some come twice, in another slice perhaps.
        """
        task = list(self.tasks)[rng.integers(len(self.tasks))] if task is None else task
        people = self.tasks[task]
        if rng.random() < 0.5:
            group = self.bodies[people[rng.integers(len(people))]].group
            of_group = [p for p in people if self.bodies[p].group == group]
            people = of_group if len(of_group) >= 2 else people
        order = rng.permutation(people)
        others = order[1:count] if len(order) >= count else np.concatenate([order[1:], rng.choice(order[1:], count - len(order))])
        chosen = [int(order[0]), *map(int, others)]
        entries = [self._example(self.bodies[p], task, rng) for p in chosen]
        shade = _random_window(rng) if self.jitter else window(-175, 250)
        images = shade(torch.stack([hu for hu, _ in entries])).clamp(0, 1)
        return images[:, None], torch.stack([mask for _, mask in entries])[:, None], [self.bodies[p].volume.name for p in chosen]

    def _example(self, body: _Body, task: tuple[str, str], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Picture in HU and mask of one person, each (H, W)."""
        structure, axis = task
        index = int(rng.choice(body.slices[task]))
        hu = picture(body.volume, body.hu, axis, index, self.size)
        drawn = picture(body.volume, body.labels, axis, index, self.size, labels=True)
        return hu, torch.isin(drawn, torch.tensor(region(structure), dtype=drawn.dtype)).float()


def _random_window(rng: np.random.Generator):
    """A soft-tissue window mostly, a wide one else."""
    if rng.random() < 0.25:
        return window(-1000, float(rng.uniform(200, 900)))
    centre, half = rng.uniform(0, 80), rng.uniform(140, 260)
    return window(float(centre - half), float(centre + half))


def _kept(volume: Volume, structures: Sequence[str], axes: Sequence[str], size: int) -> _Body:
    if volume.labels is None:
        raise DataError(f"{volume.name!r} has no labels, and an episode needs some; leave it out of the cohort.")
    labels, slices = volume.labels[0], {}
    known = [name for name in structures if volume.annotated is None or name in volume.annotated]
    for axis in axes:
        number = axis_number(axis)
        voxels = ids_by_slice(labels, number)
        longest = max(n for i, n in enumerate(volume.shape) if i != number)
        for name in known:
            area = voxels[:, list(region(name))].sum(1)
            least = max(ENOUGH * area.max(), PIXELS * (longest / size) ** 2)
            if (area >= least).any():
                slices[name, axis] = np.flatnonzero(area >= least)
    hu = volume.image[0].round().to(torch.int16)
    bare = Volume(volume.image[:, :1, :1, :1], volume.affine, name=volume.name)
    return _Body(bare, hu, labels, str(volume.info.get("centre", "")), slices)


def ids_by_slice(labels: Tensor, number: int) -> np.ndarray:
    """(N, 256): how many voxels of each id each of the N slices across voxel axis ``number`` has."""
    flat = labels.movedim(number, 0).flatten(1).long()
    places = flat + 256 * torch.arange(len(flat))[:, None]
    return torch.bincount(places.flatten(), minlength=256 * len(flat)).view(len(flat), 256).numpy()
