"""What a person tells a model about one object in one image: clicks, a box, a mask; kept, checked, recorded, moved to mm.

    prompts = Prompts.of(2).click((120, 80)).click((90, 85), positive=False)
    prompts.check(image.shape)
    replayed = Prompts.from_json(prompts.to_json())

Coordinates are those of ``fmlab.interactive.clicks`` and ``fmlab.interactive.boxes``: (x, y) in pixels in 2-D, voxel indices in
array order in 3-D, whole numbers at the centres of pixels. The named policies that draw such prompts stand at the end.
"""

from __future__ import annotations

import base64
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from fmlab.errors import PromptError, PromptWarning
from fmlab.interactive import boxes, clicks

VERSION = 1  # of the JSON


@dataclass(frozen=True, eq=False)
class Prompts:
    """points: (N, D) float32, D = 2 or 3. labels: (N,) int64: 1 inside, 0 outside, -1 does not count. box: (2 D,) float32.

    mask: logits of an earlier answer, of the model's own low resolution, any shape. unit: of points and box; "voxel" is the pixel
    in 2-D. No points: (0, D). Frozen: every method that changes something returns new Prompts. Raises PromptError for shapes,
    labels and numbers that are none of these.
    """

    points: Tensor
    labels: Tensor
    box: Tensor | None = None
    mask: Tensor | None = None
    unit: Literal["voxel", "mm"] = "voxel"

    def __post_init__(self) -> None:
        for name, dtype in (("points", torch.float32), ("labels", torch.int64), ("box", torch.float32), ("mask", torch.float32)):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, torch.as_tensor(value, dtype=dtype).detach().cpu())
        if self.points.ndim != 2 or self.points.shape[1] not in (2, 3) or self.labels.shape != self.points.shape[:1]:
            raise PromptError(f"points {tuple(self.points.shape)} and labels {tuple(self.labels.shape)} do not fit; "
                              "give (N, 2) or (N, 3), and (N,).")
        if not set(self.labels.tolist()) <= {-1, 0, 1}:
            raise PromptError(f"labels {self.labels.tolist()}: a click is 1 (inside), 0 (outside) or -1 (does not count).")
        if self.box is not None and self.box.shape != (2 * self.dimensions,):
            raise PromptError(f"A box of shape {tuple(self.box.shape)} does not go with points in {self.dimensions}-D; "
                              f"give its two corners, ({2 * self.dimensions},).")
        if not all(bool(x.isfinite().all()) for x in (self.points, self.box, self.mask) if x is not None):
            raise PromptError("A prompt holds a number that is not finite; leave such clicks out.")
        if self.unit not in ("voxel", "mm"):
            raise PromptError(f"unit={self.unit!r}; it is \"voxel\" or \"mm\".")

    @classmethod
    def of(cls, dimensions: int) -> Prompts:
        """Nothing yet, in 2-D or 3-D."""
        return cls(torch.zeros(0, dimensions), torch.zeros(0, dtype=torch.int64))

    @property
    def dimensions(self) -> int:
        return self.points.shape[1]

    @property
    def empty(self) -> bool:
        """No click, box or mask."""
        return not len(self.points) and self.box is None and self.mask is None

    def click(self, point: Sequence[float] | Tensor, positive: bool = True) -> Prompts:
        """One click more. Where the same pixel was clicked with the other sign before, the new click counts: the older one is
        dropped, with a PromptWarning."""
        return self.add(clicks.Clicks(torch.as_tensor(point, dtype=torch.float32)[None], torch.tensor([int(positive)])))

    def add(self, new: clicks.Clicks) -> Prompts:
        """Clicks as a policy draws them, one by one as ``click`` does."""
        points, labels = self.points, self.labels
        for point, label in zip(new.points, new.labels):
            if point.shape != (self.dimensions,):
                raise PromptError(f"A click {tuple(point.tolist())} does not go with points in {self.dimensions}-D.")
            against = self._same_place(points, point) & (labels == 1 - label)
            if against.any():
                warnings.warn(f"{_text(point)} was clicked with the other sign before; the newer click counts.", PromptWarning,
                              stacklevel=2)
            points, labels = torch.cat([points[~against], point[None]]), torch.cat([labels[~against], label[None]])
        return replace(self, points=points, labels=labels)

    def check(self, shape: Sequence[int]) -> Prompts:
        """These prompts, if they go with an image of the spatial shape (H, W) or (X, Y, Z), in voxels.

        Raises PromptError for clicks outside (label -1 excepted), a box that does not meet the image or has its corners the wrong
        way round, another number of dimensions, and mm. Warns (PromptWarning) of contradictory clicks, which only the constructor
        lets in; a model is then told both.
        """
        if self.unit != "voxel" or len(shape) != self.dimensions:
            raise PromptError(f"Prompts in {self.dimensions}-D ({self.unit}) do not go with an image of shape {tuple(shape)}; "
                              "give voxels, as by from_mm(affine), of an image of as many dimensions.")
        size = torch.tensor([*reversed(shape)] if len(shape) == 2 else [*shape], dtype=torch.float32)
        outside = ((self.points < -0.5) | (self.points > size - 0.5)).any(1) & (self.labels >= 0)
        if outside.any():
            raise PromptError(f"The click {_text(self.points[outside][0])} lies outside the image, which ends at "
                              f"{_text(size - 1)}; is it of another image, or are its coordinates in another order?")
        if self.box is not None:
            low, high = self.box.chunk(2)
            if (low > high).any() or (high < 0).any() or (low > size - 1).any():
                raise PromptError(f"The box {_text(self.box)} does not lie in the image, which ends at {_text(size - 1)}; "
                                  "give the corner of least coordinates first.")
        if any((self._same_place(self.points, p) & (self.labels == 1 - n)).any() for p, n in zip(self.points, self.labels)):
            warnings.warn("The same pixel was clicked as inside and as outside; take one of the two back.", PromptWarning,
                          stacklevel=2)
        return self

    def to_mm(self, affine: np.ndarray | Tensor) -> Prompts:
        """In mm by the image's affine (4, 4), so that they can be used on another grid. 3-D only; the mask is left out, it
        belongs to one grid. Raises PromptError for a box on an oblique affine, which no box in mm equals."""
        return self._moved(affine, "voxel", "mm", inverse=False)

    def from_mm(self, affine: np.ndarray | Tensor) -> Prompts:
        """Back to the voxels of an image with this affine (4, 4)."""
        return self._moved(affine, "mm", "voxel", inverse=True)

    def to_json(self) -> str:
        """A record of this annotation; numbers are kept exactly."""
        mask = None
        if self.mask is not None:
            values = base64.b64encode(self.mask.numpy().astype("<f4").tobytes()).decode()
            mask = {"shape": list(self.mask.shape), "float32": values}
        box = None if self.box is None else self.box.tolist()
        return json.dumps({"version": VERSION, "dimensions": self.dimensions, "unit": self.unit, "points": self.points.tolist(),
                           "labels": self.labels.tolist(), "box": box, "mask": mask})

    @classmethod
    def from_json(cls, text: str) -> Prompts:
        """What ``to_json`` wrote. Raises PromptError for anything else, and for records of a later version."""
        try:
            record = json.loads(text)
            version = record["version"]
            if version == VERSION:
                mask = record["mask"]
                if mask is not None:
                    mask = np.frombuffer(base64.b64decode(mask["float32"]), "<f4").reshape(mask["shape"]).copy()
                points = torch.tensor(record["points"], dtype=torch.float32).reshape(-1, record["dimensions"])
                return cls(points, record["labels"], record["box"], mask, record["unit"])
        except PromptError:
            raise
        except (ValueError, KeyError, TypeError, RuntimeError) as error:
            raise PromptError(f"This is no record of prompts ({error}); give the text that to_json() returned.") from error
        raise PromptError(f"This record of prompts has version {version}, this fmlab reads {VERSION}; update fmlab.")

    def _moved(self, affine: np.ndarray | Tensor, given: str, wanted: Literal["voxel", "mm"], inverse: bool) -> Prompts:
        matrix = torch.as_tensor(affine, dtype=torch.float64)
        if self.dimensions != 3 or self.unit != given or matrix.shape != (4, 4):
            raise PromptError(f"Prompts in {self.dimensions}-D ({self.unit}) with an affine {tuple(matrix.shape)} do not become "
                              f"{wanted}; give 3-D prompts in {given} and a (4, 4) affine.")
        matrix = matrix.inverse() if inverse else matrix

        def move(x: Tensor) -> Tensor:
            return x.double() @ matrix[:3, :3].T + matrix[:3, 3]

        box = self.box
        if box is not None:
            turns = matrix[:3, :3].abs() > 1e-3 * matrix[:3, :3].abs().amax(0)
            if (turns.sum(0) > 1).any():
                raise PromptError("A box has no equal on this affine, whose axes are oblique; use points, or an image in RAS.")
            corners = move(box.view(2, 3))
            box = torch.cat([corners.amin(0), corners.amax(0)])  # an axis may run the other way
        return replace(self, points=move(self.points), box=box, mask=None, unit=wanted)

    @staticmethod
    def _same_place(points: Tensor, point: Tensor) -> Tensor:
        """(N,) bool: which points lie in the same pixel."""
        return ((points + 0.5).floor() == (point + 0.5).floor()).all(1)


