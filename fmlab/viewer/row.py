"""A row of pictures with outlines: what a model found as a solid line, the truth as a dashed one. For figures in lessons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOUND, TRUTH = "#0072B2", "#E69F00"  # Okabe and Ito's blue and orange


def row(images: Sequence, found: Sequence | None = None, truth: Sequence | None = None, titles: Sequence[str] = (),
        inches: float = 2.2, sides: str = "LR", columns: int | None = None) -> Figure:
    """Pictures side by side. images: N of (H, W) or (1, H, W), values in [0, 1]. found, truth: as many masks or probability maps
    of the same shapes (outlined at one half), or None, also for single pictures. titles: above each. inches: width of one.
    sides: letters at the left and right edge, whose side of the patient is where; "" for pictures without such sides.
    columns: so many in a line, more go below; None: one line, in which titles of more than four pictures become small.

    The figure belongs to the caller; ``lessons.figure(fig, alt=...)`` shows it.
    """
    from matplotlib.figure import Figure  # takes a while to import, and the viewer does without it

    columns = columns or len(images)
    lines = -(-len(images) // columns)
    fig = Figure(figsize=(inches * columns, lines * (inches + 0.25 * bool(titles))), layout="constrained")
    axes = fig.subplots(lines, columns, squeeze=False).ravel()
    for spare in axes[len(images):]:
        spare.remove()
    for i, ax in enumerate(axes[:len(images)]):
        ax.imshow(_flat(images[i]), cmap="gray", vmin=0, vmax=1)
        for masks, colour, style in ((found, FOUND, "solid"), (truth, TRUTH, "dashed")):
            if masks is not None and masks[i] is not None and (mask := _flat(masks[i])).max() > 0.5:
                ax.contour(mask, [0.5], colors=colour, linewidths=1.5, linestyles=style)
        for letter, x in zip(sides, (0.02, 0.98)):
            ax.text(x, 0.5, letter, transform=ax.transAxes, color="white", fontsize=8, va="center",
                    ha="left" if x < 0.5 else "right")
        ax.set_axis_off()
        if i < len(titles):
            ax.set_title(titles[i], fontsize=9)
    return fig


def _flat(picture) -> np.ndarray:
    values = np.asarray(picture, dtype=float)
    return values.reshape(values.shape[-2:])
