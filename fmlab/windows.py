"""HU windows: how Hounsfield units become the numbers that a network reads."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fmlab.errors import SettingsError


@dataclass(frozen=True)
class Window:
    """A rising line through knots (HU, value), straight between them, level outside: ``WIDE(volume.image)``.

    knots: two or more pairs, HU strictly ascending, values not descending. Raises SettingsError where they are not.
    """

    knots: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        pairs = list(zip(self.knots, self.knots[1:]))
        if not pairs or not all(a[0] < b[0] and a[1] <= b[1] for a, b in pairs):
            raise SettingsError(f"Window({self.knots}): give two knots (HU, value) or more, ascending.")

    def __call__(self, image: Tensor) -> Tensor:
        """Values of an image in HU, any shape; floating, on its device."""
        image = image if image.is_floating_point() else image.float()
        value = torch.full_like(image, self.knots[0][1])
        for (low, start), (high, end) in zip(self.knots, self.knots[1:]):  # each stretch adds its own rise
            value += (end - start) * ((image - low) / (high - low)).clamp(0, 1)
        return value


def window(low: float, high: float) -> Window:
    """The plain window: ``low`` HU and less to 0, ``high`` HU and more to 1."""
    return Window(((low, 0.0), (high, 1.0)))


SOFT_TISSUE = window(-175, 250)
"""CLIP-driven's, SuPreM's and FSEFT's: abdominal organs fill the range; lung and air are both 0. doi:10.48550/arXiv.2301.00785"""

WIDE = Window(((-1000, 0.0), (-200, 0.15), (300, 0.85), (1500, 1.0)))
"""The course's own: soft tissue has seven tenths of the range, and what is airy or bony keeps some contrast."""
