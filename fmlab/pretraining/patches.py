"""Patches: D_T = {(X_n, Y_n, w_n)} as a data set, one randomised cube of a partially labelled scan at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from fmlab import randomise
from fmlab.cohorts import CENTRES, Cohort
from fmlab.errors import DataError
from fmlab.pretraining.targets import protocol_left_out, targets
from fmlab.vocabulary import region
from fmlab.windows import WIDE, Window


@dataclass(frozen=True)
class _Scan:
    """What is kept of a scan in memory: 3 bytes a voxel. places: structure -> (M, 3) voxels to centre a patch on."""

    name: str
    image: Tensor  # (X, Y, Z) int16 HU
    labels: Tensor  # (X, Y, Z) uint8
    annotated: frozenset[str] | None
    left_out: tuple[str, ...]
    centre: str | None  # a phantom's hospital
    places: dict[str, np.ndarray]


class Patches(Dataset):
    """Random cubes of a cohort, for ``training.train``: item n is from scan n, another cube at each call.

    cohort: labelled CTs, all near one voxel size; what each annotates is read from ``Volume.annotated``. structures: the K
    classes. side: voxels. ranges: how much is randomised. Two of three cubes are centred near a structure that the scan
    annotates, each as likely as another, so that the small ones are met; one of three lies anywhere.

    An item: image X (1, S, S, S) float32 in [0, 1], target Y (K, S, S, S) uint8, w (K,) uint8, name. Random numbers come from
    torch's global generator, which ``train`` seeds for every draw. Raises DataError for a scan without labels.
    """

    def __init__(self, cohort: Cohort, structures: Sequence[str], side: int = 64, ranges: randomise.Ranges = randomise.STRONG,
                 window: Window = WIDE):
        self.structures, self.side, self.ranges, self.window = tuple(structures), side, ranges, window
        self.scans = [self._kept(volume) for volume in cohort]

    def __len__(self) -> int:
        return len(self.scans)

    def __getitem__(self, index: int) -> dict:
        rng = np.random.default_rng(int(torch.randint(2**31, ())))
        scan = self.scans[index]
        image, labels = randomise.geometry(scan.image, scan.labels, self._centre(scan, rng), self.side, self.ranges, rng)
        image = randomise.tissue(image, labels, self.ranges, rng)
        image, labels = randomise.scanner(image, labels, self.ranges, rng)
        target, w = targets(labels, self.structures, scan.annotated, scan.left_out)
        values = randomise.gamma(self.window(image), self.ranges, rng)
        return {"image": values[None], "target": target, "w": w, "name": scan.name}

    def _centre(self, scan: _Scan, rng: np.random.Generator) -> np.ndarray:
        """The voxel index (3,) about which the next cube is cut."""
        if scan.places and rng.random() < 2 / 3:
            spots = scan.places[list(scan.places)[rng.integers(len(scan.places))]]
            return spots[rng.integers(len(spots))] + rng.uniform(-self.side / 4, self.side / 4, 3)
        return np.array([rng.uniform(0.2, 0.8) * n for n in scan.image.shape])

    def _kept(self, volume) -> _Scan:
        if volume.labels is None:
            raise DataError(f"{volume.name!r} has no labels, and a training patch needs some; leave it out of the cohort.")
        labels, places = volume.labels[0], {}
        for name in self.structures:
            if volume.annotated is None or name not in volume.annotated:
                continue
            spots = torch.isin(labels, torch.tensor(region(name), dtype=torch.uint8)).nonzero().numpy()
            if len(spots):
                places[name] = spots[:: max(1, len(spots) // 500)].astype(np.int16)  # some hundred spots stand for all
        centre = volume.info.get("centre")  # a phantom's hospital; real scans have none, or another one's name
        left_out = protocol_left_out(centre) if centre in CENTRES else ()
        return _Scan(volume.name, volume.image[0].round().to(torch.int16), labels, volume.annotated, left_out, centre, places)
