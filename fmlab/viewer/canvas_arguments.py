"""What a canvas is given: its image in the one form that it is shown and asked about in, and checks of all else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from fmlab.errors import ScanError
from fmlab.viewer.annotation import SCOPES
from fmlab.viewer.cuts import Cuts
from fmlab.viewer.scene import Scene, build_scene
from fmlab.volume import Volume


def image_of(image: Volume | np.ndarray | torch.Tensor, title: str) -> tuple[Scene, Cuts, np.ndarray]:
    """What is shown, how it is cut, and its values (X, Y, Z) float32; a picture (H, W) becomes a volume (W, H, 1)."""
    if isinstance(image, Volume):
        scene = build_scene(replace(image, labels=None, name=title or image.name))
        return scene, Cuts(scene.shape), image.image[0].detach().cpu().numpy()
    array = image.detach().cpu().numpy() if isinstance(image, torch.Tensor) else np.asarray(image)
    array = array[0] if array.ndim == 3 and len(array) == 1 else array
    if array.ndim != 2 or array.dtype.kind not in "buif" or not array.size:
        raise ScanError(f"The image is {type(image).__name__} {array.shape}; give a Volume, or one picture (H, W) of numbers.")
    values = np.ascontiguousarray(array.astype(np.float32)[::-1, ::-1].T)[..., None]
    volume = Volume(torch.from_numpy(values)[None], np.eye(4), modality="other", name=title or "picture")
    low, high = float(values.min()), float(values.max())
    scene = replace(build_scene(volume), auto=((low + high) / 2, max(high - low, 0.001)))
    return scene, Cuts(scene.shape, flat=True), values


def check_arguments(cuts: Cuts, ask: object, classes: object, axis: str, scope: str, prepare: object, height: object,
                    minutes: object = None) -> None:
    """ScanError with one sentence for the first argument of a canvas that is unfit."""
    if not callable(ask) or not (prepare is None or callable(prepare)):
        raise ScanError("ask and prepare are functions: ask(request) returns an Answer, prepare(axis, index) what you like.")
    named = isinstance(classes, Sequence) and not isinstance(classes, str) and all(isinstance(n, str) and n for n in classes)
    if not named or not 0 < len(classes) < 255 or len(set(classes)) < len(classes):
        raise ScanError(f'The classes are {classes!r}; give a list of different names, as in ("liver", "spleen").')
    if scope not in SCOPES:
        raise ScanError(f"There is no scope {scope!r}; choose slice (a model of pictures) or volume (a model of volumes).")
    if cuts.flat and axis != "axial":
        raise ScanError(f"A picture has no {axis} slices; leave axis= out.")
    if not isinstance(height, int) or not 120 <= height <= 2000:
        raise ScanError(f"The height {height!r} is not a number of pixels between 120 and 2000.")
    timed = isinstance(minutes, int | float) and not isinstance(minutes, bool) and 0 < minutes < 10_000
    if minutes is not None and not timed:
        raise ScanError(f"The minutes {minutes!r} are no time to count down; give a number above 0, or leave minutes= out.")
