"""Slices to point at: pictures cut from labelled volumes at any zoom, each with several objects, for the training of a small SAM.

An object is what lies in one piece under a pointer: a connected region of a structure in the slice. Pictures are made
different in zoom, turn, window, tone and noise, so that the network meets other machines (MR, X-ray) with grace.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from fmlab.errors import DataError
from fmlab.vocabulary import region
from fmlab.volume import Volume

AXES = (0, 1, 2)  # sagittal, coronal, axial
CHANCES = (0.15, 0.25, 0.6)


@dataclass(frozen=True)
class Ranges:
    """least: pixels of an object. zoom: lowest and highest; 1 shows the slice's longer side. turn: degrees (sd).

    flip: share of mirrored pictures. tone: share of pictures with a tone curve drawn at random, bright and dark exchanged
    perhaps. noise: highest sd, of [0, 1]. organ: HU by which each structure differs (sd).
    """

    least: int = 40
    zoom: tuple[float, float] = (0.9, 2.2)
    turn: float = 10.0
    flip: float = 0.5
    tone: float = 0.3
    noise: float = 0.06
    organ: float = 12.0


@dataclass(frozen=True)
class _Scan:
    name: str
    hu: np.ndarray  # (X, Y, Z) int16
    labels: np.ndarray  # (X, Y, Z) uint8
    spacing: tuple[float, float, float]


class Slices(Dataset):
    """Endless pictures for ``training.train``; item n is another one at each call.

    cohort: labelled CTs. structures: those that objects are of; a part counts as part of its whole. size: of the picture.
    objects: of a picture; where it has fewer, some come twice. length: what counts as an epoch.

    Items: image (1, size, size) float32 in [0, 1], masks (objects, size, size) uint8, names. Random numbers come from torch's
    global generator, which ``train`` seeds for every draw. Raises DataError for a scan without labels.
    """

    def __init__(self, cohort: Iterable[Volume], structures: Sequence[str], size: int = 128, objects: int = 6,
                 ranges: Ranges = Ranges(), length: int = 1000):
        self.size, self.objects, self.ranges, self.length = size, objects, ranges, length
        self.scans = [_kept(volume) for volume in cohort]
        if not self.scans:
            raise DataError("There are no scans to cut slices from; give a cohort of one volume or more.")
        self.table = torch.zeros(256, len(structures), dtype=torch.bool)
        for k, name in enumerate(structures):
            self.table[list(region(name)), k] = True
        self.structures = tuple(structures)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict:
        rng = np.random.default_rng(int(torch.randint(2**31, ())))
        while True:  # a slice through air has nothing to point at
            scan = self.scans[rng.integers(len(self.scans))]
            hu, labels = self._cut(scan, rng)
            found = self._objects(labels, rng)
            if found:
                masks, names = zip(*found)
                image = shown(hu, labels, self.ranges, rng)
                return {"image": image[None], "masks": torch.from_numpy(np.stack(masks)).byte(), "names": "; ".join(names)}

    def _cut(self, scan: _Scan, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """A slice, turned and zoomed about a place that is drawn: HU (size, size) float32, labels (size, size) uint8."""
        axis = int(rng.choice(AXES, p=CHANCES))
        number = int(rng.integers(scan.hu.shape[axis]))
        rows, columns = [step for i, step in enumerate(scan.spacing) if i != axis][::-1]
        hu, labels = (upright(array.take(number, axis)) for array in (scan.hu, scan.labels))
        places = np.argwhere(labels)
        zoom = float(np.exp(rng.uniform(*np.log(self.ranges.zoom))))
        centre = (np.array(labels.shape) - 1) / 2
        if len(places):  # the nearer, the more about something that is drawn
            share = min(1.0, max(0.0, zoom - 1)) * rng.random()
            centre = (1 - share) * centre + share * places[rng.integers(len(places))]
        longest = max(labels.shape[0] * rows, labels.shape[1] * columns)
        step = longest / zoom / self.size / np.array([rows, columns])  # voxels to a pixel
        angle = np.radians(rng.normal(0, self.ranges.turn))
        turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        if rng.random() < self.ranges.flip:
            turned[:, 1] *= -1
        pixels = np.stack(np.meshgrid(*[np.arange(self.size) - (self.size - 1) / 2] * 2, indexing="ij"), -1)
        where = pixels @ turned.T * step + centre
        grid = torch.from_numpy(2 * where / np.maximum(np.array(labels.shape) - 1, 1) - 1).float().flip(-1)[None]
        lit = F.grid_sample(torch.from_numpy(hu.astype(np.float32) + 1024)[None, None], grid, align_corners=True)
        drawn = F.grid_sample(torch.from_numpy(labels.astype(np.float32))[None, None], grid, mode="nearest", align_corners=True)
        return lit[0, 0] - 1024, drawn[0, 0].round().to(torch.uint8)

    def _objects(self, labels: Tensor, rng: np.random.Generator) -> list[tuple[np.ndarray, str]]:
        """Masks (size, size) bool of ``objects`` pieces of structures that are large enough, and what they are of."""
        counts = torch.bincount(labels.flatten().int(), minlength=256)
        areas = (counts[:, None] * self.table).sum(0)
        there = torch.nonzero((areas >= self.ranges.least) & (areas <= 0.6 * labels.numel())).flatten().tolist()
        found = []
        for k in rng.permutation(there)[: 2 * self.objects] if there else ():
            whole = self.table[:, k][labels.long()].numpy()
            piece = object_at(whole, rng)
            if piece.sum() >= self.ranges.least:
                found.append((piece, self.structures[k]))
            if len(found) == self.objects:
                break
        return [found[i % len(found)] for i in range(self.objects)] if found else []


def object_at(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The connected region of a bool mask (H, W) that a pixel drawn from it lies in."""
    pieces, count = ndimage.label(mask)
    if count < 2:
        return mask
    places = pieces[mask]
    return pieces == places[rng.integers(len(places))]


