"""Signed distances in mm (negative inside): the few primitives that every organ is built from.

Points are three tensors ``(x, y, z)`` of one shape; each function returns a tensor of that shape. Distances need not be exact far
from a surface, only smooth and right near it, because they decide who owns a voxel and how much of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

Points = tuple[Tensor, Tensor, Tensor]
Vector = Sequence[float]


def ellipsoid(p: Points, centre: Vector, radii: Vector, frame: np.ndarray | None = None) -> Tensor:
    """Ellipsoid with semi-axes ``radii`` (mm) along the rows of the 3x3 rotation ``frame`` (identity if None)."""
    x, y, z = (axis - float(c) for axis, c in zip(p, centre))
    if frame is not None:
        x, y, z = (x * float(r[0]) + y * float(r[1]) + z * float(r[2]) for r in frame)
    a, b, c = (float(r) for r in radii)
    u, v, w = x / a, y / b, z / c
    k0 = (u * u + v * v + w * w).sqrt()
    u, v, w = u / a, v / b, w / c
    k1 = (u * u + v * v + w * w).sqrt().clamp_min(1e-9)
    return k0 * (k0 - 1) / k1


def cone(p: Points, start: Vector, stop: Vector, r0: float, r1: float) -> Tensor:
    """Capsule whose radius goes from r0 at ``start`` to r1 at ``stop`` (mm)."""
    axis = [float(b - a) for a, b in zip(start, stop)]
    length2 = max(sum(c * c for c in axis), 1e-9)
    x, y, z = (coordinate - float(c) for coordinate, c in zip(p, start))
    t = ((x * axis[0] + y * axis[1] + z * axis[2]) / length2).clamp(0, 1)
    x, y, z = x - t * axis[0], y - t * axis[1], z - t * axis[2]
    return (x * x + y * y + z * z).sqrt() - (r0 + t * (r1 - r0))


def smooth_min(a: Tensor, b: Tensor, width: float) -> Tensor:
    """Union of two shapes whose seam is rounded over ``width`` mm."""
    h = (0.5 + 0.5 * (b - a) / width).clamp(0, 1)
    return b + (a - b) * h - width * h * (1 - h)


def smooth_max(a: Tensor, b: Tensor, width: float) -> Tensor:
    """Intersection of two shapes whose edge is rounded over ``width`` mm."""
    return -smooth_min(-a, -b, width)


def oval(x: Tensor, y: Tensor, a: Tensor | float, b: Tensor | float, boxy: float = 0.4) -> Tensor:
    """Distance, along the ray from the centre, to an oval of half-axes a, b; ``boxy`` 0 is an ellipse, 1 a rounded rectangle."""
    u, v = (x / a) ** 2, (y / b) ** 2
    r = (u * u + v * v + 2 * (1 - boxy) * u * v).sqrt().sqrt().clamp_min(1e-6)
    return (x * x + y * y).sqrt() * (1 - 1 / r)


def spline(points: Sequence[Vector], step: float = 6.0) -> np.ndarray:
    """Catmull-Rom curve through rows ``(x, y, z, radius, ...)``, resampled about every ``step`` mm: (n, columns) array."""
    knots = np.asarray(points, float)
    knots = np.vstack([2 * knots[0] - knots[1], knots, 2 * knots[-1] - knots[-2]])
    pieces = []
    for a, b, c, d in zip(knots, knots[1:], knots[2:], knots[3:]):
        count = max(2, int(np.ceil(np.linalg.norm(c[:3] - b[:3]) / step)))
        t = np.linspace(0, 1, count, endpoint=False)[:, None]
        pieces.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    return np.vstack([*pieces, knots[-2:-1]])


def rotation(x: float = 0.0, y: float = 0.0, z: float = 0.0) -> np.ndarray:
    """3x3 rotation by angles in degrees about x, then y, then z; its rows are the axes for ``ellipsoid``."""
    cx, cy, cz = np.cos(np.deg2rad([x, y, z]))
    sx, sy, sz = np.sin(np.deg2rad([x, y, z]))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return (about_z @ about_y @ about_x).T


def table(z: Tensor, knots: Sequence[Vector]) -> list[Tensor]:
    """Columns of ``knots`` (rows ``(z, value, value, ...)``, z rising) as smooth functions of ``z``: one tensor a column."""
    from scipy.interpolate import PchipInterpolator  # shape-preserving: no bulge between knots

    rows = np.asarray(knots, float)
    grid = np.arange(rows[0, 0], rows[-1, 0] + 1.0)
    values = torch.as_tensor(PchipInterpolator(rows[:, 0], rows[:, 1:])(grid), dtype=z.dtype, device=z.device)
    position = (z - rows[0, 0]).clamp(0, len(grid) - 1.001)
    below = position.long()
    fraction = position - below
    return [torch.lerp(column[below], column[below + 1], fraction) for column in values.T.contiguous()]
