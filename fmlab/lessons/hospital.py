"""For lesson 09: one model asked through the preprocessing of another, and what each variant of SAM freezes and trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fmlab.errors import DataError
from fmlab.interactive import (
    ma_sam,
    medsam,
    preprocess_medsam,
    preprocess_sam,
    preprocess_sam_med2d,
    sam3d_adapter,
    sam_med2d,
)
from fmlab.interactive.boxes import tight_box
from fmlab.interactive.pictures import Scene
from fmlab.interactive.preprocessing import Frame
from fmlab.interactive.prompts import Prompts
from fmlab.interactive.sam import Sam

WAYS_IN: dict[str, ModuleType] = {"SAM": preprocess_sam, "MedSAM": preprocess_medsam, "SAM-Med2D": preprocess_sam_med2d}
VARIANTS: dict[str, ModuleType] = {"MedSAM": medsam, "SAM-Med2D": sam_med2d, "MA-SAM": ma_sam, "3DSAM-adapter": sam3d_adapter}


@torch.no_grad()
def through(way: str, model: Sam, one: Scene) -> tuple[Tensor, Frame]:
    """Logits (1, 1, size/4, size/4) for a tight box about an object, prepared in one of WAYS_IN, and where the picture lay."""
    x, frame = WAYS_IN[way].preprocess(one.image, model.size)
    place = model.image_encoder.pos_embed
    boxes = frame.boxes(tight_box(one.mask))[None].to(place.device)
    return model(x.to(place), boxes=boxes, multimask=False)[0].cpu(), frame


def mask_of(way: str, low: Tensor, frame: Frame) -> np.ndarray:
    """The mask (H, W) bool on the picture, by that system's order of resize, sigmoid and threshold."""
    return (WAYS_IN[way].postprocess(low, frame)[0, 0] > (0.5 if way == "MedSAM" else 0)).numpy()


def counts(name: str, size: str) -> tuple[int, int]:
    """Parameters of a variant in all, and those of them that its paper trains. Built without numbers, so it takes no memory."""
    module = VARIANTS[name]
    with torch.device("meta"):
        model = getattr(module, module.__name__.split(".")[-1])(size)
    return sum(p.numel() for p in model.parameters()), sum(p.numel() for p in module.trainable(model))


def picture_and_box(path: str | Path, box: Sequence[float]) -> tuple[np.ndarray, Prompts]:
    """A picture file as greys (H, W) uint8, and a box x0 y0 x1 y1 in its pixels as prompts. DataError where it cannot be read."""
    try:
        with Image.open(Path(path).expanduser()) as picture:
            image = np.asarray(picture.convert("L"))
    except OSError as error:
        raise DataError(f"There is no picture to read at {str(path)!r}; give the path of a PNG or JPEG file.") from error
    return image, replace(Prompts.of(2), box=torch.as_tensor(box)).check(image.shape)
