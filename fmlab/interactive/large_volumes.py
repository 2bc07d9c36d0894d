"""Clicks on a whole volume, for models that read one cube, as SAM-Med3D does: objects of any size, several classes at once.

    cubes around the clicks -> logits -> where a mask leaves its cube, the next cube -> average -> the volume's own grid

The published code cuts one cube around the ground truth, and what is larger is lost. Here the first cubes lie around the positive
clicks. Where a mask touches a face of its cube, the next cube lies half a side further, and is clicked at the deepest place of
what it shows of the mask. So cubes follow the object: a cube without a click has nothing to be asked, and sliding over the whole
volume would answer it at random. Logits of overlapping cubes are averaged, with most weight in a cube's middle: no seams. A cube
that somebody clicked in outweighs one that only followed (``HEARSAY``).

All classes that are asked for in a cube are decoded in one call. Clicks are replayed one by one, with the logits of the one
before as the mask prompt, as the model was trained: given all at once they do worse (issue 40 of uni-medical/SAM-Med3D).
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.errors import PromptError, PromptWarning
from fmlab.inference import labels_on, resampled
from fmlab.interactive.clicks import Clicks, centre_of_largest_error, joined
from fmlab.interactive.preprocess_sam_med3d import CT_RANGE, NOT_SEEN, z_normalised
from fmlab.interactive.prompts import Prompts
from fmlab.vocabulary import ID, structure
from fmlab.volume import Volume

HEARSAY = 0.1  # weight of a cube without a click of its own
ANSWERS = 500  # that are kept: 65 MB of a model with 32^3 logits
Start = tuple[int, int, int]  # of a cube, in voxels of the model's grid


class LargeVolume:
    """A volume to be clicked on: ``predict`` again after each click; a cube is encoded once, when it is first needed.

    model: as ``SamMed3D``, with ``size``, ``image_encoder``, ``decode`` and ``no_mask``. spacing: of its voxels in mm. values:
    what makes its input of a cube (size, size, size); by default ``z_normalised``, of CT clamped to +-1000 HU. fill: what lies
    beyond a volume that is smaller than a cube, before ``values``; 0 as published. most: cubes in one prediction, should a mask
    leak. Raises ScanError for a spacing that is not above zero.
    """

    def __init__(self, model: nn.Module, volume: Volume, spacing: float = 1.5, values: Callable[[Tensor], Tensor] | None = None,
                 fill: float = 0.0, most: int = 64):
        self.model, self.volume, self.values, self.fill, self.most = model, volume, values or z_normalised, fill, most
        image, self.affine = resampled(volume, spacing)
        self.image = image[0].clamp(*CT_RANGE) if values is None and volume.modality == "CT" else image[0]
        self.device, self.side = next(model.parameters()).device, model.size
        self._features: dict[Start, Tensor] = {}
        self._answers: dict[tuple, Tensor] = {}  # cube and clicks in it -> logits
        self._weight = middle_counts_most(self.side)

    def segment(self, prompts: Mapping[str, Prompts]) -> Volume:
        """The volume with labels of the structures that were clicked on. VocabularyError for names that are none."""
        names = [structure(name).name for name in prompts]
        labels = labels_on(self.volume.shape, self.logits(prompts), [ID[name] for name in names])
        return replace(self.volume, labels=labels[None].to(self.volume.image.device), annotated=frozenset(names))

    def predict(self, prompts: Mapping[str, Prompts]) -> Tensor:
        """Labels (X, Y, Z) uint8 on the volume's own grid: 0, or 1 + the number of the class in ``prompts``, of any names."""
        return labels_on(self.volume.shape, self.logits(prompts), range(1, 1 + len(prompts)))

    @torch.no_grad()
    def logits(self, prompts: Mapping[str, Prompts]) -> Tensor:
        """Logits (K, x, y, z) of each class on the model's grid, whose affine is ``affine``.

        prompts: by class, 3-D clicks in mm, or in voxels of the volume. Raises PromptError where there is no class, a class has
        no positive click, a click is outside, or a prompt is a box or a mask.
        """
        clicks = [self._on_grid(name, given) for name, given in prompts.items()]
        if not clicks:
            raise PromptError("No class was clicked on; give at least one, as in {\"liver\": Prompts(...)}.")
        total, weight = torch.zeros(2, len(clicks), *self.image.shape)
        asked, done, cubes = self._around(clicks), set(), set()
        while asked:
            touched = defaultdict(set)
            for start, classes in asked.items():
                classes = {k: shown for k in sorted(classes) if (shown := self._in_cube(start, clicks[k], total[k]))}
                cubes.add(start)
                here, inside = self._places(start)
                for k, logits in zip(classes, self._decoded(start, list(classes.values()))):
                    clicked = self._holds(start, clicks[k].points.numpy()).any()
                    share = self._weight if clicked else HEARSAY * self._weight
                    total[k][here] += (share * logits)[inside]
                    weight[k][here] += share[inside]
                    done.add((start, k))
                    for neighbour in self._entered(start, logits > 0):
                        touched[neighbour].add(k)
            asked = {start: left for start, all_k in touched.items() if (left := {k for k in all_k if (start, k) not in done})}
            if len(cubes | set(asked)) > self.most:
                warnings.warn(f"The masks go on beyond {len(cubes)} cubes, and were cut there; click on what is not meant, or "
                              f"allow more than most={self.most}.", PromptWarning, stacklevel=2)
                break
        return torch.where(weight > 0, total / weight, NOT_SEEN)

    def features(self, start: Start) -> Tensor:
        """The encoded cube (1, C, *grid)."""
        if start not in self._features:
            here, _ = self._places(start)
            sides = list(zip(start, self.image.shape))[::-1]
            margins = [margin for s, n in sides for margin in (max(-s, 0), max(s + self.side - n, 0))]
            cube = self.values(F.pad(self.image[here], margins, value=self.fill))
            with self._precision():
                self._features[start] = self.model.image_encoder(cube[None, None].to(self.device))
        return self._features[start]

    def _on_grid(self, name: str, prompts: Prompts) -> Clicks:
        """Clicks in voxels of the model's grid, checked on the volume's own."""
        if prompts.dimensions != 3 or prompts.box is not None or prompts.mask is not None or not (prompts.labels == 1).any():
            raise PromptError(f"{name!r} needs one positive click or more in 3-D, and no box or mask; this model reads clicks.")
        prompts = (prompts.from_mm(self.volume.affine) if prompts.unit == "mm" else prompts).check(self.volume.shape)
        counted = prompts.labels >= 0
        moved = prompts.to_mm(self.volume.affine).from_mm(self.affine)
        return Clicks(moved.points[counted], prompts.labels[counted])

    def _around(self, clicks: Sequence[Clicks]) -> dict[Start, set[int]]:
        """Cubes with every positive click in the middle of one, and the classes that have some in each."""
        starts: list[Start] = []
        positive = [points[labels == 1].numpy() for points, labels in clicks]
        for point in np.concatenate(positive):
            start = self._start(point - self.side / 2)
            in_a_middle = any((np.abs(point - np.array(s) - self.side / 2) <= self.side / 4).all() for s in starts)
            if not in_a_middle and start not in starts:
                starts.append(start)
        return {s: {k for k, points in enumerate(positive) if self._holds(s, points).any()} for s in starts}

    def _start(self, wanted: Iterable[float]) -> Start:
        """The cube nearest to the wanted start that lies in the volume, or in whose middle the volume lies."""
        return tuple(int(np.clip(round(float(w)), 0, n - self.side)) if n > self.side else (n - self.side) // 2
                     for w, n in zip(wanted, self.image.shape))

    def _holds(self, start: Start, points: np.ndarray) -> np.ndarray:
        return ((points >= np.array(start) - 0.5) & (points < np.array(start) + self.side - 0.5)).all(1)

    def _places(self, start: Start) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """Where a cube lies in the volume, and where the volume lies in the cube."""
        bounds = [(max(s, 0), min(s + self.side, n), s) for s, n in zip(start, self.image.shape)]
        return tuple(slice(a, b) for a, b, _ in bounds), tuple(slice(a - s, b - s) for a, b, s in bounds)

    def _in_cube(self, start: Start, clicks: Clicks, total: Tensor) -> Clicks | None:
        """A class's clicks in voxels of a cube; without a positive one, the deepest place of its mask so far comes first."""
        inside = torch.from_numpy(self._holds(start, clicks.points.numpy()))
        own = Clicks(clicks.points[inside] - torch.tensor(start), clicks.labels[inside])
        if (own.labels == 1).any():
            return own
        here, shown = self._places(start)
        mask = np.zeros((self.side,) * 3, dtype=bool)
        mask[shown] = (total[here] > 0).numpy()
        return joined(centre_of_largest_error(np.zeros_like(mask), mask), own) if mask.any() else None

    def _decoded(self, start: Start, clicks: Sequence[Clicks]) -> Tensor:
        """Logits (N, side, side, side), on the CPU, of N classes in one cube, their clicks one by one.

        Click n of all classes that have one is one call. What was answered to the same clicks before is not asked again, so in a
        row of predictions each new click costs one decoding.
        """
        if not clicks:
            return torch.zeros(0, *(self.side,) * 3)
        last = list(self.model.no_mask(len(clicks)).split(1))
        for n in range(1, 1 + max(len(c.labels) for c in clicks)):
            keys = {k: (start, *(tuple(part[:n].flatten().tolist()) for part in c)) for k, c in enumerate(clicks)
                    if len(c.labels) >= n}
            new = [k for k, key in keys.items() if key not in self._answers]
            if new:
                points, labels = (torch.stack([clicks[k][part][:n] for k in new]).to(self.device) for part in (0, 1))
                with self._precision():
                    answers, _ = self.model.decode(self.features(start), points, labels, torch.cat([last[k] for k in new]))
                self._answers.update(zip((keys[k] for k in new), answers.float().split(1)))
            for k, key in keys.items():
                last[k] = self._answers[key]
        for key in list(self._answers)[:-ANSWERS]:  # the oldest
            del self._answers[key]
        return F.interpolate(torch.cat(last), size=(self.side,) * 3, mode="trilinear", align_corners=False)[:, 0].cpu()

    def _entered(self, start: Start, mask: Tensor) -> list[Start]:
        """The cubes half a side further, in each direction in which a mask touches the cube's face and the volume goes on."""
        found = []
        for axis, (end, step) in product(range(3), ((0, -1), (self.side - 1, 1))):
            if mask.select(axis, end).any():
                wanted = [s + step * (self.side // 2) * (a == axis) for a, s in enumerate(start)]
                found.append(self._start(wanted))
        return [neighbour for neighbour in found if neighbour != start]

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")


def middle_counts_most(side: int) -> Tensor:
    """Weights (side, side, side) of a cube's voxels: a Gaussian of an eighth of the side, as nnU-Net and MONAI take it."""
    line = torch.exp(-0.5 * ((torch.arange(side) - (side - 1) / 2) / (side / 8)) ** 2)
    return (line[:, None, None] * line[:, None] * line).clamp(min=1e-3)
