"""What a canvas asks a model, and what it takes for an answer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from fmlab.errors import ScanError


@dataclass(frozen=True, eq=False)
class Request:
    """All prompts of one class: on one slice (D = 2: row, column of its picture), or in the volume (D = 3: voxel i, j, k).

    name: of the class. axis, index: the slice in view. image: the slice's picture (H, W), upright, or the volume (X, Y, Z);
    values as they are, HU for CT. points: (N, D) int, N may be 0. labels: (N,) int, 1 this, 0 not this. box: (2, D) int, its
    first pixel or voxel and one past its last, as Python slices, or None. previous: the mask so far, of the image's shape, or
    None. prepared: what the canvas's ``prepare`` returned for this slice, or None.
    """

    name: str
    axis: str
    index: int
    image: np.ndarray
    points: np.ndarray
    labels: np.ndarray
    box: np.ndarray | None = None
    previous: np.ndarray | None = None
    prepared: object = None

    @property
    def xy(self) -> np.ndarray:
        """The points as SAM takes them, (N, 2): column, row. In a volume (N, 3): k, j, i."""
        return self.points[:, ::-1].copy()

    @property
    def xyxy(self) -> np.ndarray | None:
        """The box as SAM takes it, (4,): left, top, right, bottom, the last two its last column and row; None without a box."""
        return None if self.box is None else np.concatenate([self.box[0, ::-1], self.box[1, ::-1] - 1])


@dataclass(frozen=True, eq=False)
class Answer:
    """A model's answer. mask: yes or no for each pixel or voxel of the request's image. iou: the predicted IoU, or None."""

    mask: np.ndarray | torch.Tensor
    iou: float | None = None


def checked(answer: Answer, request: Request) -> tuple[np.ndarray, float | None]:
    """Mask (bool, of the image's shape) and IoU of an answer; ScanError with one sentence if it does not fit the request."""
    if not isinstance(answer, Answer):
        raise ScanError(f"ask returned a {type(answer).__name__}; it must return fmlab.viewer.Answer(mask, iou).")
    mask = answer.mask.detach().cpu().numpy() if isinstance(answer.mask, torch.Tensor) else np.asarray(answer.mask)
    shape = request.image.shape
    if mask.size != math.prod(shape) or mask.shape[mask.ndim - len(shape):] != shape:
        raise ScanError(f"The answer's mask has the shape {mask.shape}, the image {shape}; bring it to the image's grid first.")
    if mask.dtype != bool and not np.isin(mask, (0, 1)).all():
        raise ScanError("The answer's mask holds other values than 0 and 1; threshold it first, as in (logits > 0).")
    iou = None if answer.iou is None else float(answer.iou)
    if iou is not None and not math.isfinite(iou):
        raise ScanError(f"The answer's IoU is {iou}; give a finite number, or None.")
    return mask.reshape(shape).astype(bool), iou
