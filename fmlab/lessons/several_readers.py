"""For lesson 07: masks beside the readers whom they are to be like, as pictures and as numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from fmlab.incontext.candidates import ged, max_dice
from fmlab.incontext.examples import Examples
from fmlab.incontext.readers import redrawn
from fmlab.lessons.show import Picture, figure
from fmlab.viewer import row

Scores = dict[str, list[tuple[float, float]]]  # way -> (mean over readers of max Dice, GED) of each query
OTHERS = "8 other readers"


def around(mask: Tensor, margin: int = 8) -> tuple[slice, slice]:
    """Rows and columns of a picture (..., H, W) about what a mask shows; the whole picture for an empty one."""
    places = mask.flatten(0, -3).any(0).nonzero() if mask.ndim > 2 else mask.nonzero()
    if not len(places):
        return slice(None), slice(None)
    low, high = (places.amin(0) - margin).clamp(min=0).tolist(), (places.amax(0) + margin + 1).tolist()
    return slice(low[0], high[0]), slice(low[1], high[1])


def against_readers(picture: Tensor, masks: Tensor, readers: Tensor) -> Picture:
    """Each reader's mask, dashed, with that of the masks which is nearest to hers, solid; masks (K, H, W), readers (R, H, W)."""
    near = (..., *around(readers))
    fits = [torch.stack([max_dice(mask[None], reader[None])[0] for mask in masks]) for reader in readers]
    nearest = [masks[int(fit.argmax())] for fit in fits]
    titles = [f"reader {r + 1}: Dice {float(fit.max()):.2f}" for r, fit in enumerate(fits)]
    fig = row([picture[near]] * len(readers), [mask[near] for mask in nearest], [reader[near] for reader in readers], titles)
    return figure(fig, alt=f"Of {len(masks)} masks that nearest to each of {len(readers)} readers, solid; the reader's own "
                           "dashed. "
                           + "; ".join(titles) + ".")


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
