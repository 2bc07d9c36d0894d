"""Solid organs of the abdomen and pelvis, and the stomach. They are drawn a little too large and press on each other."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fmlab.phantom.canvas import Canvas, Waves
from fmlab.phantom.person import Person
from fmlab.phantom.shapes import cone, ellipsoid, rotation, smooth_max, smooth_min, spline
from fmlab.phantom.trunk import Trunk


def paint_abdomen(canvas: Canvas, person: Person, body: Trunk) -> None:
    """All solid organs, one layer: each pair meets half way where their shapes overlap."""
    field = Waves(person.rng("surfaces"), 24, 45, 110)(*canvas.axes)
    room = torch.maximum(body.cavity + 2.0, body.diaphragm + 2.5)
    _liver(canvas, person, room, field)
    _spleen(canvas, person, room, field)
    _stomach(canvas, person, room)
    _bladder(canvas, person, body)


def _liver(canvas: Canvas, person: Person, room: Tensor, field: Tensor) -> None:
    """The space under the right dome, cut by the visceral surface: a plane that rises from the lower right edge to the left."""
    rng = person.rng("liver")
    size = person.organ_size("liver", 0.07) * (person.width * person.depth * person.height / 0.92) ** -0.45 / person.visceral**1.5
    box = canvas.box((-100, -110, 20), (150, 130, 270))
    if box is None:
        return
    x, y, z = canvas.at(box)
    z = z - person.descent
    reach = -66 * size + rng.normal(0, 8)  # how far the left lobe goes
    edge = 110 - 76 * size + rng.normal(0, 5)  # z of the lower right edge
    slope = 0.42 + rng.normal(0, 0.025)
    visceral = edge + slope * (118 - x) - 0.30 * (y - 10) + 4 * field[box]
    shape = (visceral - z) * 0.78
    shape = smooth_max(shape, (reach - x) * 0.9 + 0.12 * (z - 190), 22)
    behind = torch.where(x < 30, (10 + 0.44 * (30 - x) - y) * 0.91, (10 - 2.5 * (x - 30) - y) * 0.37)
    shape = smooth_max(shape, behind, 14)  # the left lobe lies in front of stomach and oesophagus
    porta = ellipsoid((x, y, z), (34, 34, 150), (24, 20, 20))
    shape = smooth_max(smooth_max(shape, room[box], 6), -porta, 8)
    spine = ellipsoid((x, y, z), (2, -16, 185), (34, 38, 90))
    canvas.paint(box, smooth_max(shape, -spine, 8), "liver", "liver")


def _spleen(canvas: Canvas, person: Person, room: Tensor, field: Tensor) -> None:
    rng = person.rng("spleen")
    radii = np.array([39, 55, 67]) * person.organ_size("spleen", 0.075) * np.exp(np.clip(rng.normal(0, 0.03, 3), -0.04, 0.04))
    centre = np.array([-102, -24, 152 + person.descent]) + rng.normal(0, 4, 3)
    box = canvas.box(centre - 75, centre + 75)
    if box is None:
        return
    shape = ellipsoid(canvas.at(box), centre, radii, rotation(x=32, z=-14)) + 2.0 * field[box]
    canvas.paint(box, smooth_max(shape, room[box], 5), "spleen", "spleen")


def kidney_centre(person: Person, side: int) -> np.ndarray:
    """Middle of a kidney (canonical mm): the right one lies lower. side: -1 left, 1 right."""
    low = 0.7 * person.descent + (110 if side > 0 else 122)
    return np.array([side * 67.0, -9.0 if side > 0 else -14.0, low]) + person.rng(f"kidney place {side}").normal(0, 3, 3)


def _kidney(canvas: Canvas, person: Person, side: int, room: Tensor) -> None:
    """A capsule of fat, cortex, pyramids of medulla round the sinus, and urine in the renal pelvis. side: -1 left, 1 right."""
    name = "left" if side < 0 else "right"
    rng = person.rng(f"kidney {name}")
    size = 0.99 * person.organ_size(name, 0.04)
    centre = kidney_centre(person, side)
    frame = rotation(x=-14 + rng.normal(0, 3), y=side * (14 + rng.normal(0, 3)), z=side * 30)
    box = canvas.box(centre - 66, centre + 66)
    if box is None:
        return
    x, y, z = (axis - float(c) for axis, c in zip(canvas.at(box), centre))
    u, v, w = (x * float(r[0]) + y * float(r[1]) + z * float(r[2]) for r in frame)
    u = -u * side + 0.0045 * w.square() - 4  # u points to the hilum, and the poles bend round it
    shape = ellipsoid((u, v, w), (0, 0, 0), (31 * size, 26.5 * size, 57 * size))
    capsule = np.clip(2.5 + 55 * (person.visceral - 1) + rng.normal(0, 1.5), 0.5, 9)  # mm of perirenal fat
    folds = 2.5 * Waves(rng, 12, 40, 90)(*canvas.axes)[box]
    canvas.paint(box, torch.maximum(shape - capsule - folds, room[box]), "body", "visceral_fat")
    canvas.layer()
    sinus = ellipsoid((u, v, w), (17, 0, 0), (19 * size, 9 * size, 23 * size))
    shape = smooth_max(shape, -sinus - 1.5, 4)
    organ = f"kidney_{name}"
    canvas.paint(box, torch.maximum(shape, room[box]), organ, "kidney_cortex")
    turn = torch.atan2(w / 1.7, u + 1e-3)
    lobes = 0.5 + 0.5 * torch.cos(turn * 7 + 2 * torch.sin(v / 9 + float(rng.uniform(0, 6))))
    medulla = torch.maximum(shape + 6.0, 1.2 - (sinus.clamp(max=12))) + 4.5 * (0.55 - lobes)
    canvas.paint(box, medulla, f"kidney_medulla_{name}", "kidney_medulla", within=organ)
    canvas.paint(box, ellipsoid((u, v, w), (14, 0, 0), (9, 4, 10)), None, "urine")  # renal pelvis


def paint_retroperitoneum(canvas: Canvas, person: Person, body: Trunk) -> None:
    """Kidneys, adrenals, pancreas, gallbladder, uterus or prostate: firm or tethered, so that their large neighbours give way."""
    room = torch.maximum(body.cavity + 2.0, body.diaphragm + 2.5)
    for side in (-1, 1):
        _kidney(canvas, person, side, room)
        _adrenal(canvas, person, side)
    _pancreas(canvas, person)
    _gallbladder(canvas, person)
    _womb_or_prostate(canvas, person)


def _adrenal(canvas: Canvas, person: Person, side: int) -> None:
    """Two thin limbs that meet in front, above and inside of the kidney."""
    z = (170 if side > 0 else 172) + 0.8 * person.descent
    x, y = (36, 6) if side > 0 else (43, -4)
    name = "adrenal_gland_right" if side > 0 else "adrenal_gland_left"
    box = canvas.box((min(side * x * 0.4, side * x * 1.7), -45, z - 35), (max(side * x * 0.4, side * x * 1.7), 35, z + 35))
    if box is None:
        return
    p = canvas.at(box)
    crest = cone(p, (side * (x - 4), y + 5, z + 12), (side * x, y, z - 8), 4.6, 5.4)
    inner = cone(p, (side * x, y, z - 6), (side * (x - 5), y - 20, z - 10), 5.0, 4.2)
    outer = cone(p, (side * x, y, z - 6), (side * (x + 11), y - 16, z - 10), 5.0, 4.2)
    canvas.paint(box, smooth_min(crest, smooth_min(inner, outer, 3), 3), name, "adrenal")


def stomach_path(person: Person) -> np.ndarray:
    """Centre line of the stomach, fundus to pylorus: rows x, y, z, radius (mm)."""
    rng = person.rng("stomach")
    fill = float(rng.uniform(0.72, 1.08))
    sag = float(rng.uniform(-18, 14))
    d = person.descent
    rows = [
        (-55, -8, 206 + d, 26 * fill),
        (-61, 8, 190 + d, 33 * fill),
        (-63, 34, 166 + d, 32 * fill),
        (-52, 62, 140 + sag + d, 27 * fill),
        (-24, 76, 122 + sag + d, 22 * fill),
        (6, 72, 122 + 0.6 * sag + d, 17),
        (28, 62, 134 + d, 11.5),
        (34, 56, 139 + d, 9),
    ]
    return spline(rows, 8)


def _stomach(canvas: Canvas, person: Person, room: Tensor) -> None:
    """Wall, fluid, food, and gas that rises to the front (the patient lies on the back)."""
    box, distance = canvas.tube(stomach_path(person), margin=4)
    if box is None:
        return
    rng = person.rng("stomach contents")
    distance = torch.maximum(distance, room[box])
    canvas.paint(box, distance, "stomach", "gut_wall")
    level = float(rng.uniform(35, 85))
    y = canvas.points[1][box]
    fluid = canvas.material["fluid"] + float(rng.uniform(-5, 35))
    content = torch.where(y > level, canvas.material["gas"], fluid).float()
    canvas.paint(box, distance + 4.2, None, content, within="stomach")


def _pancreas(canvas: Canvas, person: Person) -> None:
    rng = person.rng("pancreas")
    size = 1.06 * person.organ_size("pancreas", 0.06) * np.exp(-0.002 * (person.age - 50))
    d = 0.8 * person.descent
    tail = rng.normal(0, 6)
    rows = [
        (40, 34, 96 + d, 11),
        (37, 38, 112 + d, 15.5),
        (26, 46, 126 + d, 14),
        (10, 54, 138 + d, 10.5),
        (-14, 54, 148 + d, 11),
        (-38, 42, 156 + d, 11.5),
        (-62, 22, 164 + tail + d, 11),
        (-82, 4, 170 + tail + d, 8.5),
    ]
    path = spline(rows, 7)
    path[:, 3] *= size
    lobules = Waves(rng, 24, 14, 30)(*canvas.axes)
    box, distance = canvas.tube(path, margin=4)
    if box is None:
        return
    canvas.paint(box, distance + 1.5 * lobules[box].clamp(-1.5, 1.5), "pancreas", "pancreas")


def _gallbladder(canvas: Canvas, person: Person) -> None:
    rng = person.rng("gallbladder")
    size = float(rng.uniform(0.75, 1.2))
    d = person.descent
    path = spline(
        [(38, 44, 150 + d, 3.5), (46, 54, 140 + d, 7 * size), (57, 66, 126 + d, 13 * size), (64, 76, 112 + d, 13.5 * size)], 6
    )
    box, distance = canvas.tube(path, margin=3)
    if box is None:
        return
    canvas.paint(box, distance - 1.0, "gallbladder", "gut_wall")
    canvas.paint(box, distance + 1.0, None, "bile", within="gallbladder")


def _bladder(canvas: Canvas, person: Person, body: Trunk) -> None:
    rng = person.rng("pelvis")
    fill = float(rng.uniform(0.6, 1.2))
    radii = np.array([50 * fill, 42 * fill, 40 * fill]) * np.exp(rng.normal(0, 0.05, 3))
    centre = (float(rng.normal(0, 3)), 26, -104 + radii[2])
    box = canvas.box((-75, -60, -160), (75, 100, 30))
    if box is None:
        return
    p = canvas.at(box)
    bladder = smooth_max(ellipsoid(p, centre, radii), body.cavity[box] + 1, 5)
    canvas.paint(box, bladder, "urinary_bladder", "muscle")
    canvas.paint(box, bladder + 3.0, None, "urine", within="urinary_bladder")


def _womb_or_prostate(canvas: Canvas, person: Person) -> None:
    rng = person.rng("genitals")
    box = canvas.box((-75, -60, -160), (75, 100, 30))
    if box is None:
        return
    p = canvas.at(box)
    if person.sex == "male":
        size = float(0.97 * np.exp(np.clip(rng.normal(0, 0.10), -0.15, 0.15) + 0.004 * (person.age - 50)))
        canvas.paint(box, ellipsoid(p, (0, 16, -113), (24.5 * size, 18.5 * size, 19 * size)), "prostate", "prostate")
    else:
        lean = float(rng.normal(0, 6))
        womb = smooth_min(
            cone(p, (lean, -12, -106), (lean, -6, -80), 14, 17), cone(p, (lean, -6, -78), (lean, 6, -50), 19, 27), 8
        )
        canvas.paint(box, womb, "uterus", "uterus")
        canvas.paint(box, womb + 15, None, "fluid", within="uterus")
