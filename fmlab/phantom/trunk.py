"""The trunk: skin, fat, muscle wall, body cavity, diaphragm. Profiles are an average adult's, in canonical mm."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fmlab.phantom.canvas import EVERYTHING, Canvas, Waves
from fmlab.phantom.person import Person
from fmlab.phantom.shapes import oval, smooth_max, smooth_min, table

# z, half-width, half-depth to the front, half-depth to the back, centre y
MUSCLE = [
    (-215, 100, 60, 60, 0),
    (-170, 128, 88, 90, 0),
    (-140, 150, 98, 102, 0),
    (-105, 163, 92, 108, 0),
    (-60, 162, 92, 112, 0),
    (-20, 158, 96, 105, 2),
    (30, 145, 101, 102, 5),
    (80, 134, 103, 102, 5),
    (130, 138, 106, 104, 5),
    (180, 144, 110, 108, 2),
    (240, 148, 110, 114, 0),
    (300, 150, 102, 119, -3),
    (350, 153, 90, 119, -8),
    (395, 150, 72, 112, -16),
    (425, 128, 66, 98, -22),
    (455, 84, 64, 84, -22),
    (490, 62, 62, 76, -22),
]
CAVITY = [
    (-215, 20, 15, 15, 15),
    (-150, 26, 20, 20, 5),
    (-125, 44, 42, 44, 8),
    (-95, 60, 58, 58, 10),
    (-60, 78, 68, 64, 10),
    (-20, 106, 78, 52, 12),
    (30, 119, 84, 58, 12),
    (80, 120, 88, 70, 12),
    (130, 123, 92, 82, 10),
    (180, 128, 96, 90, 6),
    (240, 130, 96, 94, 2),
    (300, 126, 87, 96, -4),
    (350, 114, 73, 92, -8),
    (395, 90, 53, 80, -16),
    (425, 64, 40, 62, -22),
    (455, 40, 24, 40, -26),
    (490, 20, 14, 20, -28),
]

# z of the centre; y of the vertebral body's centre, its half-width and half-depth; level: L5 is 0, T12 is 5, T1 is 16.
SPINE = [
    (-18, -8, 25, 17, -1),
    (17, 4, 25, 17.5, 0),
    (51, 8, 24.5, 17.5, 1),
    (87, 8, 24, 17, 2),
    (121, 3, 23, 16.5, 3),
    (154, -6, 22.5, 16, 4),
    (185, -18, 22, 15.5, 5),
    (212, -28, 21, 15, 6),
    (238, -37, 20, 15, 7),
    (262, -44, 18.5, 14.5, 8),
    (285, -49, 17.5, 14.5, 9),
    (308, -52, 16.5, 14, 10),
    (330, -52, 16, 13.5, 11),
    (351, -49, 15.5, 13, 12),
    (372, -44, 15, 12.5, 13),
    (392, -37, 14.5, 12, 14),
    (411, -29, 14.5, 11.5, 15),
    (429, -20, 15, 11, 16),
    (446, -12, 14, 10, 17),
    (462, -7, 13, 9.5, 18),
    (478, -4, 13, 9, 19),
    (494, -2, 13, 9, 20),
]


@dataclass(frozen=True)
class Trunk:
    """Signed distances (mm, negative inside), each (X, Y, Z): skin, muscle (its outer face), cavity (its inner face).

    diaphragm: height above the diaphragm in mm, positive in the chest.
    """

    skin: Tensor
    muscle: Tensor
    cavity: Tensor
    diaphragm: Tensor


def _legs(x: Tensor, y: Tensor, z: Tensor, bulk: float) -> Tensor:
    across = 88 - 0.06 * (z + 130).clamp(max=0)
    leg = oval(x.abs() - across, y + 2, 80 * bulk**0.5, 88 * bulk**0.5, boxy=0.1)
    return torch.maximum(leg, (z + 95) * 0.8)


def trunk(canvas: Canvas, person: Person) -> Trunk:
    """The envelopes of this person on the canvas's grid."""
    x, y, z = canvas.points
    ripple = Waves(person.rng("skin"), 16, 70, 240)(*canvas.axes)

    width, front, back, centre = table(z, MUSCLE)
    belly = ((z - 20) / 110).square().neg().exp()
    bulk = 0.55 + 0.45 * person.muscle
    girth = 1 + (person.visceral - 1) * belly
    half = torch.where(y > centre, front * (1 + 1.6 * (girth - 1)), back * bulk)
    muscle = oval(x, y - centre, width * bulk * girth, half, boxy=0.35)
    muscle = smooth_max(muscle, -165 - z, 25)
    muscle = smooth_min(muscle, _legs(x, y, z, bulk), 18)

    across = (x / (x * x + y * y).sqrt().clamp_min(1.0)).square()
    ahead = (y / 100).clamp(0, 1) * belly
    hips = ((z + 90) / 80).square().neg().exp()
    layer = 0.62 + 0.55 * ahead + 0.15 * across + (0.55 if person.sex == "female" else 0.25) * hips
    groove = (-(x / 14).square()).exp() * (y < 0) * 0.75
    skin = muscle - person.fat * layer * (1 - groove) - 2.0 - 1.2 * ripple

    width, front, back, centre = table(z, CAVITY)
    half = torch.where(y > centre, front * (1 + 1.6 * (girth - 1)), back)
    cavity = oval(x, y - centre, width * girth, half, boxy=0.35)
    cavity = smooth_max(cavity, -128 - z, 14)
    along = table(z, [row[:2] for row in SPINE])[0]
    column = oval(x, y - along + 40, 40, 52, boxy=0.2)  # spine and back muscles bulge into the cavity from behind
    cavity = smooth_max(cavity, torch.where(z > -10, -column, -column + (z + 10) * 0.8), 10)
    return Trunk(skin, muscle, cavity, _diaphragm(x, y, z, person))


