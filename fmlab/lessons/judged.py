"""How a promptable model of volumes is judged: the traps of lesson 10, as functions to be tried.

    cut_about(volume, mask)              the published examination: a cube about the ground truth, and nothing else
    edits(found, truth)                  what is left of a mask after "largest component", honest and not
    ask_volume(model, volume)            the model behind a canvas, for somebody who clicks herself
    through(volume, masks, truth, ...)   axial slices through a structure, with its clicks
    after_clicks, by_place_alone, table  what lesson 10 draws and prints
    patients(names)                      the real scans that are on this machine, and what is drawn on them
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from fmlab import cohorts, metrics
from fmlab.errors import PromptError
from fmlab.interactive import nano, scenes
from fmlab.interactive.clicking import AskVolume
from fmlab.interactive.clicks import foreground
from fmlab.interactive.pictures import grey
from fmlab.interactive.prompts import Prompts
from fmlab.interactive.slices import largest_object, upright
from fmlab.interactive.volume_attention import VolumeAttention, sum_of
from fmlab.lessons.prompted import prompted
from fmlab.lessons.slice_by_slice import inner_half, spread
from fmlab.viewer.prompts import Answer, Request
from fmlab.volume import Volume
from fmlab.windows import SOFT_TISSUE, Window

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def cut_about(volume: Volume, mask: np.ndarray | Tensor, mm: float = nano.SIDE * nano.COARSE) -> tuple[tuple[slice, ...], Volume]:
    """Where a cube of ``mm`` about the middle of a mask's bounding box lies, and the volume there; less where the scan ends.

    Nobody who does not have the ground truth can cut it. PromptError for an empty mask.
    """
    box = ndimage.find_objects(foreground(mask).astype(np.uint8))[0]
    here = []
    for side, size, spacing in zip(box, volume.shape, volume.spacing):
        voxels = round(mm / spacing)
        start = int(np.floor((side.start + side.stop - voxels) / 2))
        here.append(slice(max(0, start), min(size, start + voxels)))
    return tuple(here), volume.crop([s.start for s in here], [s.stop for s in here])


def edits(found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Dice of a mask as it is, its largest piece, the piece that fits the truth best, and the better of the first two."""
    as_is, largest = metrics.dice(found, truth), metrics.dice(largest_object(found), truth)
    return {"as it is": as_is, "largest piece": largest, "piece that fits best": metrics.dice(best_piece(found, truth), truth),
            "edited where it helps": max(as_is, largest)}


