"""Episodes in 3-D: windows of several people about the same place, with masks of a few classes that lie there.

    min over theta  E_t  E_{(x, y), S ~ t}  L(y, f_theta(x, S))

Source: Gao et al. 2025, arXiv:2503.19359: reference and query from one data set, multi-class masks split into binary ones, some
classes dropped at random, both augmented, the query more. Here everybody is augmented alike, since everybody is reference and
query in turn (``iris.loss``); and some classes are made up out of others, so that there are more tasks than names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from fmlab import randomise
from fmlab.errors import DataError
from fmlab.vocabulary import region
from fmlab.volume import Volume
from fmlab.windows import WIDE, Window

RANGES = replace(randomise.STRONG, turn=8.0, cut=0.1)
WINDOW = (48, 32, 32)  # voxels: the width of a body, and two thirds of its depth
LEAST = 10  # voxels of a class in somebody's window, below which others come first


@dataclass(frozen=True)
class MadeUp:
    """How often a task is changed into another: mirror (everybody, left for right), union (of two classes), half (of one class,
    cut across the middle of its box)."""

    mirror: float = 0.25
    union: float = 0.1
    half: float = 0.2


@dataclass(frozen=True)
class _Scan:
    """What is kept of a scan in memory: 3 bytes a voxel. places: structure -> (M, 3) voxels of it, from foot to head."""

    name: str
    person: str
    image: Tensor  # (X, Y, Z) int16 HU
    labels: Tensor  # (X, Y, Z) uint8
    places: dict[str, np.ndarray]
    step: tuple[float, float, float]  # voxels of the scan to a voxel of the window


class VolumeEpisodes(Dataset):
    """Endless 3-D episodes for ``training.train`` with ``iris.loss``; item n is another episode at each call.

    cohort: labelled CTs, a person by ``info["patient"]`` or by name. structures: those that may be asked for; a part counts as
    part of its whole. classes: K. people: P, each once. window: voxels of ``spacing`` mm. length: what counts as an epoch.

    Items: images (P, 1, X, Y, Z) float32 in [0, 1], masks (P, K, X, Y, Z) uint8, labels (P, X, Y, Z) uint8 (all that is drawn;
    mirrored where the rest is), name (whose), classes (which, in words).
    Random numbers come from torch's global generator, which ``train`` seeds for every draw. Raises DataError for a scan without
    labels, and where no structure is shown by ``people`` people.
    """

    def __init__(self, cohort: Iterable[Volume], structures: Sequence[str], classes: int = 4, people: int = 2,
                 window: Sequence[int] = WINDOW, spacing: float = 8.0, ranges: randomise.Ranges = RANGES,
                 made_up: MadeUp = MadeUp(), values: Window = WIDE, length: int = 1000):
        if people < 2 or classes < 1:
            raise DataError(f"An episode of {people} people and {classes} classes is none; give 2 people and a class, or more.")
        self.structures, self.classes, self.people, self.window = tuple(structures), classes, people, tuple(window)
        self.ranges, self.made_up, self.values, self.length = ranges, made_up, values, length
        self.scans = [_kept(volume, self.structures, spacing) for volume in cohort]
        self.ids = {name: torch.tensor(region(name), dtype=torch.uint8) for name in self.structures}
        shown = {name: [scan for scan in self.scans if name in scan.places] for name in self.structures}
        self.shown = {name: scans for name, scans in shown.items() if len({scan.person for scan in scans}) >= people}
        if not self.shown:
            raise DataError(f"No structure is shown by {people} of these people; give more volumes or other structures.")

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict:
        rng = np.random.default_rng(int(torch.randint(2**31, ())))
        about = list(self.shown)[rng.integers(len(self.shown))]
        scans, height = self._people(about, rng), rng.random()
        cut = [self._window(scan, about, height, rng) for scan in scans]
        images, labels = torch.stack([image for image, _ in cut])[:, None], torch.stack([drawn for _, drawn in cut])
        masks, names = self._classes(labels, about, rng)
        if rng.random() < self.made_up.mirror:
            images, masks, labels = images.flip(2), masks.flip(2), labels.flip(1)
            names = [f"{name}, mirrored" for name in names]
        whose = " ".join(scan.name for scan in scans)
        return {"images": images, "masks": masks.byte(), "labels": labels, "name": whose, "classes": "; ".join(names)}

    def _people(self, about: str, rng: np.random.Generator) -> list[_Scan]:
        """Scans of P people that show a structure; nobody comes twice, so nobody is an example for himself."""
        of_person: dict[str, _Scan] = {}
        for number in rng.permutation(len(self.shown[about])):
            scan = self.shown[about][number]
            of_person.setdefault(scan.person, scan)
        return list(of_person.values())[: self.people]

    def _window(self, scan: _Scan, about: str, height: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Image in [0, 1] and labels of a window about a place of the structure, at the same share of its height in everybody."""
        spots = scan.places[about]
        share = np.clip(height + rng.normal(0, 0.1), 0, 1)
        jitter = rng.uniform(-0.25, 0.25, 3) * self.window * np.array(scan.step)
        centre = spots[round(share * (len(spots) - 1))] + jitter
        step = float(np.mean(scan.step))
        image, labels = randomise.geometry(scan.image, scan.labels, centre, self.window, self.ranges, rng, step)
        image = randomise.tissue(image, labels, self.ranges, rng)
        image, labels = randomise.scanner(image, labels, self.ranges, rng)
        return randomise.gamma(self.values(image), self.ranges, rng), labels

    def _classes(self, labels: Tensor, about: str, rng: np.random.Generator) -> tuple[Tensor, list[str]]:
        """Masks (P, K, X, Y, Z) bool of K classes and what they are: ``about``, and others that lie there."""
        counts = torch.stack([torch.bincount(one.flatten().int(), minlength=256) for one in labels])
        there = [name for name in self.structures if counts[:, self.ids[name].long()].sum(1).max() >= LEAST]
        others = [there[i] for i in rng.permutation(len(there)) if there[i] != about]
        chosen = [about, *others] if about in there or not others else others
        masks, names = [], []
        for name in (chosen * self.classes)[: self.classes]:  # where too few lie here, some are asked for twice
            mask, said = torch.isin(labels, self.ids[name]), name
            if rng.random() < self.made_up.union:
                other = chosen[rng.integers(len(chosen))]
                mask, said = mask | torch.isin(labels, self.ids[other]), f"{name} and {other}"
            elif rng.random() < self.made_up.half and (halves := _halved(mask, rng)) is not None:
                mask, said = halves, f"half of {name}"
            masks.append(mask)
            names.append(said)
        return torch.stack(masks, dim=1), names


