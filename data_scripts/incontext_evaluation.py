"""How good the in-context models are, on tasks they never trained on: bodies of six hospitals, real pictures and scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from fmlab import cohorts
from fmlab.errors import DataError
from fmlab.hub import data
from fmlab.incontext import nano
from fmlab.incontext.evaluate import dices, lying
from fmlab.incontext.examples import Examples, best_slices, examples_of
from fmlab.incontext.material import masks, pictures
from fmlab.incontext.picture_files import read_examples
from fmlab.metrics.bootstrap import Estimate, estimates

SHOTS, ENSEMBLES = (1, 2, 4, 8, 16), (1, 4)
SUPPORT_SEED, QUERY_SEED = 6000, 7000  # people whom the training, seeds 0 and on, did not see
AXES = ("axial", "coronal")
REAL = "totalsegmentator-ct"


@dataclass(frozen=True)
class Task:
    """What is segmented (structure and axis, such as "kidney_left, axial"), and the examples and queries of it."""

    name: str
    structure: str
    support: Examples
    queries: Examples


def body_tasks(hospitals: str, structures: Sequence[str] = nano.HELD_OUT, supports: int = 6, queries: int = 2,
               workers: int | None = None) -> list[Task]:
    """Tasks on unseen bodies of these hospitals; supports, queries: bodies of each."""
    pools = [list(nano.bodies(dict.fromkeys(hospitals, number), first, workers))
             for number, first in ((supports, SUPPORT_SEED), (queries, QUERY_SEED))]
    tasks = []
    for structure in structures:
        for axis in AXES:
            try:
                support, asked = (large_enough(examples_of(pool, structure, axis, nano.SIZE)) for pool in pools)
            except DataError:  # nobody has it, as a tumour
                continue
            if len(support) >= 4 and len(asked) >= 2:
                tasks.append(Task(f"{structure}, {axis}", structure, support, asked))
    return tasks


def large_enough(examples: Examples, pixels: int = 8) -> Examples:
    """Those that show at least some pixels; DataError if there is none."""
    kept = [i for i, mask in enumerate(examples.masks) if mask.sum() >= pixels]
    if not kept:
        raise DataError("No example shows the structure in enough pixels.")
    return examples[kept]


def real_tasks(supports: int = 6, workers: int | None = None) -> dict[str, list[Task]]:
    """Tasks on what real material there is in the cache: group -> tasks; groups whose files are missing are left out."""
    bodies = list(nano.bodies(dict.fromkeys("ABCD", supports), SUPPORT_SEED, workers))
    groups = {"real CT, examples of bodies": lambda: ct_by_bodies(bodies), "real CT, its own slices": ct_by_itself,
              "CT slices (PNG), examples of bodies": lambda: slices_by_bodies(bodies), "lung X-rays, one example": xrays}
    found = {}
    for group, make in groups.items():
        try:
            found[group] = make()
        except DataError:  # not in the cache, and nobody to ask for a download
            continue
    return found


def ct_by_bodies(bodies: list) -> list[Task]:
    """The real CT's largest axial and coronal slice of each held-out structure, asked with bodies as examples."""
    scan = cohorts.load(REAL, confirm=False)
    there = [name for name in nano.HELD_OUT if best_slices(scan, name)]
    return [Task(f"{name}, {axis}", name, large_enough(examples_of(bodies, name, axis, nano.SIZE)),
                 examples_of([scan], name, axis, nano.SIZE)) for name in there for axis in AXES]


def ct_by_itself(apart: int = 6) -> list[Task]:
    """A scan of which some slices are drawn by hand: eight as examples, the queries between them."""
    scan = cohorts.load(REAL, confirm=False)
    tasks = []
    for name in nano.HELD_OUT:
        area = scan.mask(name).sum((0, 1))
        shown = torch.nonzero(area >= max(24, 0.2 * int(area.max()))).flatten().tolist()
        if len(shown) < apart:
            continue
        drawn = slices_of(scan, name, shown[:: max(2, len(shown) // 8)])
        asked = slices_of(scan, name, shown[max(2, len(shown) // 8) // 2 :: max(2, len(shown) // 8)])
        tasks.append(Task(f"{name}, axial", name, drawn, asked))
    return tasks


def slices_of(scan, name: str, indices: list[int]) -> Examples:
    """These axial slices of a scan as examples."""
    return Examples(pictures(scan, "axial", indices, nano.SIZE), masks(scan, [name], "axial", indices, nano.SIZE))


def slices_by_bodies(bodies: list) -> list[Task]:
    """SAM-Med2D's two CT slices, each structure that a body has too, in 64 or more pixels of the file."""
    data.fetch("sam-med2d-slices", confirm=False)
    tasks = []
    for picture in data.paths("sam-med2d-slices", "image"):
        drawn: dict[str, list] = {}
        for mask in data.paths("sam-med2d-slices", "mask"):
            if mask.stem.startswith(picture.stem):
                drawn.setdefault(mask.stem.removeprefix(picture.stem + "_")[:-4], []).append(mask)
        for name, files in sorted(drawn.items()):
            if name in nano.HELD_OUT:
                tasks.append(Task(f"{name}, {picture.stem}", name, large_enough(examples_of(bodies, name, "axial", nano.SIZE)),
                                  read_examples([(picture, files)], nano.SIZE, upside_down=True)))
    return tasks


def xrays() -> list[Task]:
    """Both lungs in either X-ray with the other as the one example: a modality that no training saw."""
    data.fetch("lung-xray", confirm=False)
    pairs = list(zip(data.paths("lung-xray", "image"), data.paths("lung-xray", "mask")))
    both = read_examples(pairs, nano.SIZE)
    return [Task("lungs, X-ray", "lungs", both, both)]


def grid(model: nn.Module, tasks: Sequence[Task], shots: Sequence[int] = SHOTS, ensembles: Sequence[int] = ENSEMBLES
         ) -> dict[tuple[int, int], Estimate]:
    """(S, M) -> mean Dice over tasks of the means over queries, with its interval over tasks."""
    return {(s, m): mean_of([dices(model, task.support, task.queries, s, m) for task in tasks])
            for s in shots for m in ensembles}


def control(model: nn.Module, tasks: Sequence[Task], shots: int = 16) -> Estimate:
    """Mean Dice when each support image has the mask of another task: how far a model follows its support."""
    wrong = [next(other for other in tasks[i + 1 :] + tasks[:i] if other.structure != task.structure)
             for i, task in enumerate(tasks)]
    return mean_of([dices(model, lying(task.support, other.support), task.queries, shots) for task, other in zip(tasks, wrong)])


def mean_of(found: Sequence[torch.Tensor | float]) -> Estimate:
    """Mean over tasks of means over queries; the interval draws tasks again."""
    means = np.array([[float(torch.as_tensor(values).nanmean())] for values in found])
    return estimates(means, np.ones_like(means))[1]


def by_structure(model: nn.Module, tasks: Sequence[Task], shots: int = 16, ensemble: int = 1) -> Mapping[str, float]:
    """Structure -> mean Dice over its tasks and queries."""
    found: dict[str, list[torch.Tensor]] = {}
    for task in tasks:
        found.setdefault(task.structure, []).append(dices(model, task.support, task.queries, shots, ensemble))
    return {name: float(torch.cat(values).nanmean()) for name, values in found.items()}
