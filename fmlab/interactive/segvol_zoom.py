"""SegVol's zoom-out-zoom-in: a whole CT at a glance, then closely where the glance found something.

    glance: all of it at 32 x 256 x 256, one decode          close: windows of its own voxels around the mask, averaged

In a window a box is replaced by that of the glance's mask, unless one window shows everything; clicks come with such a box, too.
Text is the same in every window.

Source: Du et al. 2023, arXiv:2311.13385, section 3.4, and its released code, from which this differs in three ways. There the
close look ends where the glance's mask does; here it sees a voxel of the glance more, for that much the glance rounds away. Where
the glance saw nothing in a window there is nothing to be asked: its answer stays, and counts for next to nothing beside windows
that overlap. And clicks are given as they are, both signs; there positive ones alone, with four more drawn next to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fmlab.errors import PromptError
from fmlab.interactive.preprocess_segvol import normalised, postprocess
from fmlab.interactive.preprocessing import Frame
from fmlab.interactive.prompts import Prompts
from fmlab.interactive.segvol import SegVol
from fmlab.interactive.segvol_text import Table, looked_up
from fmlab.vocabulary import ID, structure
from fmlab.volume import Volume

UNASKED = 1e-4  # weight of a window in which nothing could be asked


def segment(model: SegVol, ct: Volume, prompts: Mapping[str, Prompts], table: Table | None = None, overlap: float = 0.5
            ) -> Volume:
    """The CT with labels of the structures that are asked for, on its own grid; a voxel goes to the largest logit above 0.

    prompts: by name, 3-D clicks and a box in mm or in voxels of the CT; ``Prompts.of(3)`` for the name alone. table: vectors of
    names; those that it knows are given as text. Raises PromptError for a structure without any prompt, and as ``Prompts.check``.
    """
    image = torch.from_numpy(normalised(ct.image[0].cpu().numpy())).float().permute(2, 1, 0)  # as trained: (S, A, R)
    glance, best, labels = at_a_glance(model, image), torch.zeros(image.shape), torch.zeros(image.shape, dtype=torch.uint8)
    names = [structure(name).name for name in prompts]
    for name, given in zip(names, prompts.values()):
        text = looked_up(table, [name]) if table and name in table else None
        logits = zoom_out_zoom_in(model, image, turned(given, ct), text, overlap, glance)
        labels[logits > best] = ID[name]
        best = torch.maximum(best, logits)
    return replace(ct, labels=labels.permute(2, 1, 0)[None].contiguous().to(ct.image.device), annotated=frozenset(names))


@torch.no_grad()
def zoom_out_zoom_in(model: SegVol, image: Tensor, prompts: Prompts, text: Tensor | None = None, overlap: float = 0.5,
                     glance: Tensor | None = None) -> Tensor:
    """Logits (D, H, W) of one structure in a whole CT, at its own resolution.

    image (D, H, W) in [0, 1], by ``preprocess_segvol.normalised``. prompts: clicks and a box in its voxels. text (1, channels).
    overlap: of neighbouring windows. glance: features by ``at_a_glance``, where there are several structures.
    Raises PromptError where there is no prompt at all, or one lies outside.
    """
    from monai.inferers import sliding_window_inference  # takes seconds to import

    counted = (prompts.labels >= 0).nonzero().flatten()
    prompts = replace(prompts, points=prompts.points[counted], labels=prompts.labels[counted], mask=None).check(image.shape)
    if prompts.empty and text is None:
        raise PromptError("SegVol was asked for nothing; give a click, a box or a text.")
    frame = Frame(tuple(image.shape), model.size, model.size, (0, 0, 0))
    glance = at_a_glance(model, image) if glance is None else glance
    found = postprocess(answer(model, glance, frame.prompts(prompts), text), frame)[0, 0]
    if not (found > 0).any():
        return found
    here = roi(found > 0, model.size)
    layers = torch.stack([image, found, *drawn(prompts, image.shape)])[:, *here]
    alone = all(n <= side for n, side in zip(layers.shape[1:], model.size))

    def close(window: Tensor) -> Tensor:
        """Logits, weighted, and their weight in a window whose layers are image, glance, clicks and box."""
        picture, seen, clicked, boxed = window[0]
        if not (seen > 0).any():
            return torch.stack([UNASKED * seen, torch.full_like(seen, UNASKED)])[None]
        mask = boxed > 0 if alone and (boxed > 0).any() else seen > 0
        box = extent(mask) if prompts.box is not None or len(prompts.points) else None
        places = clicked.nonzero()
        own = Prompts(places.float(), (clicked[tuple(places.T)] > 0).long(), box)
        logits = answer(model, model.image_encoder(picture[None, None]), own, text)
        fine = F.interpolate(logits, model.size, mode="trilinear", align_corners=False)
        return torch.cat([fine, torch.ones_like(fine)], 1)

    device = next(model.parameters()).device
    total, weight = sliding_window_inference(layers[None], model.size, 1, close, overlap, sw_device=device, device="cpu")[0]
    found[here] = total / weight
    return found


@torch.no_grad()
def at_a_glance(model: SegVol, image: Tensor) -> Tensor:
    """Features (1, C, *grid) of the whole image (D, H, W) in [0, 1], by nearest neighbours at the model's size."""
    small = F.interpolate(image[None, None], model.size, mode="nearest-exact")
    return model.image_encoder(small.to(next(model.parameters()).device))