def _diaphragm(x: Tensor, y: Tensor, z: Tensor, person: Person) -> Tensor:
    rng = person.rng("diaphragm")
    lift = 1.1 * person.descent + rng.normal(0, 4)
    domes = []
    for side, top, fall in ((66, 226 + rng.normal(0, 4), 60), (-66, 212 + rng.normal(0, 5), 50)):
        domes.append(top + lift - fall * (((x - side) / 76).square() + ((y - 12) / 98).square()))
    height = -smooth_min(-domes[0], -domes[1], 30)
    return z - torch.maximum(height, 100 - 0.25 * y)


def paint_trunk(canvas: Canvas, person: Person, body: Trunk) -> None:
    """Skin, fat, muscle wall and the fat-filled cavity, from the outside in."""
    canvas.paint(EVERYTHING, body.skin, "subcutaneous_fat", "skin")
    canvas.layer()
    canvas.paint(EVERYTHING, body.skin + 1.8, "subcutaneous_fat", "fat")
    canvas.layer()
    canvas.paint(EVERYTHING, body.muscle, "muscle", "muscle")
    _fat_planes(canvas, person, body)
    canvas.layer()
    canvas.paint(EVERYTHING, torch.maximum(body.cavity, body.diaphragm - 4), "muscle", "muscle")
    canvas.layer()
    canvas.paint(EVERYTHING, body.cavity, "body", "visceral_fat")
    strands = Waves(person.rng("mesentery"), 32, 24, 70)(*canvas.axes)  # small vessels, nodes and membranes in the fat
    canvas.paint(EVERYTHING, torch.maximum(1.2 * (strands.abs() * 12 - 1.0), body.cavity + 6), None, "strand")


def _fat_planes(canvas: Canvas, person: Person, body: Trunk) -> None:
    """Fat between the muscles of wall, pelvis and thighs: bands of a smooth random field, wider with age and fat."""
    x, y, z = canvas.points
    field = Waves(person.rng("fat planes"), 16, 70, 170)(*canvas.axes)
    thick = 0.02 + 0.0015 * person.fat + 0.0006 * (person.age - 50)
    streak = (field.abs() - thick) * 20
    low = ((-z - 30) / 60).clamp(0, 1)
    streak = streak + 6 * (1 - low) * (body.cavity < 30)
    edge = body.muscle + 3
    canvas.paint(EVERYTHING, torch.maximum(torch.maximum(streak, edge), -body.cavity), None, "visceral_fat")
