"""MedSAM: SAM's network with weights trained on medical pictures and boxes, and its own way in and out.

    predictor = MedSamPredictor(model)
    predictor.set_image(ct_window(hu)[z])                      (H, W) or (H, W, 3), 0 to 255: see preprocess_medsam
    found = predictor.predict(replace(Prompts.of(2), box=box))

Source: Ma et al. 2024, Nature Communications, doi:10.1038/s41467-024-44824-z, and its released code. What differs from SAM: the
picture is stretched to the model's square by splines and lies in [0, 1], without ImageNet's mean; the prompt is a box; the answer
is mask 0, whose probabilities, not logits, are resized. Its predicted IoU was never trained.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from fmlab.errors import ModelError, PromptError
from fmlab.interactive import sam as plain
from fmlab.interactive.predictor import Masks
from fmlab.interactive.preprocess_medsam import postprocess, preprocess
from fmlab.interactive.preprocessing import Frame
from fmlab.interactive.prompts import Prompts
from fmlab.interactive.sam import Sam
from fmlab.interactive.tuning import train_only

SIZES = {name: plain.SIZES[name] for name in ("vit_b", "nano")}
"""Settings of ``Sam`` by name; the first is published."""


def medsam(size: str = "vit_b", **changes) -> Sam:
    """MedSAM's network by the name of its size: one of SIZES; changes: settings of ``Sam`` that differ from it."""
    if size not in SIZES:
        raise ModelError(f"There is no MedSAM of size {size!r}; choose one of {', '.join(SIZES)}.")
    return Sam(**(SIZES[size] | changes))


def trainable(model: Sam) -> list[nn.Parameter]:
    """What the paper trains: image encoder and mask decoder; the prompt encoder stays SAM's."""
    return train_only(model, lambda name: not name.startswith("prompt_encoder."))


class MedSamPredictor:
    """A MedSAM in eval mode, and the image that it looks at."""

    def __init__(self, model: Sam):
        self.model = model.eval()
        self.features: Tensor | None = None
        self.frame: Frame | None = None

    @torch.no_grad()
    def set_image(self, image: np.ndarray) -> None:
        """Encode an image (H, W) or (H, W, 3) in 0 to 255: the dear part, once. ModelError for another shape."""
        image = np.asarray(image)
        if image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)) or not image.size:
            raise ModelError(f"MedSAM reads one image (H, W) or (H, W, 3), not {image.shape}; take a volume slice by slice.")
        x, self.frame = preprocess(image, self.model.size)
        self.features = self.model.image_encoder(x.to(self.model.image_encoder.pos_embed))

    def predict(self, prompts: Prompts) -> Masks:
        """The one mask of the prompts' box, in pixels of the image.

        Raises PromptError for clicks or a mask, which MedSAM was never shown, and for a box outside the image; ModelError before
        ``set_image``.
        """
        self.check_image()
        if prompts.box is None or len(prompts.points) or prompts.mask is not None:
            raise PromptError("MedSAM was trained with boxes alone; give a box, and neither clicks nor a mask.")
        low, iou = self.decoded(prompts.check(self.frame.original).box[None])
        return Masks(postprocess(low, self.frame)[0].logit(eps=1e-6).cpu(), iou[0].cpu(), low[0].cpu())

    def probabilities(self, boxes: Tensor) -> Tensor:
        """(N, H, W) of N boxes (N, 4) at once; the masks are where they are above 0.5. ModelError before ``set_image``."""
        self.check_image()
        return postprocess(self.decoded(boxes)[0], self.frame)[:, 0].cpu()

    @torch.no_grad()
    def decoded(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, 1, size/4, size/4) and IoU (N, 1) of boxes in pixels of the image."""
        seen = self.frame.boxes(boxes.float()).to(self.features.device)
        return self.model.decode(self.features, boxes=seen, multimask=False)

    def check_image(self) -> None:
        if self.features is None:
            raise ModelError("There is no image yet; call set_image first.")
