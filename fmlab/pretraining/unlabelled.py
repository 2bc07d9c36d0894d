"""Cubes without labels: what a self-supervised method is given. Any scan will do, and nobody has to draw in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from fmlab import randomise
from fmlab.cohorts import Cohort
from fmlab.errors import DataError
from fmlab.windows import WIDE, Window


class Unlabelled(Dataset):
    """Random cubes of a cohort, for ``training.train``: item n is from scan n, another cube at each call.

    cohort: CTs, all near one voxel size; labels are not read. side: voxels, one number or three. window: HU to values. ranges:
    which geometry is drawn anew (the pretext corrupts the values itself). air: cubes with a larger share of voxels below -500 HU
    are drawn again, at most ten times, as one learns little from the air around a patient.

    An item: image X (1, *sides) float32 in [0, 1] and name. Random numbers come from torch's generator, which ``train`` seeds for
    every draw. ``patients`` are those that no test set may hold (``transfer`` looks). Raises DataError for an empty cohort.
    """

    def __init__(self, cohort: Cohort, side: int | Sequence[int] = 64, window: Window = WIDE,
                 ranges: randomise.Ranges = randomise.NONE, air: float = 0.85):
        if not len(cohort):
            raise DataError(f"The cohort {cohort.name!r} is empty; a data set of cubes needs at least one scan.")
        self.sides = (side,) * 3 if isinstance(side, int) else tuple(side)
        self.window, self.ranges, self.air = window, ranges, air
        self.patients = tuple(sorted(set(cohort.patients)))
        self.scans = [(volume.name, volume.image[0].round().to(torch.int16)) for volume in cohort]

    def __len__(self) -> int:
        return len(self.scans)

    def __getitem__(self, index: int) -> dict:
        rng = np.random.default_rng(int(torch.randint(2**31, ())))
        name, scan = self.scans[index]
        nothing = torch.zeros(scan.shape, dtype=torch.uint8)
        for _ in range(10):
            margin = [min(side, n) / 2 for side, n in zip(self.sides, scan.shape)]
            centre = np.array([rng.uniform(m, n - m) if n > 2 * m else n / 2 for m, n in zip(margin, scan.shape)]) - 0.5
            cube, _ = randomise.geometry(scan, nothing, centre, self.sides, self.ranges, rng)
            if (cube < -500).float().mean() <= self.air:
                break
        return {"image": self.window(cube)[None], "name": name}