def answer(model: SegVol, features: Tensor, prompts: Prompts, text: Tensor | None) -> Tensor:
    """Logits (1, 1, *4 grid), on the CPU, of prompts in voxels of the model."""
    given = {"text": text} | ({"points": prompts.points[None], "labels": prompts.labels[None]} if len(prompts.points) else {})
    given |= {} if prompts.box is None else {"boxes": prompts.box[None]}
    device = features.device
    logits, _ = model.decode(features, **{k: v if v is None else v.to(device) for k, v in given.items()})
    return logits.float().cpu()


def roi(mask: Tensor, window: tuple[int, ...]) -> tuple[slice, ...]:
    """The bounding box of a mask with a voxel of the glance on each side, of a window's size at least, within the image."""
    low, high = extent(mask).long().view(2, 3).tolist()
    voxels = [-(-n // side) for n, side in zip(mask.shape, window)]
    margins = [max(2 * voxel, side - (b + 1 - a)) for a, b, side, voxel in zip(low, high, window, voxels)]
    return tuple(slice(max(0, a - m // 2), min(n, b + 1 + m - m // 2)) for a, b, m, n in zip(low, high, margins, mask.shape))


def drawn(prompts: Prompts, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Clicks as 1 and -1, and the box as 1, in images of this shape, so that windows can be cut of them."""
    clicked, boxed = torch.zeros(2, *shape)
    for point, label in zip(prompts.points.round().long().tolist(), prompts.labels.tolist()):
        clicked[tuple(min(max(p, 0), n - 1) for p, n in zip(point, shape))] = 1 if label else -1
    if prompts.box is not None:
        low, high = prompts.box.round().long().view(2, 3).tolist()
        boxed[tuple(slice(max(a, 0), b + 1) for a, b in zip(low, high))] = 1
    return clicked, boxed


def extent(mask: Tensor) -> Tensor:
    """First and last voxel of a mask on each axis: (6,) float32."""
    places = mask.nonzero()
    return torch.cat([places.amin(0), places.amax(0)]).float().cpu()


def turned(prompts: Prompts, ct: Volume) -> Prompts:
    """Prompts on a volume (X, Y, Z), in mm or voxels, in voxels of the image (Z, Y, X)."""
    voxels = prompts.from_mm(np.asarray(ct.affine)) if prompts.unit == "mm" else prompts
    box = None if voxels.box is None else voxels.box.view(2, 3).flip(1).flatten()
    return replace(voxels, points=voxels.points.flip(1), box=box)
