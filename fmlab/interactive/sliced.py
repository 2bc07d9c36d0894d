"""A volume that a 2-D promptable model has looked at slice by slice: boxes go in, a mask of the whole volume comes out.

    sliced = SlicedVolume(model, volume)
    mask = sliced.mask({40: box, 41: other})               (X, Y, Z) bool, empty in every other slice
    mask = sliced.mask(sliced.followed({40: box}))         from slice to slice, while the model trusts its own answer

A slice is encoded when it is first asked for, for all structures and people; the boxes of many slices go through the decoder in
one call. One box a slice, and the model's single mask for it. (The crowd study, Kulkarni et al. 2024, arXiv:2403.15218, took the
most trusted of three masks.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fmlab.interactive.boxes import tight_box
from fmlab.interactive.crowd import SliceBoxes
from fmlab.interactive.pictures import AXES, grey
from fmlab.interactive.predictor import THRESHOLD
from fmlab.interactive.preprocess_sam import postprocess, preprocess
from fmlab.interactive.sam import Sam
from fmlab.interactive.slices import largest_object
from fmlab.volume import Volume
from fmlab.windows import SOFT_TISSUE, Window

CHUNK = 16  # slices in one call


@dataclass(frozen=True, eq=False)
class SliceAnswers:
    """Of N slices. indices: (N,). logits: (N, H, W), upright; the mask is where they are above 0. iou: (N,), predicted."""

    indices: tuple[int, ...]
    logits: Tensor
    iou: Tensor

    @property
    def masks(self) -> np.ndarray:
        """(N, H, W) bool."""
        return (self.logits > THRESHOLD).numpy()


class SlicedVolume:
    """model: a ``Sam``. axis: cut across. window: of HU, as in ``pictures.grey``."""

    def __init__(self, model: Sam, volume: Volume, axis: str = "axial", window: Window | None = SOFT_TISSUE):
        self.model, self.volume, self.axis, self.window = model.eval(), volume, axis, window
        self.features: dict[int, Tensor] = {}
        self.frame = None

    @torch.no_grad()
    def encode(self, indices: Iterable[int]) -> None:
        """Look at the slices that have not been looked at yet."""
        new = [index for index in indices if index not in self.features]
        for start in range(0, len(new), CHUNK):
            chosen = new[start:start + CHUNK]
            seen = [preprocess(grey(self.volume, self.axis, index, self.window), self.model.size) for index in chosen]
            self.frame = seen[0][1]
            x = torch.cat([picture for picture, _ in seen]).to(self.model.image_encoder.pos_embed)
            self.features.update(zip(chosen, self.model.image_encoder(x)))

    @torch.no_grad()
    def answers(self, boxes: Mapping[int, Tensor]) -> SliceAnswers:
        """What the model makes of a box (4,) in each of these slices."""
        self.encode(boxes)
        indices, logits, ious = tuple(boxes), [], []
        for start in range(0, len(indices), CHUNK):
            chosen = indices[start:start + CHUNK]
            features = torch.stack([self.features[index] for index in chosen])
            corners = self.frame.boxes(torch.stack([boxes[index] for index in chosen])).to(features.device)
            low, iou = self.model.decode(features, boxes=corners, image_of=torch.arange(len(chosen)), multimask=False)
            logits.append(postprocess(low, self.frame)[:, 0].cpu())
            ious.append(iou[:, 0].cpu())
        return SliceAnswers(indices, torch.cat(logits), torch.cat(ious)) if indices else _none()

    def mask(self, boxes: Mapping[int, Tensor]) -> np.ndarray:
        """(X, Y, Z) bool, empty where there is no box."""
        return self.volume_of(self.answers(boxes))

    def volume_of(self, answers: SliceAnswers) -> np.ndarray:
        """Answers on the volume's grid, (X, Y, Z) bool."""
        out = np.zeros(self.volume.shape, dtype=bool)
        slices = np.moveaxis(out, AXES[self.axis], 0)
        for index, mask in zip(answers.indices, answers.masks):
            slices[index] = mask[::-1].T  # undoes ``upright``
        return out

    def followed(self, boxes: Mapping[int, Tensor], least_iou: float = 0.35, grow: float = 1.0) -> SliceBoxes:
        """Boxes for further slices: a slice's last mask, its box ``grow`` pixels wider, is the prompt of the next one.

        Both ways from each slice that has a box, until a mask is empty, a predicted IoU falls below ``least_iou``, or the next
        slice has a box. What was given stays. A gap that is reached from both sides has the boxes of the nearer one.
        """
        found = dict(boxes)
        walks = [(index, step) for index in sorted(boxes) for step in (-1, 1)]
        while walks:
            answers = self.answers({index: found[index] for index, _ in walks})
            told = dict(zip(answers.indices, zip(answers.masks, answers.iou.tolist())))
            ahead = []
            for index, step in walks:
                mask, iou = told[index]
                following = index + step
                if mask.any() and iou >= least_iou and following not in found and 0 <= following < self._count:
                    found[following] = self._wider(mask, grow)
                    ahead.append((following, step))
            walks = ahead
        return {index: found[index] for index in sorted(found)}

    @property
    def _count(self) -> int:
        return self.volume.shape[AXES[self.axis]]

    def _wider(self, mask: np.ndarray, grow: float) -> Tensor:
        height, width = mask.shape
        edge = torch.tensor([width, height, width, height]) - 1.0
        box = tight_box(largest_object(mask)) + grow * torch.tensor([-1.0, -1.0, 1.0, 1.0])
        return torch.minimum(box.clamp(min=0), edge)


def _none() -> SliceAnswers:
    return SliceAnswers((), torch.zeros(0, 1, 1), torch.zeros(0))
