"""The support set as cubes: a fixed number from each labelled scan, cut once, so that a black box need look at each only once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.utils.data import Dataset

from fmlab import randomise
from fmlab.cohorts import Cohort
from fmlab.errors import DataError
from fmlab.pretraining.patches import Patches
from fmlab.training.order import seeded
from fmlab.windows import WIDE, Window

CUBES = 24  # of a scan
SHIFT, HOW_OFTEN = 0.1, 0.2  # FSEFT's only augmentation: values shifted by up to 0.1, one time in five


class Shots(Dataset):
    """Cubes of the support scans, for ``training.train``; an item is always the same cube, but for the shift of its values.

    support: labelled CTs. structures: the K of the head. cubes: of each scan, two of three near a structure. side: voxels.
    shift: augment; black-box methods go without, as their features are kept. An item is as ``Patches`` gives it.
    Raises DataError for an empty support.
    """

    def __init__(self, support: Cohort, structures: Sequence[str], cubes: int = CUBES, side: int = 32, seed: int = 0,
                 shift: bool = True, window: Window = WIDE):
        if not len(support) or cubes < 1:
            raise DataError(f"{len(support)} scans of {cubes} cubes each are no support set; give one of each at least.")
        self.structures, self.side, self.shift = tuple(structures), side, shift
        with seeded(seed):
            patches = Patches(support, structures, side, randomise.NONE, window)
            self.items = [patches[index] for index in range(len(support)) for _ in range(cubes)]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict:
        item = self.items[index]
        if not self.shift or torch.rand(()) >= HOW_OFTEN:
            return item
        return item | {"image": item["image"] + SHIFT * (2 * torch.rand(()) - 1)}