def _text(values: Tensor) -> str:
    return "(" + ", ".join(f"{x:g}" for x in values.tolist()) + ")"


First = Callable[[clicks.Mask, np.random.Generator], clicks.Clicks]
Next = Callable[[clicks.Mask, clicks.Mask, np.random.Generator], clicks.Clicks]
Box = Callable[[clicks.Mask, np.random.Generator], Tensor]

FIRST_CLICKS: Mapping[str, First] = {
    "random_foreground": clicks.random_foreground,
    "half_and_half": clicks.half_and_half,
    "points_per_slice": clicks.points_per_slice,
    "padded_points": clicks.padded_points,
    "foreground_and_anywhere": clicks.foreground_and_anywhere,
    "centre": lambda truth, rng: clicks.centre_of_largest_error(np.zeros_like(clicks.foreground(truth)), truth),
}
"""(truth, rng) to Clicks, before there is a prediction."""

NEXT_CLICKS: Mapping[str, Next] = {
    "random_error": clicks.random_error,
    "sam_med2d": partial(clicks.random_error, otherwise="ignored"),
    "sam_med3d": partial(clicks.random_error, otherwise="foreground"),
    "largest_error": clicks.largest_error,
    "centre": lambda prediction, truth, rng: clicks.centre_of_largest_error(prediction, truth),
}
"""(prediction, truth, rng) to Clicks, from what is still wrong."""

BOXES: Mapping[str, Box] = {
    "tight": lambda truth, rng: boxes.tight_box(truth),
    "relaxed": boxes.relaxed_box,
    "jittered": boxes.jittered_box,
    "translated": boxes.translated_box,
}
"""(truth, rng) to a box (2 D,). For slices of a volume: ``boxes_per_slice``; of the crowd: ``crowd_boxes``."""


def policy(table: Mapping[str, Callable], name: str) -> Callable:
    """The policy of this name in FIRST_CLICKS, NEXT_CLICKS or BOXES. Raises PromptError that lists what there is."""
    if name not in table:
        raise PromptError(f"There is no policy {name!r}; choose of {', '.join(table)}.")
    return table[name]
