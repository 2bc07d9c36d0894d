"""Slices of a scan as upright pictures, and back: where a voxel lies in the picture that a model sees.

A model's picture of a volume's slice is that of ``fmlab.incontext.material``: row 0 at the front (axial) or at the head, columns
along the rising voxel index. The screen shows it mirrored, with the patient's right on the left. A plain picture is shown as it
is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fmlab.errors import ScanError
from fmlab.viewer.planes import plane_named

Voxel = tuple[int, int, int]


@dataclass(frozen=True)
class Cuts:
    """How a grid of ``shape`` (X, Y, Z) is cut into pictures (rows, columns). flat: it is one picture, stored as (W, H, 1)."""

    shape: Voxel
    flat: bool = False

    def size(self, axis: str) -> tuple[int, int]:
        """Rows and columns of a picture across this axis."""
        plane = plane_named(axis)
        return self.shape[plane.v], self.shape[plane.u]

    def cut(self, values: np.ndarray, axis: str, index: int) -> np.ndarray:
        """The picture (rows, columns) of a slice of values (X, Y, Z): a view, so that writing to it writes to the values."""
        across = plane_named(axis).axis
        chosen = values[tuple(index if k == across else slice(None) for k in range(3))]
        return chosen.T[::-1, ::-1] if self.flat else chosen.T[::-1]

    def place(self, axis: str, voxel: Voxel) -> tuple[int, int]:
        """Row and column of a voxel in the picture of its slice."""
        plane = plane_named(axis)
        column = self.shape[plane.u] - 1 - voxel[plane.u] if self.flat else voxel[plane.u]
        return self.shape[plane.v] - 1 - voxel[plane.v], column

    def voxel(self, axis: str, index: int, place: tuple[int, int]) -> Voxel:
        """The voxel at (row, column) of a slice's picture; the inverse of ``place``. Raises ScanError outside the picture."""
        plane = plane_named(axis)
        (row, column), (rows, columns) = place, self.size(axis)
        inside = 0 <= row < rows and 0 <= column < columns and 0 <= index < self.shape[plane.axis]
        if not inside:
            raise ScanError(f"Row {row}, column {column} of {axis} slice {index} is outside the image; its {axis} slices are "
                            f"0 to {self.shape[plane.axis] - 1}, with {rows} rows and {columns} columns.")
        found = [0, 0, 0]
        found[plane.axis], found[plane.v] = index, rows - 1 - row
        found[plane.u] = columns - 1 - column if self.flat else column
        return tuple(found)

    def on_screen(self, picture: np.ndarray) -> np.ndarray:
        """A picture as the screen shows it."""
        return picture if self.flat else picture[:, ::-1]

