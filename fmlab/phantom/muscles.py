"""Named muscles: the back's autochthonous columns, iliopsoas, and three gluteal muscles a side."""

from __future__ import annotations

import torch

from fmlab.phantom.canvas import EVERYTHING, Canvas, Waves
from fmlab.phantom.person import Person
from fmlab.phantom.shapes import oval, smooth_max, spline, table
from fmlab.phantom.skeleton import sides, wing_side
from fmlab.phantom.trunk import SPINE, Trunk

BACK = [
    (-95, 12, 8, 6, -12),
    (-45, 24, 17, 13, -26),
    (0, 34, 25, 18, -54),
    (50, 38, 30, 23, -66),
    (120, 37, 31, 22, -66),
    (185, 34, 29, 19, -58),
    (285, 27, 24, 15, -46),
    (400, 24, 22, 14, -42),
    (495, 20, 18, 14, -36),
]
PSOAS = [
    (24, -8, 158, 6),
    (32, 4, 120, 13),
    (42, 10, 70, 17),
    (53, 14, 20, 19),
    (65, 24, -30, 18),
    (76, 34, -75, 15.5),
    (84, 28, -110, 14),
    (94, 4, -150, 10),
]


def paint_muscles(canvas: Canvas, person: Person, body: Trunk) -> None:
    """All named muscles; they compete among themselves and with nothing else."""
    bulk = person.muscle
    box = canvas.box((-90, -150, -100), (90, 10, 500))
    if box is not None:
        x, y, z = canvas.at(box)
        spine = table(z, [row[:2] for row in SPINE])[0]
        spine = torch.where(z < -18, -8 + 0.9 * (z + 18).clamp(min=-70), spine)
        middle, half, deep, behind = table(z, BACK)
        column = oval(x.abs() - middle, y - spine - behind, half * bulk**0.5, deep * bulk**0.5, boxy=0.4)
        column = torch.maximum(smooth_max(column, body.muscle[box] + 3, 5), torch.maximum(1.5 - x.abs(), -75 - z))
        canvas.paint(box, column - 2.5, None, "visceral_fat")
        sides(canvas, box, column, "autochthon", "postural_muscle")
    _psoas(canvas, person)
    _glutei(canvas, person, body)
    _marbling(canvas, person, body)


def _psoas(canvas: Canvas, person: Person) -> None:
    path = spline(PSOAS, 10)
    path[:, 3] *= person.muscle**0.5
    for side, name in ((-1, "iliopsoas_left"), (1, "iliopsoas_right")):
        canvas.paint(*canvas.tube(path * (side, 1, 1, 1)), name, "muscle")
    box = canvas.box((-135, -60, -100), (135, 60, 40))
    if box is None:
        return
    x, y, z = canvas.at(box)
    bed = wing_side(x.abs(), y, z)
    iliacus = torch.maximum((bed + 13).abs() - 9, oval(y - 2, z + 32, 50, 54, boxy=0.1))
    sides(canvas, box, iliacus, "iliopsoas", "muscle")


def _glutei(canvas: Canvas, person: Person, body: Trunk) -> None:
    box = canvas.box((-190, -150, -185), (190, 90, 60))
    if box is None:
        return
    x, y, z = canvas.at(box)
    ax, skin = x.abs(), body.muscle[box]
    bed = wing_side(ax, y, z)
    bulk = person.muscle
    edge = skin + 3
    minimus = torch.maximum((bed - 12).abs() - 8.5 * bulk, oval(y - 8, z + 58, 40, 34, boxy=0.1))
    medius = torch.maximum((bed - 31).abs() - 14 * bulk, oval(y + 6, z + 36, 54, 62, boxy=0.1))
    medius = smooth_max(medius, edge, 4)
    slab = (skin + 18 * bulk + 3).abs() - 17 * bulk
    maximus = smooth_max(smooth_max(slab, y + 28 + 0.25 * (z + 70).abs(), 8), oval(ax - 72, z + 72, 68, 74, boxy=0.2), 8)
    maximus = torch.maximum(maximus, 30 - bed - 0.4 * (y + 60).abs())
    gap = torch.minimum(minimus, torch.minimum(medius, maximus)) - 3.5
    canvas.paint(box, torch.maximum(torch.maximum(gap, edge), -body.cavity[box]), "body", "visceral_fat")
    canvas.layer()
    for name, shape in (("gluteus_minimus", minimus), ("gluteus_medius", medius), ("gluteus_maximus", maximus)):
        sides(canvas, box, shape, name, "postural_muscle")


def _marbling(canvas: Canvas, person: Person, body: Trunk) -> None:
    """Strands of fat within the muscles, wider with age: bands of a fine random field, blended into the HU alone."""
    grain = Waves(person.rng("marbling"), 40, 12, 45)(*canvas.axes)
    wide = 0.02 + 0.0022 * max(person.age - 25, 0)
    strands = torch.maximum((grain.abs() - wide) * 7, body.muscle + 4)
    muscle = (canvas.hu > 5) & (canvas.hu < 90)
    fat = torch.where(muscle, 0.35 * canvas.hu + 0.65 * canvas.material["visceral_fat"], canvas.hu)
    canvas.paint(EVERYTHING, torch.maximum(strands, -body.cavity), None, fat)
