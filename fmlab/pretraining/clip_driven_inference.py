"""A whole CT through the published CLIP-driven model: 1.5 mm, HU -175 to 250, cubes of 96, all masks tidied.

For the course's own sizes, whose classes are those of the vocabulary, ``fmlab.inference.segment`` gives one label map instead.
Source: Liu et al. 2023, doi:10.1109/ICCV51070.2023.01934, and its released code.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from fmlab.errors import ModelError
from fmlab.inference import refuse_what_is_no_ct, resampled, sliding_logits
from fmlab.pretraining.clip_driven import ClipDriven
from fmlab.pretraining.clip_driven_data import CLASSES
from fmlab.pretraining.postprocess_clip_driven import postprocessed
from fmlab.volume import Volume
from fmlab.windows import window

SPACING = 1.5  # mm
WINDOW = window(-175, 250)


def masks_of(
    model: ClipDriven, volume: Volume, side: int = 96, overlap: float = 0.5, progress: bool = False
) -> tuple[Tensor, np.ndarray]:
    """Masks (32, x, y, z) bool on the CPU, on a grid of 1.5 mm, and that grid's affine; they overlap, a liver has its tumours.

    model: one of the 32 published classes. side: of the cubes, a multiple of the backbone's stride; overlap: of neighbours. A
    voxel belongs to each class whose sigma is above one half. Resampling averages instead of reading linearly as the authors do,
    so that thin slices do not alias. Raises ModelError for other classes, ScanError for a scan that is no CT.
    """
    if model.classes != CLASSES:
        raise ModelError(f"Masks are tidied by the 32 published classes, and the model has {len(model.classes)} others; "
                         "use fmlab.inference.segment.")
    refuse_what_is_no_ct(volume)
    values, affine = resampled(volume, SPACING)
    return postprocessed(sliding_logits(model, WINDOW(values), side, overlap, progress) > 0), affine
