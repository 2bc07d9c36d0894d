"""The canvas: a voxel grid over a body, on which structures are painted by their signed distances.

Voxels carry canonical coordinates (an average adult; mm; x to the right, y to the front, z up, zero at the L5/S1 disc), so that
an organ is always drawn at the same place, and the body's size, pose and deformation come from the coordinates alone. Everything
is a function of world position, in float64: the labels depend neither on the voxel size nor on the device.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fmlab.phantom.shapes import Points, cone
from fmlab.vocabulary import ID, region

Box = tuple[slice, slice, slice]
EVERYTHING: Box = (slice(None), slice(None), slice(None))


class Waves:
    """Smooth random functions of position: sums of plane waves in all directions, the same at every voxel size.

    count: waves in a sum. shortest, longest: wavelengths in mm. A field has zero mean and unit variance over space.
    """

    def __init__(self, rng: np.random.Generator, count: int, shortest: float, longest: float):
        direction = rng.normal(size=(3, count))
        length = np.exp(rng.uniform(np.log(shortest), np.log(longest), count))
        self.wavenumber = 2 * np.pi / length * direction / np.linalg.norm(direction, axis=0)
        self.phase = rng.uniform(0, 2 * np.pi, count)

    def __call__(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Values on the grid spanned by three 1-D world axes (mm): (X, Y, Z).

        cos(a + b + c) falls apart into products of functions of one axis each, so that a wave costs two matrix products.
        """
        a, b, c = (
            torch.as_tensor(np.outer(k, axis.cpu().numpy()), device=x.device) for k, axis in zip(self.wavenumber, (x, y, z))
        )
        c = c + torch.as_tensor(self.phase, device=x.device)[:, None]
        cos_bc = b.cos()[:, :, None] * c.cos()[:, None] - b.sin()[:, :, None] * c.sin()[:, None]
        sin_bc = b.sin()[:, :, None] * c.cos()[:, None] + b.cos()[:, :, None] * c.sin()[:, None]
        field = a.cos().T @ cos_bc.flatten(1) - a.sin().T @ sin_bc.flatten(1)
        return (field * (2 / len(self.phase)) ** 0.5).reshape(len(x), len(y), len(z))


class Canvas:
    """Labels and HU of one body on one grid.

    axes: three 1-D world coordinates in mm. points: canonical coordinates of every voxel, three (X, Y, Z) float64 tensors.
    hu: density of each material in HU, by name; it is blended over the width of a voxel (partial volume).
    """

    def __init__(self, axes: Points, points: Points, hu: dict[str, float]):
        self.axes, self.points, self.material = axes, points, hu
        shape, device = points[0].shape, points[0].device
        self.label = torch.zeros(shape, dtype=torch.uint8, device=device)
        self.hu = torch.full(shape, hu["air"], dtype=torch.float32, device=device)
        self.depth = torch.zeros(shape, dtype=torch.float64, device=device)
        self.width = float(np.mean([float(axis[1] - axis[0]) for axis in axes]))
        self._reach = [self._range(coordinate, axis) for axis, coordinate in enumerate(points)]

    @staticmethod
    def _range(coordinate: Tensor, axis: int) -> tuple[np.ndarray, np.ndarray]:
        flat = coordinate.movedim(axis, 0).flatten(1)
        return flat.amin(1).cpu().numpy(), flat.amax(1).cpu().numpy()

    def box(self, low: Sequence[float], high: Sequence[float]) -> Box | None:
        """The smallest block of voxels that holds every voxel with canonical coordinates within [low, high]; None if none."""
        slices = []
        for (smallest, largest), lo, hi in zip(self._reach, low, high):
            inside = np.flatnonzero((largest >= lo) & (smallest <= hi))
            if len(inside) == 0:
                return None
            slices.append(slice(int(inside[0]), int(inside[-1]) + 1))
        return tuple(slices)

    def at(self, box: Box) -> Points:
        """Canonical coordinates within a box."""
        return tuple(coordinate[box] for coordinate in self.points)

    def layer(self) -> None:
        """Start a new layer: what is painted from now on covers what lies below, and competes only within the layer."""
        self.depth.zero_()

    def paint(
        self, box: Box | None, distance: Tensor, label: str | None, material: str | Tensor, within: str | None = None
    ) -> None:
        """Give voxels with negative ``distance`` (on ``box``) to ``label``, and blend in the HU of ``material``.

        Where two shapes of a layer overlap, the deeper one owns the voxel: they meet in the middle, as organs that press on
        each other do. ``within`` makes the shape a part: it covers only voxels that a structure (with its parts)
        owns, and all of them that it holds. ``label`` None changes HU alone.
        """
        if box is None:
            return
        gain = distance if label is None or within is not None else distance - self.depth[box]
        if within is not None:
            gain = torch.where(self.owned(within, box), gain, torch.inf)
        cover = (0.5 - gain / self.width).clamp(0, 1).float()
        value = self.material[material] if isinstance(material, str) else material
        self.hu[box] += cover * (value - self.hu[box])
        if label is not None:
            won = gain < 0
            self.label[box][won] = ID[label]
            self.depth[box][won] = distance[won]

    def owned(self, name: str, box: Box = EVERYTHING) -> Tensor:
        """Voxels of a structure and its parts, as bool."""
        part = self.label[box]
        return torch.isin(part, torch.tensor(region(name), dtype=torch.uint8, device=part.device))

    def tube(self, path: np.ndarray, margin: float = 0.0) -> tuple[Box | None, Tensor | None]:
        """Box and signed distance of a tube along ``path`` (rows x, y, z, radius in canonical mm).

        ``margin`` widens the block in which the distance is known beyond the tube's surface.
        """
        reach = path[:, 3].max() + margin + 1.5 * self.width
        box = self.box(path[:, :3].min(0) - reach, path[:, :3].max(0) + reach)
        if box is None:
            return None, None
        distance = torch.full(self.depth[box].shape, 1e3, dtype=torch.float64, device=self.depth.device)
        for start, stop in zip(path[:-1], path[1:]):
            r = max(start[3], stop[3]) + margin + 1.5 * self.width
            part = self.box(np.minimum(start, stop)[:3] - r, np.maximum(start, stop)[:3] + r)
            if part is None:
                continue
            local = tuple(slice(p.start - b.start, p.stop - b.start) for p, b in zip(part, box))
            piece = cone(self.at(part), start[:3], stop[:3], start[3], stop[3])
            distance[local] = torch.minimum(distance[local], piece)
        return box, distance