def best_piece(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The connected piece of a mask that shares most voxels with the truth: a choice that only the truth can make."""
    pieces, count = ndimage.label(found)
    shared = np.bincount(pieces[np.asarray(truth, dtype=bool)], minlength=count + 1)
    shared[0] = 0
    return pieces == shared.argmax() if shared.any() else np.zeros_like(found)


def after_clicks(ask: AskVolume, truth: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """The mask (X, Y, Z) bool after ``count`` clicks, each in the inner half of the largest error."""
    rng, told, mask = np.random.default_rng(seed), Prompts.of(3), np.zeros_like(truth)
    for _ in range(count):
        told = told.add(inner_half(mask, truth, rng))
        mask = ask(told)
    return mask


def by_place_alone(place: tuple[int, int, int], textbook: bool, side: int = 8) -> Tensor:
    """Where a query at this place looks, (side, side, side), if all tables of ``VolumeAttention`` say "the nearer the better"."""
    attention = VolumeAttention(4, 1, (side,) * 3, textbook).requires_grad_(False)
    near = -torch.arange(1.0 - side, side).abs()
    for table in (attention.rel_pos_d, attention.rel_pos_h, attention.rel_pos_w):
        table.copy_(near[:, None].expand(-1, 4))
    terms = attention.terms(torch.full((1, 1, side, side, side, 4), 0.25))
    bias = sum_of(*terms, (side,) * 3)[0, 0].expand(side, side, side, side, side, side)[place]
    return bias.flatten().softmax(0).view(bias.shape)


def table(rows: Mapping[str, Mapping[str, float] | Sequence[float]], columns: Sequence = (), corner: str = "") -> str:
    """Dice by row and column as text, and their means below where a row names its columns itself."""
    named = {name: dict(row) if isinstance(row, Mapping) else dict(zip(columns, row)) for name, row in rows.items()}
    heads = list(next(iter(named.values())))
    if not columns:
        named["mean"] = {head: float(np.mean([row[head] for row in named.values()])) for head in heads}
    words = [textwrap.wrap(str(head), 14) for head in heads]  # a long head takes lines
    deep, wide = max(map(len, words)), max(6, *(len(line) for lines in words for line in lines)) + 2
    heading = [[""] * (deep - len(lines)) + lines for lines in words]
    lines = [f"{corner if line == deep - 1 else '':26s}" + "".join(f"{head[line]:>{wide}s}" for head in heading)
             for line in range(deep)]
    return "\n".join(lines + [f"{name:26s}" + "".join(f"{row[head]:{wide}.2f}" for head in heads) for name, row in named.items()])


def patients(names: Sequence[str], least: int = 200) -> dict[str, tuple[Volume, dict[str, np.ndarray]]]:
    """Title -> a real scan of the cache and its masks (X, Y, Z), of these names, or of the brain's tumour.

    least: voxels of a mask. Nothing is downloaded; where nothing is there, a body of hospital E stands in.
    """
    found = {}
    loads = {"CT": lambda: _drawn("totalsegmentator-ct", names), "MR": lambda: _drawn("totalsegmentator-mr", names),
             "brain, MR": lambda: [(scan, {"tumour": mask}) for scan, mask in [scenes.tumour()]]}
    for title, load in loads.items():
        for scan, masks in scenes.if_there(load):
            found[title] = scan, {name: mask for name, mask in masks.items() if mask.sum() >= least}
    if not found:
        body = next(iter(nano.bodies({"E": 1}, nano.FINE, 8000)))
        found["hospital E"] = body, {name: body.mask(name).numpy() for name in names if name in body.structures}
    return found


def _drawn(scan: str, names: Sequence[str]) -> list[tuple[Volume, dict[str, np.ndarray]]]:
    volume = cohorts.load(scan, confirm=False)
    return [(volume, {name: volume.mask(name).numpy() for name in names if name in volume.structures})]


def ask_volume(model: nn.Module, volume: Volume) -> Callable[[Request], Answer]:
    """``ask`` for a ``Canvas`` of scope "volume": all clicks so far to a mask in 3-D; nothing before the first positive one.

    It raises PromptError for a box, which this model never met: the canvas shows what it says.
    """
    ask = AskVolume(nano.clickable(model, volume))

    def answer(request: Request) -> Answer:
        if request.box is not None:
            raise PromptError("This model takes clicks and no boxes; take the box back (u), and click.")
        if not (request.labels == 1).any():
            return Answer(np.zeros(request.image.shape, dtype=bool))
        return Answer(ask(Prompts(request.points, request.labels)))

    return answer


def through(volume: Volume, found: np.ndarray | None, truth: np.ndarray, prompts: Prompts, titles: tuple[str, ...] = (),
            count: int = 6, window: Window = SOFT_TISSUE, inches: float = 2.6, columns: int = 3) -> Figure:
    """Axial slices through a structure, from its feet to its head, the mask solid and the truth dashed, and each slice's clicks.

    The first click's slice is among them: the nearest of the others makes place for it.
    """
    shown = spread(np.flatnonzero(np.asarray(truth).any((0, 1))), count)
    clicked = int(prompts.points[0, 2].round()) if len(prompts.points) else int(shown[0])
    shown[np.abs(shown - clicked).argmin()] = clicked
    pictures = [grey(volume, "axial", int(k), window) for k in shown]
    flat = [_on_slice(prompts, int(k), pictures[0].shape[0]) for k in shown]
    masks = [None if mask is None else [upright(np.asarray(mask)[:, :, k]) for k in shown] for mask in (found, truth)]
    return prompted(pictures, masks[0], flat, masks[1], titles, inches, columns=columns)


def _on_slice(prompts: Prompts, index: int, rows: int) -> Prompts:
    """The clicks of an axial slice, as (x, y) on its upright picture."""
    here = (prompts.points[:, 2].round() == index).numpy()
    points = prompts.points[here][:, :2].clone()
    points[:, 1] = rows - 1 - points[:, 1]
    return Prompts(points, prompts.labels[here])
