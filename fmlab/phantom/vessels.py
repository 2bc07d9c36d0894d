"""The great vessels as tubes along centre lines, and the vessels inside the liver."""

from __future__ import annotations

import numpy as np

from fmlab.phantom.canvas import Canvas
from fmlab.phantom.person import Person
from fmlab.phantom.shapes import spline

AORTA = [
    (2, 24, 296, 15),
    (12, 32, 326, 15.5),
    (13, 28, 356, 15),
    (0, 18, 378, 14.5),
    (-17, -8, 381, 13.5),
    (-20, -32, 364, 12.5),
    (-22, -40, 335, 12),
    (-21, -38, 295, 11.5),
    (-18, -28, 250, 11.5),
    (-13, -10, 205, 11),
    (-11, 12, 165, 10.5),
    (-9, 27, 125, 10),
    (-8, 36, 85, 9.2),
    (-7, 38, 52, 9),
    (-4, 38, 38, 8.5),
]
ILIAC_ARTERY = [
    (-4, 38, 40, 7),
    (16, 40, 15, 6.5),
    (36, 28, -15, 6),
    (54, 20, -45, 5.6),
    (72, 36, -80, 5.4),
    (88, 52, -112, 5.2),
    (92, 54, -180, 5),
]
VENA_CAVA = [
    (18, 28, 26, 10),
    (21, 31, 60, 10.5),
    (22, 31, 110, 11),
    (24, 22, 155, 11.5),
    (28, 12, 200, 12),
    (28, 10, 232, 12),
    (26, 12, 250, 12),
]
ILIAC_VEIN = [
    (18, 28, 30, 8),
    (28, 22, 6, 7.2),
    (42, 2, -24, 7),
    (56, 8, -54, 6.6),
    (72, 26, -86, 6.4),
    (82, 44, -116, 6.2),
    (84, 44, -180, 6),
]
SUPERIOR_CAVA = [(30, 14, 286, 9), (32, 12, 320, 9), (30, 14, 350, 8.5), (26, 18, 382, 8)]
PULMONARY = (
    [(-22, 42, 300, 13), (-20, 30, 324, 13), (-12, 10, 336, 12)],
    [(-12, 10, 336, 10.5), (12, 4, 334, 9.5), (40, -6, 326, 7)],
    [(-12, 10, 336, 10.5), (-30, -8, 342, 9), (-46, -14, 334, 7)],
)
CELIAC = [(-9, 20, 158, 4), (-8, 34, 160, 3.8), (2, 40, 161, 3.2), (14, 42, 160, 2.8)]
PORTAL = [(12, 64, 56, 4.5), (12, 64, 88, 5.4), (14, 50, 122, 6.4), (24, 40, 146, 7), (36, 36, 162, 6.8)]
SPLENIC = [(16, 46, 130, 5.2), (-10, 41, 142, 4.8), (-36, 30, 152, 4.6), (-62, 10, 162, 4.4), (-80, -6, 168, 4)]
HEPATIC = (
    [(36, 34, 163, 6.5), (52, 28, 172, 5.5), (72, 16, 176, 4.4), (92, 0, 174, 3.2)],
    [(36, 34, 163, 5.5), (22, 48, 176, 4.4), (-4, 62, 184, 3.4)],
    [(52, 28, 172, 4.6), (66, 44, 158, 3.8), (84, 56, 148, 3)],
    [(30, 12, 214, 6), (52, 4, 206, 5), (80, -6, 196, 4), (98, -14, 180, 3)],
    [(30, 16, 214, 5.5), (46, 34, 204, 4.6), (62, 54, 188, 3.6)],
    [(26, 18, 214, 5), (6, 36, 204, 4), (-16, 52, 196, 3)],
)


def paint_vessels(canvas: Canvas, person: Person) -> None:
    """Veins first, arteries over them; calcium in the wall of an old aorta."""
    rng = person.rng("vessels")
    shift = np.array([rng.normal(0, 1.5), rng.normal(0, 1.5), 0, 0])
    wide = 0.94 + 0.004 * (person.age - 50)
    drop = np.array([0, 0, 0.7 * person.descent, 0])

    def tube(
        rows: object, name: str, material: str, width: float = 1.0, offset: np.ndarray | float = 0.0, within: str | None = None
    ) -> None:
        path = spline(rows, 7) + offset
        path[:, 3] *= width
        canvas.paint(*canvas.tube(path), name, material, within)

    tube(VENA_CAVA, "inferior_vena_cava", "vein", 0.92 * float(np.exp(rng.normal(0, 0.12))), shift * 0.5)
    for side, name in ((-1, "left"), (1, "right")):
        rows = np.array(ILIAC_VEIN, float)
        rows[:, 0] *= side
        if side < 0:
            rows[:2, :2] = (18, 28), (-2, 26)  # the left vein crosses the mid-line, behind the right artery
        tube(rows, f"iliac_vena_{name}", "vein")
    tube(SUPERIOR_CAVA, "superior_vena_cava", "vein")
    for rows in PULMONARY:
        tube(rows, "pulmonary_artery", "right_blood")
    for rows in (PORTAL, SPLENIC):
        tube(rows, "portal_vein_and_splenic_vein", "portal_vein", 1.05, 0.8 * drop)
    for rows in HEPATIC:
        tube(rows, "hepatic_vessels", "portal_vein", 1.0, drop, within="liver")
    tube(AORTA, "aorta", "artery", wide, shift)
    tube(CELIAC, "celiac_trunk", "artery", 1.0, shift)
    for side, name in ((-1, "left"), (1, "right")):
        rows = np.array(ILIAC_ARTERY, float)
        rows[1:, 0] *= side
        tube(rows, f"iliac_artery_{name}", "artery", wide, shift)
