"""Cubes to point at: windows of labelled volumes about a structure, each with several objects, to train a small SAM-Med3D."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from fmlab import randomise
from fmlab.errors import DataError
from fmlab.interactive.preprocess_sam_med3d import CT_RANGE, z_normalised
from fmlab.vocabulary import region
from fmlab.volume import Volume

RANGES = replace(randomise.STRONG, turn=8.0, cut=0.1)
LEAST = 60  # voxels of an object in its cube
MOST = 0.5  # share of the cube


@dataclass(frozen=True)
class _Scan:
    """places: structure -> (M, 3) voxels of it."""

    name: str
    hu: Tensor  # (X, Y, Z) int16
    labels: Tensor  # (X, Y, Z) uint8
    places: dict[str, np.ndarray]
    step: float


def z_scored(image: Tensor) -> Tensor:
    """HU as SAM-Med3D takes them."""
    return z_normalised(image.clamp(*CT_RANGE))


class Cubes(Dataset):
    """Endless cubes for ``training.train``; item n is another one at each call, about each structure as often as another.

    cohort: labelled CTs. structures: those that may be pointed at; a part counts as part of its whole. side: voxels of
    ``spacing`` mm. objects: of a cube, the structure in its middle and others; some come twice where there are fewer. values:
    what makes the network's input of HU; by default clamped and z-scored as SAM-Med3D's.

    Items: image (1, side, side, side) float32, masks (objects, side, side, side) uint8, names. Random numbers come from torch's
    global generator, which ``train`` seeds for every draw. Raises DataError for a scan without labels.
    """

    def __init__(self, cohort: Iterable[Volume], structures: Sequence[str], side: int = 32, spacing: float = 6.0,
                 objects: int = 4, ranges: randomise.Ranges = RANGES, values: Callable[[Tensor], Tensor] = z_scored,
                 length: int = 1000):
        self.side, self.objects, self.ranges, self.length, self.structures = side, objects, ranges, length, tuple(structures)
        self.values = values
        self.table = torch.zeros(256, len(structures), dtype=torch.bool)
        for k, name in enumerate(structures):
            self.table[list(region(name)), k] = True
        self.scans = [_kept(volume, self.structures, spacing) for volume in cohort]
        self.shown = {name: [s for s in self.scans if name in s.places] for name in structures}
        self.shown = {name: scans for name, scans in self.shown.items() if scans}
        if not self.shown:
            raise DataError("None of these volumes shows one of the structures; give others.")

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict:
        rng = np.random.default_rng(int(torch.randint(2**31, ())))
        while True:  # what is cut off at the edge of a scan is too small now and then
            about = list(self.shown)[rng.integers(len(self.shown))]
            scan = self.shown[about][rng.integers(len(self.shown[about]))]
            image, labels = self._cut(scan, about, rng)
            masks, names = self._objects(labels, about, rng)
            if names:
                return {"image": self.values(image)[None], "masks": masks, "names": "; ".join(names)}

    def _cut(self, scan: _Scan, about: str, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """HU and labels (side, side, side) about a place near the structure's middle."""
        places = scan.places[about]
        middle, spot = (places.min(0) + places.max(0)) / 2, places[rng.integers(len(places))]
        share = rng.random()
        centre = share * middle + (1 - share) * spot + rng.uniform(-0.1, 0.1, 3) * self.side * scan.step
        image, labels = randomise.geometry(scan.hu, scan.labels, centre, self.side, self.ranges, rng, scan.step)
        image = randomise.tissue(image, labels, self.ranges, rng)
        return randomise.scanner(image, labels, self.ranges, rng)

    def _objects(self, labels: Tensor, about: str, rng: np.random.Generator) -> tuple[Tensor, list[str]]:
        """Masks (objects, side, side, side) uint8 and their names; none where nothing is large enough."""
        counts = (torch.bincount(labels.flatten().int(), minlength=256)[:, None] * self.table).sum(0)
        fit = torch.nonzero((counts >= LEAST) & (counts <= MOST * labels.numel())).flatten().tolist()
        if not fit:
            return torch.zeros(0), []
        number = self.structures.index(about)
        others = [k for k in rng.permutation(fit) if k != number]
        chosen = ([number] if number in fit else []) + others
        chosen = [chosen[i % len(chosen)] for i in range(self.objects)]
        masks = torch.stack([self.table[:, k][labels.long()] for k in chosen])
        return masks.byte(), [self.structures[k] for k in chosen]


def _kept(volume: Volume, structures: Sequence[str], spacing: float) -> _Scan:
    if volume.labels is None:
        raise DataError(f"{volume.name!r} has no labels, and objects are cut from labels; leave it out of the cohort.")
    labels, places = volume.labels[0].to(torch.uint8), {}
    drawn = labels.nonzero().numpy()
    ids = labels.numpy()[tuple(drawn.T)]
    for name in structures:
        spots = drawn[np.isin(np.arange(256), region(name))[ids]]
        if len(spots):
            places[name] = spots[:: max(1, len(spots) // 300)].astype(np.int16)
    return _Scan(volume.name, volume.image[0].round().to(torch.int16), labels, places, spacing / float(np.mean(volume.spacing)))
