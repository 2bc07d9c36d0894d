"""Lungs with their lobes and vessels, airways, oesophagus, heart."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fmlab.phantom.canvas import Box, Canvas, Waves
from fmlab.phantom.person import Person
from fmlab.phantom.shapes import ellipsoid, smooth_max, smooth_min, spline, table
from fmlab.phantom.trunk import Trunk

# half-width of the mediastinum: z, at the front, in the middle, at the back (mm)
MEDIASTINUM = [
    (150, 20, 30, 24),
    (230, 10, 34, 24),
    (290, 8, 30, 22),
    (340, 8, 26, 20),
    (380, 16, 30, 20),
    (430, 40, 34, 22),
    (490, 60, 60, 50),
]


def paint_chest(canvas: Canvas, person: Person, body: Trunk) -> None:
    """Lungs first; heart and airways cover them."""
    box = canvas.box((-150, -130, 60), (150, 110, 470))
    if box is None:
        return
    canvas.layer()
    _lungs(canvas, person, body, box)
    canvas.layer()
    _heart(canvas, person)


def _lungs(canvas: Canvas, person: Person, body: Trunk, box: Box) -> None:
    x, y, z = canvas.at(box)
    front, middle, behind = table(z, MEDIASTINUM)
    ahead = torch.where(y > 0, (y / 60).clamp(max=1), (-y / 60).clamp(max=1))
    half = torch.where(y > 0, torch.lerp(middle, front, ahead), torch.lerp(middle, behind, ahead))
    pleura = smooth_max(body.cavity[box] + 1.5, half - x.abs(), 8)
    pleura = smooth_max(pleura, -body.diaphragm[box] * 0.6 + 0.5, 4)
    pleura = smooth_max(pleura, z - 446, 10)
    texture = Waves(person.rng("lung texture"), 32, 14, 40)(*canvas.axes)[box]
    wave = Waves(person.rng("fissures"), 12, 60, 160)(*canvas.axes)[box] * 4
    vessels = _branches(x, y, z, texture)
    density = canvas.material["lung"] - 0.9 * y + 14 * texture
    density = torch.where(vessels, canvas.material["vessel"], density).float()
    oblique = 0.80 * (z - 268) + 0.62 * (y - 10) + wave  # > 0 above and in front
    horizontal = z - 302 - 0.10 * (y - 20) + 0.5 * wave
    left, right = torch.maximum(pleura, x), torch.maximum(pleura, -x)
    canvas.paint(box, torch.maximum(left, -oblique), "lung_upper_lobe_left", density)
    canvas.paint(box, torch.maximum(left, oblique), "lung_lower_lobe_left", density)
    canvas.paint(box, torch.maximum(right, oblique), "lung_lower_lobe_right", density)
    canvas.paint(box, torch.maximum(right, torch.maximum(-oblique, -horizontal)), "lung_upper_lobe_right", density)
    canvas.paint(box, torch.maximum(right, torch.maximum(-oblique, horizontal)), "lung_middle_lobe_right", density)


def _branches(x: Tensor, y: Tensor, z: Tensor, texture: Tensor) -> Tensor:
    """Vessels as ridges of a random field, thick near the hilum and gone at the pleura (HU only)."""
    far = ((x.abs() - 38).square() + (y + 12).square() + 0.6 * (z - 318).square()).sqrt()
    return texture > 0.9 + far / 62


def airway_paths() -> list[np.ndarray]:
    """Trachea and the two main bronchi: rows x, y, z, radius."""
    trachea = spline([(0, 28, 480, 9), (0, 20, 450, 9.5), (1, 13, 430, 9.5), (2, 0, 395, 9.5), (4, -10, 362, 9.5)], 9)
    right = spline([(4, -10, 362, 9), (20, -12, 346, 7.5), (40, -14, 330, 6)], 8)
    left = spline([(4, -10, 362, 9), (-18, -13, 348, 7), (-42, -16, 334, 6)], 8)
    return [trachea, right, left]


def paint_airways(canvas: Canvas, person: Person) -> None:
    """Trachea with its main bronchi, and the oesophagus behind it."""
    for path in airway_paths():
        box, distance = canvas.tube(path)
        if box is not None:
            canvas.paint(box, distance, "trachea", "gut_wall")
            canvas.paint(box, distance + 1.2, None, "gas", within="trachea")
    d = 0.7 * person.descent
    path = spline(
        [
            (-4, 12, 485, 7),
            (-4, 3, 450, 7),
            (-5, -4, 430, 7.5),
            (-6, -17, 392, 7.5),
            (-7, -26, 362, 7.5),
            (-6, -31, 335, 7.5),
            (-4, -27, 290, 7.5),
            (-8, -10, 250, 8),
            (-22, 6, 222 + d, 8.5),
            (-44, 0, 205 + d, 9),
        ],
        9,
    )
    box, distance = canvas.tube(path)
    if box is not None:
        canvas.paint(box, distance, "esophagus", "gut_wall")


def _heart(canvas: Canvas, person: Person) -> None:
    """One ovoid with its apex to the front left, hollowed by four chambers whose walls are what is left of it."""
    size = 1.10 * person.organ_size("heart", 0.045) * (0.97 if person.sex == "female" else 1.0)
    lift = 0.8 * person.descent
    centre = np.array([-16, 22, 262 + lift])
    box = canvas.box(centre - 95, centre + 95)
    if box is None:
        return
    # long axis u: towards the apex (left, front, down); v: to the septum's right side; w: up
    axis = np.array([-0.70, 0.55, -0.46])
    up = np.array([-0.25, 0.40, 0.88])
    right = np.cross(axis, up)
    right /= np.linalg.norm(right)
    up = np.cross(right, axis)
    frame = np.stack([axis, right, up])
    x, y, z = ((coordinate - float(c)) / size for coordinate, c in zip(canvas.at(box), centre))
    u, v, w = (x * float(r[0]) + y * float(r[1]) + z * float(r[2]) for r in frame)
    flip = -1.0 if frame[1][0] < 0 else 1.0
    v = v * flip  # v > 0 is the patient's right
    p = (u, v, w)
    outer = smooth_min(ellipsoid(p, (12, -4, -2), (57, 44, 40)), ellipsoid(p, (-26, 10, 6), (40, 47, 38)), 14)
    canvas.paint(box, ellipsoid(p, (-4, 2, 0), (72, 57, 52)) + 2, None, "visceral_fat")
    canvas.paint(box, outer, "heart_myocardium", "myocardium")
    left_ventricle = ellipsoid(p, (14, -14, -4), (41, 22, 22))
    right_ventricle = smooth_max(ellipsoid(p, (10, 12, 0), (48, 30, 31)), -(left_ventricle - 9.5), 4)
    right_ventricle = torch.maximum(torch.maximum(right_ventricle, outer + 3.2), -24 - u)
    left_atrium = ellipsoid(p, (-42, -8, 8), (24, 29, 25))
    right_atrium = ellipsoid(p, (-36, 34, -4), (27, 23, 30))
    for name, shape in (
        ("heart_ventricle_left", torch.maximum(left_ventricle, -22 - u)),
        ("heart_ventricle_right", right_ventricle),
        ("heart_atrium_left", torch.maximum(left_atrium, outer + 2)),
        ("heart_atrium_right", torch.maximum(right_atrium, outer + 2)),
    ):
        blood = "right_blood" if name.endswith("right") else "left_blood"
        canvas.paint(box, shape, name, blood, within="heart")
