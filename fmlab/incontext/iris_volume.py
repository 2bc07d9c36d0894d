"""Iris on whole scans: tasks out of labelled volumes, and labels for a volume out of cached tasks.

    T = task_of(model, references, ["kidney_left", "kidney_right"])     once
    found = segment_volume(model, volume, T, ["kidney_left", "kidney_right"])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab import inference
from fmlab.errors import ModelError
from fmlab.incontext.iris import Iris
from fmlab.incontext.volume_episodes import WINDOW
from fmlab.vocabulary import structure
from fmlab.volume import Volume
from fmlab.windows import WIDE, Window

SPACING = 8.0  # mm, as in training


class WithTask(nn.Module):
    """An Iris that has been told what to look for: logits (B, K, X, Y, Z) of x (B, 1, X, Y, Z), for whatever takes a segmenter.

    tokens: (1, K, m + 1, C). structures: the K names. Raises ModelError where there are not as many of them.
    """

    def __init__(self, model: Iris, tokens: Tensor, structures: Sequence[str]):
        super().__init__()
        self.model, self.tokens, self.structures = model, tokens, tuple(structure(name).name for name in structures)
        if tokens.ndim != 4 or tokens.shape[:2] != (1, len(self.structures)):
            raise ModelError(f"A task of shape {tuple(tokens.shape)} does not fit {len(self.structures)} names; give a name to "
                             "each of its classes, in order.")

    def forward(self, x: Tensor) -> Tensor:
        return self.model.segment(x, self.tokens)


@torch.no_grad()
def task_of(model: Iris, references: Sequence[Volume], structures: Sequence[str], window: Sequence[int] = WINDOW,
            spacing: float = SPACING, values: Window = WIDE) -> Tensor:
    """T (1, K, m + 1, C) of structures as labelled volumes show them, the mean over those that show each.

    Every structure is read in a window of its own, ``window`` voxels of ``spacing`` mm about its middle. Raises ModelError where
    no reference shows one of the structures, VocabularyError for an unknown name.
    """
    coarse, training = [values(inference.resampled(volume, spacing)[0]) for volume in references], model.training
    model.eval()
    try:
        names = [structure(name).name for name in structures]
        return torch.cat([_task(model, references, coarse, name, window, spacing) for name in names], dim=1)
    finally:
        model.train(training)


def segment_volume(model: Iris, volume: Volume, tokens: Tensor, structures: Sequence[str], window: Sequence[int] = WINDOW,
                   spacing: float = SPACING, values: Window = WIDE, overlap: float = 0.5, crumb_ml: float = inference.CRUMB_ML,
                   progress: bool = False) -> Volume:
    """The volume with labels of the K structures on its own grid, given their tokens (1, K, m + 1, C).

    A voxel belongs to the structure of the largest logit, and to none where no sigmoid is above 1/2. The windows slide as in
    ``inference.segment``, which says what else is done and raised.
    """
    told = WithTask(model, tokens, structures)
    return inference.segment(told, volume, None, spacing, values, window, overlap, crumb_ml, progress)


def _task(model: Iris, references: Sequence[Volume], coarse: Sequence[Tensor], name: str, window: Sequence[int], spacing: float
          ) -> Tensor:
    """T (1, 1, m + 1, C) of one structure; coarse: the references' images, resampled, in [0, 1]."""
    shown = [window_about(volume, image, name, window, spacing) for volume, image in zip(references, coarse)]
    shown = [pair for pair in shown if pair is not None]
    if not shown:
        raise ModelError(f"None of {len(references)} references shows {name}, so nothing says what it is; leave it out, or give "
                         "one that does.")
    images, masks = (torch.stack(each)[None].to(model.probe.device) for each in zip(*shown))
    return model.encode_task(images, masks)


def window_about(volume: Volume, image: Tensor, name: str, window: Sequence[int], spacing: float) -> tuple[Tensor, Tensor] | None:
    """Image and mask (1, *window) of a structure in a window about its middle; None where the volume does not show it.

    image: what to cut of, such as the volume's own, resampled to ``spacing`` mm: (1, X, Y, Z).
    """
    known = volume.annotated is None or name in volume.annotated
    if not known or not bool((drawn := volume.mask(name)).any()):
        return None
    share, _ = inference.resampled(replace(volume, image=drawn[None].float(), labels=None, modality="other"), spacing)
    mask = share >= min(0.5, float(share.max()))  # of what nowhere fills half a voxel, the voxels that have most of it
    middle = mask[0].nonzero().float().mean(0).tolist()
    return cut(image, middle, window), cut(mask.float(), middle, window)


def cut(x: Tensor, middle: Sequence[float], window: Sequence[int]) -> Tensor:
    """A window of x (C, X, Y, Z) about a voxel index, inside of x where x is large enough, with 0 around where it is not."""
    margins = []
    for n, m, w in zip(x.shape[1:], middle, window):
        start = min(max(round(m - (w - 1) / 2), 0), n - w) if n >= w else (n - w) // 2
        margins = [-start, start + w - n, *margins]  # F.pad wants the last axis first; what is negative is cut off
    return F.pad(x, margins)
