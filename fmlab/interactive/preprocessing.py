"""How an image becomes what a model reads, and the answer the image's own size again. No two systems do it alike.

| ``preprocess_...`` | size                                      | intensities                       | back                     |
|--------------------|-------------------------------------------|-----------------------------------|--------------------------|
| sam                | longest side 1024, zeros right and below  | ImageNet's mean and deviation     | logits resized twice     |
| medsam             | 1024 x 1024 by splines, aspect not kept   | CT window, percentiles; to [0, 1] | sigmoid, then resized    |
| sam_med2d          | 256 x 256 by nearest; small images padded | ImageNet's, blue first            | logits cropped, resized  |
| sam_med3d          | crop of 128^3 about the object            | z-score by voxels above 0         | logits resized, put back |
| segvol             | 32 x 256 x 256 by nearest                 | z-score above the mean; to [0, 1] | linear, then nearest     |
| ma_sam             | slices of 512 x 512                       | -200 to 250 HU; to [0, 1]         |                          |
| adapter3d          | crop of 128^3 at 1 mm                     | constants of each data set        |                          |
| crowd              | as SAM                                    | edges added                       | as SAM                   |

A ``Frame`` says where the image lies in what the model reads, so that prompts go there and answers come back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fmlab.errors import ModelError
from fmlab.interactive.prompts import Prompts

Size = tuple[int, ...]


@dataclass(frozen=True)
class Frame:
    """original: the image's shape, (H, W) or (X, Y, Z). inner: the shape that it takes within what the model reads, whose shape
    is ``model``. start: the index there at which it begins, negative where the model reads a part of it only."""

    original: Size
    inner: Size
    model: Size
    start: Size

    def points(self, points: Tensor) -> Tensor:
        """(..., D) coordinates in the image to the model's, D in the order of points: (x, y) or (d0, d1, d2). Float32.

        As in all official code: multiplied by new / old, although pixel centres would ask for half a pixel more.
        """
        scale, start = self._along(points)
        return (points.double() * scale + start).float()

    def points_back(self, points: Tensor) -> Tensor:
        """The inverse of ``points``."""
        scale, start = self._along(points)
        return ((points.double() - start) / scale).float()

    def boxes(self, boxes: Tensor) -> Tensor:
        """(..., 2 D) likewise, corner by corner."""
        return self.points(boxes.unflatten(-1, (2, -1))).flatten(-2)

    def prompts(self, prompts: Prompts) -> Prompts:
        """The same clicks and box for the model; a mask stays as it is, it is the model's own."""
        return replace(prompts, points=self.points(prompts.points), box=None if prompts.box is None else self.boxes(prompts.box))

    def seen(self) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """Slices of what the model reads, and of the inner image, that show the same."""
        low = [max(s, 0) for s in self.start]
        high = [min(s + n, m) for s, n, m in zip(self.start, self.inner, self.model)]
        return (tuple(slice(a, max(a, b)) for a, b in zip(low, high)),
                tuple(slice(a - s, max(a, b) - s) for a, b, s in zip(low, high, self.start)))

    def _along(self, like: Tensor) -> tuple[Tensor, Tensor]:
        axes = range(len(self.original))[::-1] if len(self.original) == 2 else range(len(self.original))
        scale = torch.tensor([self.inner[a] / self.original[a] for a in axes], dtype=torch.float64, device=like.device)
        return scale, torch.tensor([self.start[a] for a in axes], dtype=torch.float64, device=like.device)


def placed(image: Tensor, frame: Frame, fill: float = 0.0) -> Tensor:
    """An inner image (..., *inner) in what the model reads (..., *model), the rest filled."""
    out = image.new_full((*image.shape[:-len(frame.model)], *frame.model), fill)
    there, here = frame.seen()
    out[..., *there] = image[..., *here]
    return out


def taken_back(answer: Tensor, frame: Frame, fill: float = 0.0) -> Tensor:
    """(..., *model) to (..., *inner), what the model did not see filled."""
    out = answer.new_full((*answer.shape[:-len(frame.inner)], *frame.inner), fill)
    there, here = frame.seen()
    out[..., *here] = answer[..., *there]
    return out


def colour(image: np.ndarray | Tensor) -> np.ndarray:
    """(H, W) or (H, W, 3) uint8 as (H, W, 3); grey three times. Raises ModelError for other types and shapes."""
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,)) or not array.size:
        raise ModelError(f"An image {array.dtype} of shape {array.shape}: give uint8, (H, W) or (H, W, 3), as to_uint8 does.")
    return np.repeat(array[..., None], 3, axis=2) if array.ndim == 2 else array


def to_unit(image: np.ndarray) -> np.ndarray:
    """By minimum and maximum to [0, 1]; a constant image to 0. Floating dtypes stay, others become float64."""
    image = np.asarray(image)
    image = image if image.dtype.kind == "f" else image.astype(np.float64)
    return (image - image.min()) / max(image.max() - image.min(), 1e-8)


def to_uint8(image: np.ndarray) -> np.ndarray:
    """By minimum and maximum to 0..255, rounded down."""
    return (to_unit(image) * 255.0).astype(np.uint8)


def volume(image: np.ndarray | Tensor) -> Tensor:
    """(X, Y, Z), (1, X, Y, Z) or (1, 1, X, Y, Z) as float32 (X, Y, Z). Raises ModelError for other shapes."""
    tensor = torch.as_tensor(image).float()
    while tensor.ndim > 3 and len(tensor) == 1:
        tensor = tensor[0]
    if tensor.ndim != 3 or not tensor.numel():
        raise ModelError(f"A volume of shape {tuple(torch.as_tensor(image).shape)}: give one, (X, Y, Z), with one channel.")
    return tensor


def size_of(shape: Sequence[int]) -> Size:
    return tuple(int(n) for n in shape)