def largest_object(mask: np.ndarray) -> np.ndarray:
    """The largest connected region of a bool mask (H, W) or (X, Y, Z)."""
    pieces, count = ndimage.label(mask)
    return mask if count < 2 else pieces == 1 + np.bincount(pieces[mask])[1:].argmax()


def shown(hu: Tensor, labels: Tensor, ranges: Ranges, rng: np.random.Generator) -> Tensor:
    """A picture (H, W) in [0, 1] of HU: each structure a little brighter or darker, a window, a tone curve, noise, blur."""
    shift = torch.from_numpy(rng.normal(0, ranges.organ, 256).astype(np.float32))
    hu = hu + torch.where(labels > 0, shift[labels.int()], 0)
    if rng.random() < 0.3:
        low, high = -1000.0, float(rng.uniform(200, 900))
    else:
        middle, half = rng.uniform(0, 80), rng.uniform(140, 300)
        low, high = float(middle - half), float(middle + half)
    image = ((hu - low) / (high - low)).clamp(0, 1)
    if rng.random() < ranges.tone:
        image = toned(image, rng)
    if rng.random() < 0.3:
        image = F.avg_pool2d(image[None, None], 3, 1, 1, count_include_pad=False)[0, 0]
    noise = torch.from_numpy(rng.standard_normal(tuple(image.shape), dtype=np.float32)) * rng.uniform(0, ranges.noise)
    return (image + noise).clamp(0, 1)


def toned(image: Tensor, rng: np.random.Generator, knots: int = 6) -> Tensor:
    """Greys through a curve of random knots: as if another machine, of another kind, had looked."""
    curve = torch.from_numpy(rng.uniform(0, 1, knots + 1).astype(np.float32))
    place = image * (knots - 1)
    low = place.floor().long().clamp(max=knots - 1)
    return curve[low] + (place - low) * (curve[low + 1] - curve[low])


def upright(flat: np.ndarray) -> np.ndarray:
    """A slice (first axis, second axis) of a RAS volume as rows and columns of a picture: second axis upwards."""
    return np.ascontiguousarray(flat.T[::-1])


def _kept(volume: Volume) -> _Scan:
    if volume.labels is None:
        raise DataError(f"{volume.name!r} has no labels, and objects are cut from labels; leave it out of the cohort.")
    hu = volume.image[0].round().clamp(-1024, 3000).to(torch.int16).numpy()
    return _Scan(volume.name, hu, volume.labels[0].to(torch.uint8).numpy(), volume.spacing)
