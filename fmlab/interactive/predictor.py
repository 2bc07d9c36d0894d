"""SAM on one image: encoded once by ``set_image``, asked as often as you like by ``predict``.

    predictor = SamPredictor(model)
    predictor.set_image(image)                                 (H, W, 3) or (H, W) uint8
    found = predictor.predict(Prompts.of(2).click((120, 80)))
    found = predictor.predict(prompts.click((90, 85), positive=False), mask=found.low[found.best])

Source: Kirillov et al. 2023, arXiv:2304.02643; the shape of the official predictor. A prompt is in pixels of the image as given.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fmlab.errors import ModelError, PromptError
from fmlab.interactive.preprocess_sam import postprocess, preprocess
from fmlab.interactive.preprocessing import Frame
from fmlab.interactive.prompts import Prompts
from fmlab.interactive.sam import Sam

THRESHOLD = 0.0  # of logits


@dataclass(frozen=True, eq=False)
class Masks:
    """What a model answers. logits: (M, H, W) on the image's grid; the mask is where they are above 0. iou: (M,), predicted.

    low: (M, size/4, size/4), to go in again with the next prompt.
    """

    logits: Tensor
    iou: Tensor
    low: Tensor

    @property
    def masks(self) -> Tensor:
        """(M, H, W) bool."""
        return self.logits > THRESHOLD

    @property
    def best(self) -> int:
        """Which of the M the model trusts most."""
        return int(self.iou.argmax())

    @property
    def mask(self) -> Tensor:
        """That one, (H, W) bool."""
        return self.masks[self.best]


class SamPredictor:
    """A ``Sam`` in eval mode, and the image that it looks at."""

    def __init__(self, model: Sam):
        self.model = model.eval()
        self.features: Tensor | None = None
        self.frame: Frame | None = None

    @torch.no_grad()
    def set_image(self, image: np.ndarray) -> None:
        """Encode an image (H, W, 3) or (H, W) uint8: the dear part, once. ModelError for another image."""
        x, self.frame = preprocess(image, self.model.size)
        self.features = self.model.image_encoder(x.to(self.model.image_encoder.pos_embed))

    @torch.no_grad()
    def predict(self, prompts: Prompts, mask: Tensor | None = None, multimask: bool | None = None) -> Masks:
        """Masks for prompts in pixels of the image.

        mask: logits (size/4, size/4) of an answer before, else those that the prompts carry. multimask: three masks, or one;
        left out, three for a single click without box or mask, which may mean several things. Raises PromptError for prompts
        outside the image, or none; ModelError before ``set_image``.
        """
        if self.features is None:
            raise ModelError("There is no image yet; call set_image first.")
        prompts = self.checked(prompts, mask)
        if multimask is None:
            multimask = len(prompts.points) == 1 and prompts.box is None and prompts.mask is None
        low, iou = self.model.decode(self.features, **self.as_seen(prompts), multimask=multimask)
        return Masks(postprocess(low, self.frame)[0].cpu(), iou[0].cpu(), low[0].cpu())

    def checked(self, prompts: Prompts, mask: Tensor | None) -> Prompts:
        """The prompts with their mask, if they lie in the image and say something."""
        if mask is not None:
            prompts = replace(prompts, mask=mask)
        if prompts.empty:
            raise PromptError("There is no prompt; click somewhere, or draw a box.")
        side = self.model.size // self.model.image_encoder.patch * 4
        if prompts.mask is not None and prompts.mask.numel() != side * side:
            raise PromptError(f"A mask prompt holds logits ({side}, {side}), not {tuple(prompts.mask.shape)}; give ``low`` of an "
                              "answer before.")
        return prompts.check(self.frame.original)

    def as_seen(self, prompts: Prompts) -> dict[str, Tensor | None]:
        """Points, labels, box and mask for ``Sam.decode``, in pixels of the preprocessed image, on the model's device."""
        (height, width), (rows, columns) = self.frame.original, self.frame.inner
        scale = torch.tensor([columns / width, rows / height])
        side = self.model.size // self.model.image_encoder.patch * 4
        seen = {"points": prompts.points * scale, "labels": prompts.labels} if len(prompts.points) else {}
        if prompts.box is not None:
            seen["boxes"] = prompts.box * scale.repeat(2)
        seen = {name: value[None] for name, value in seen.items()}
        if prompts.mask is not None:
            seen["masks"] = prompts.mask.reshape(1, 1, side, side)
        return {name: value.to(self.features.device) for name, value in seen.items()}
