"""A SAM behind a canvas: ``Canvas(volume, *asked)`` shows what it answers to every click and box.

    ask, prepare = ask_sam(predictor, volume)
    Canvas(volume, ask, prepare=prepare)

A slice is encoded once. An answer depends on the slice and its prompts alone, not on what was asked before, so that undo and a
replayed recording give the same masks: the prompts are told one after the other, box first, each with the logits of the answer
before, as in training. Answers to the first of them are kept, and a further click costs one decoder call.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from fmlab import metrics
from fmlab.errors import PromptWarning
from fmlab.interactive.pictures import grey
from fmlab.interactive.predictor import Masks, SamPredictor
from fmlab.interactive.preprocessing import Frame
from fmlab.interactive.prompts import Prompts
from fmlab.viewer.canvas import Canvas
from fmlab.viewer.planes import plane_named
from fmlab.viewer.prompts import Answer, Request
from fmlab.volume import Volume
from fmlab.windows import SOFT_TISSUE, Window


@dataclass(frozen=True, eq=False)
class Encoded:
    """A slice as the predictor knows it. low: logits of the best mask after the first prompts, by these prompts."""

    features: Tensor
    frame: Frame
    low: dict[tuple, Tensor] = field(default_factory=dict)


def ask_sam(predictor: SamPredictor, volume: Volume | np.ndarray, window: Window | None = SOFT_TISSUE
            ) -> tuple[Callable[[Request], Answer], Callable[[str, int], Encoded]]:
    """``ask`` and ``prepare`` for a ``Canvas`` on this volume, or on this picture (H, W) uint8.

    window: of HU, in which the model sees a CT, whatever window the screen has; as in ``pictures.grey``. The predictor is left
    with the slice that was asked last. A prompt outside the picture raises PromptError.
    """
    def prepare(axis: str, index: int) -> Encoded:
        predictor.set_image(grey(volume, axis, index, window) if isinstance(volume, Volume) else volume)
        return Encoded(predictor.features, predictor.frame)

    def ask(request: Request) -> Answer:
        if not len(request.points) and request.box is None:
            return Answer(np.zeros(request.image.shape, dtype=bool))
        found = told_one_by_one(predictor, request.prepared, request.xy, request.labels, request.xyxy)
        return Answer(found.mask, float(found.iou.max()))

    return ask, prepare


def told_one_by_one(predictor: SamPredictor, image: Encoded, points: np.ndarray, labels: np.ndarray, box: np.ndarray | None
                    ) -> Masks:
    """The answer to clicks (N, 2), (x, y), with labels (N,), after a box (4,) or None; N may be 0 where there is a box."""
    predictor.features, predictor.frame = image.features, image.frame
    told = [] if box is None else [(tuple(box.tolist()),)]
    told += [(*point, label) for point, label in zip(points.tolist(), labels.tolist())]
    found = None
    for count in range(1, len(told) + 1):
        key = tuple(told[:count])
        if count < len(told) and key in image.low:
            continue
        clicks = count - (box is not None)
        prompts = Prompts(torch.as_tensor(points[:clicks]).reshape(-1, 2), torch.as_tensor(labels[:clicks]), box)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PromptWarning)  # the same pixel clicked as both: the canvas shows both signs
            found = predictor.predict(prompts, image.low.get(key[:-1]))
        image.low[key] = found.low[found.best]
    return found


def marks(canvas: Canvas, truth: Volume) -> str:
    """How good an annotation is: for each class Dice on the slices that were prompted, against the labels of a volume.

    The classes that the volume does not show, or of which nothing was prompted, are named as such.
    """
    lines = []
    for name in canvas.classes:
        done = {key: layer for key, layer in canvas.annotation.layers.items() if key.name == name and layer.prompts}
        found, drawn = canvas.mask(name), truth.mask(name).numpy()
        if not done or not drawn.any():
            lines.append(f"{name}: {'not drawn in the reference' if done else 'no prompts yet'}")
            continue
        flat = [np.concatenate([mask.take(key.index, plane_named(key.axis).axis).ravel() for key in done])
                for mask in (found, drawn)]
        prompts = sum(layer.prompts for layer in done.values())
        lines.append(f"{name}: Dice {metrics.dice(flat[0][None], flat[1][None]):.2f} on {len(done)} "
                     f"slice{'s' * (len(done) != 1)}, {prompts} prompt{'s' * (prompts != 1)}")
    return "\n".join(lines)
