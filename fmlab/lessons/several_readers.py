"""For lesson 07: masks beside the readers whom they are to be like, as pictures and as numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from fmlab.incontext.candidates import ged, max_dice
from fmlab.incontext.examples import Examples
from fmlab.incontext.material import picture, pictures
from fmlab.incontext.readers import redrawn
from fmlab.lessons.show import Picture, figure
from fmlab.viewer import row
from fmlab.volume import Volume

Scores = dict[str, list[tuple[float, float]]]  # way -> (mean over readers of max Dice, GED) of each query
OTHERS = "8 other readers"


def around(mask: Tensor, margin: int = 8) -> tuple[slice, slice]:
    """Rows and columns of a square about what a mask (..., H, W) shows, inside of the picture; all of it for an empty mask."""
    places = mask.flatten(0, -3).any(0).nonzero() if mask.ndim > 2 else mask.nonzero()
    if not len(places):
        return slice(None), slice(None)
    low, high, size = places.amin(0), places.amax(0) + 1, torch.tensor(mask.shape[-2:])
    side = min(int((high - low).max()) + 2 * margin, *mask.shape[-2:])
    starts = torch.minimum(((low + high - side) // 2).clamp(min=0), size - side).tolist()
    return slice(starts[0], starts[0] + side), slice(starts[1], starts[1] + side)


def most_apart(volume: Volume, a: Tensor, b: Tensor, size: int = 128, margin: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    """The axial slice in which two masks (X, Y, Z) differ most, cut to a square about them: picture (h, h) and both masks."""
    index = int((a ^ b).sum((0, 1)).argmax())
    both = [picture(volume, mask, "axial", index, size, labels=True) for mask in (a, b)]
    near = around(torch.stack(both), margin)
    return pictures(volume, "axial", [index], size)[0, 0][near], both[0][near], both[1][near]


def against_readers(query: Tensor, masks: Tensor, readers: Tensor) -> Picture:
    """Each reader's mask, dashed, with that of the masks which is nearest to hers, solid; masks (K, H, W), readers (R, H, W)."""
    near = (..., *around(readers))
    fits = [torch.stack([max_dice(mask[None], reader[None])[0] for mask in masks]) for reader in readers]
    nearest = [masks[int(fit.argmax())] for fit in fits]
    titles = [f"reader {r + 1}: Dice {float(fit.max()):.2f}" for r, fit in enumerate(fits)]
    fig = row([query[near]] * len(readers), [mask[near] for mask in nearest], [reader[near] for reader in readers], titles)
    return figure(fig, alt=f"Of {len(masks)} masks that nearest to each of {len(readers)} readers, solid; the reader's own "
                           "dashed. " + "; ".join(titles) + ".")


def scored(ways: Callable[[Tensor, Examples], Mapping[str, Tensor]], tasks: Sequence[tuple[Examples, Examples]], readers: int = 4,
           seed: int = 7) -> Scores:
    """Sets of masks measured against made-up readers, for every query of tasks (examples, queries).

    ways: from a query (1, 1, H, W) and the examples to named sets of masks (K, H, W), bool or 0 and 1. Each query has ``readers``
    readers of its own. Eight more, who are measured against them as if they were candidates, show what is possible.
    """
    rng, found = np.random.default_rng(seed), {}
    for examples, queries in tasks:
        for image, mask in zip(queries.images[:, None], queries.masks[:, None]):
            drawn, others = (redrawn(mask.repeat(number, 1, 1, 1), rng)[:, 0] for number in (readers, 8))
            for way, masks in {**ways(image, examples), OTHERS: others}.items():
                masks = masks.to(drawn.dtype)
                found.setdefault(way, []).append((float(max_dice(masks, drawn).mean()), ged(masks, drawn)))
    return found


def compared(found: Scores) -> Picture:
    """Max Dice and GED of each way, a box over the queries."""
    from matplotlib.figure import Figure

    fig = Figure(figsize=(8, 0.45 * len(found) + 0.6), layout="constrained")
    for number, (ax, title) in enumerate(zip(fig.subplots(1, 2, sharey=True), ("max Dice (1 is best)", "GED (0 is best)"))):
        ax.boxplot([[scores[number] for scores in each] for each in found.values()], orientation="horizontal",
                   tick_labels=list(found), medianprops={"color": "#0072B2", "linewidth": 2})
        ax.set_title(title, fontsize=10)
        ax.invert_yaxis() if number == 0 else None
    means = {way: np.mean(each, axis=0) for way, each in found.items()}
    count = len(next(iter(found.values())))
    return figure(fig, alt=f"Max Dice and GED over {count} queries, means: "
                           + "; ".join(f"{way} {dice:.2f} and {distance:.2f}" for way, (dice, distance) in means.items()) + ".")