def _halved(masks: Tensor, rng: np.random.Generator) -> Tensor | None:
    """Of everybody's mask (P, X, Y, Z) the half on one side of its box; None where a mask is empty or the window cuts it off,
    because halves of what is not whole are not the same part."""
    axis, far, halves = int(rng.integers(3)), rng.random() < 0.5, masks.clone()
    for mask, half in zip(masks, halves):
        places = mask.nonzero()
        if not len(places) or bool((places.amin(0) == 0).any()) or bool((places.amax(0) == torch.tensor(mask.shape) - 1).any()):
            return None
        low, high = int(places[:, axis].min()), int(places[:, axis].max())
        middle = (low + high + 1) // 2
        half.narrow(axis, *((0, middle) if far else (middle, mask.shape[axis] - middle))).zero_()
    return halves


def _kept(volume: Volume, structures: Sequence[str], spacing: float) -> _Scan:
    if volume.labels is None:
        raise DataError(f"{volume.name!r} has no labels, and an episode needs some; leave it out of the cohort.")
    labels, places = volume.labels[0], {}
    drawn = labels.movedim(2, 0).nonzero()[:, [1, 2, 0]].numpy()  # from foot to head, once for all structures
    ids = labels.numpy()[tuple(drawn.T)]
    for name in structures:
        if volume.annotated is not None and name not in volume.annotated:
            continue
        spots = drawn[np.isin(np.arange(256), region(name))[ids]]
        if len(spots):
            places[name] = spots[:: max(1, len(spots) // 500)].astype(np.int16)  # some hundred spots stand for all
    step = tuple(spacing / s for s in volume.spacing)
    person = str(volume.info.get("patient") or volume.name)
    return _Scan(volume.name, person, volume.image[0].round().to(torch.int16), labels, places, step)
