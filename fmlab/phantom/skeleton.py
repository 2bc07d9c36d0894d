"""Bones, discs and spinal cord. Everything left-right is drawn once on |x| and dealt to two sides."""

from __future__ import annotations

import torch
from torch import Tensor

from fmlab.phantom.canvas import Box, Canvas
from fmlab.phantom.person import Person
from fmlab.phantom.shapes import Points, cone, oval, smooth_min, spline, table
from fmlab.phantom.trunk import SPINE, Trunk

SACRUM = [
    (-118, -58, 6, 4),
    (-95, -70, 14, 8),
    (-70, -71, 26, 11),
    (-45, -62, 38, 15),
    (-20, -46, 50, 20),
    (0, -26, 55, 22),
    (14, -14, 52, 22),
]
RIB_DROP = [(120, 70), (250, 108), (350, 96), (430, 50), (470, 30)]
# how far round the chest the bony rib reaches (radians from the back), ribs T12 (level 5) to T1 (level 16)
RIB_END = [0.85, 1.35, 1.95, 2.15, 2.3, 2.4, 2.45, 2.45, 2.45, 2.45, 2.45, 2.4]


def sides(canvas: Canvas, box: Box | None, distance: Tensor | None, name: str, material: str, within: str | None = None) -> None:
    """Paint a shape drawn on |x| as two structures, ``name_left`` (x < 0) and ``name_right``."""
    if box is None:
        return
    x = canvas.points[0][box]
    canvas.paint(box, torch.maximum(distance, x), f"{name}_left", material, within)
    canvas.paint(box, torch.maximum(distance, -x), f"{name}_right", material, within)


def bone(canvas: Canvas, box: Box | None, distance: Tensor, name: str | None, paired: bool = False, cortex: float = 2.0) -> None:
    """Cortical shell of ``cortex`` mm around spongy bone."""
    if box is None:
        return
    if paired:
        sides(canvas, box, distance, name, "cortical_bone")
    else:
        canvas.paint(box, distance, name, "cortical_bone")
    canvas.paint(box, distance + cortex, None, "spongy_bone")


def paint_spine(canvas: Canvas, person: Person) -> None:
    """Vertebrae with arches and processes, discs between them, the cord in its canal."""
    box = canvas.box((-52, -125, -20), (52, 40, 500))
    if box is None:
        return
    x, y, z = canvas.at(box)
    scoliosis = person.rng("scoliosis").normal(0, 2.5)
    x = x + scoliosis * torch.sin((z + 20) / 75)
    yc, width, front, level = table(z, SPINE)
    nearest = level.round()
    phase = level - nearest
    size = table(z, [(-20, 35), (154, 33), (262, 24), (494, 17)])[0]
    thin = table(z, [(-20, 0.27), (154, 0.24), (262, 0.19), (494, 0.2)])[0]
    along = (phase.abs() - 0.5 + thin / 2) * size
    waist = 1 - 0.10 * (1 - (2.6 * phase).square()).clamp_min(0)
    column = oval(x, y - yc, width * waist, front * waist, boxy=0.25)
    bodies = torch.maximum(column, along)

    canal = yc - front - 8.5
    ring = ((x / 1.25).square() + (y - canal).square()).sqrt()
    arch = torch.maximum((ring - 11.5).abs() - 2.6, (phase.abs() - 0.36) * size)
    facet = oval(x.abs() - 17, y - canal + 6, 6.5, 8.0)
    slope = (y - canal + 10) * table(z, [(-20, 0.1), (154, 0.25), (285, 1.1), (420, 0.5)])[0]
    tip = table(z, [(-20, 34), (87, 41), (185, 36), (285, 38), (494, 30)])[0]
    spinous = torch.maximum(
        torch.maximum(x.abs() - 3.4, (z - slope - (z - phase * size)).abs() - 0.27 * size),
        (y - canal + 10 + tip / 2).abs() - tip / 2,
    )
    reach = table(z, [(-20, 42), (121, 40), (200, 26), (494, 30)])[0]
    transverse = torch.maximum(
        ((y - canal - 3 + 0.28 * x.abs()).abs() - 4.0), torch.maximum(x.abs() - reach, (phase.abs() - 0.17) * size)
    )
    back = smooth_min(smooth_min(arch, facet, 3), smooth_min(spinous, transverse, 3), 3)
    vertebrae = smooth_min(bodies, back, 2)
    below = torch.maximum(8.6 - ring, (-0.44 - level) * size)  # leave the canal free, and stop above the sacrum
    bone(canvas, box, torch.maximum(vertebrae, below), "vertebrae", cortex=1.2)
    canvas.paint(box, torch.maximum(torch.maximum(column + 1.0, -along), (-0.6 - level) * size), "intervertebral_discs", "disc")
    canvas.paint(box, torch.maximum(ring - 7.2, 4 - z), "spinal_cord", "cord")


def paint_chest_wall(canvas: Canvas, body: Trunk) -> None:
    """Ribs, costal cartilages, sternum, and the shoulder girdle's bones.

    A rib is where three bands meet: just outside the cavity, at the height of its vertebra minus the drop towards the front, and
    between its start and its end round the chest. One evaluation draws all twenty-four.
    """
    box = canvas.box((-190, -150, 105), (190, 150, 500))
    if box is None:
        return
    x, y, z = canvas.at(box)
    around = torch.atan2(x.abs(), -(y + 8))
    drop = table(z, RIB_DROP)[0]
    rise = torch.where(around < 2.15, (1 - torch.cos(around * 1.46)) / 2, 1 - 0.62 * (1 - torch.cos((around - 2.15) * 1.9)))
    level, size = table(z + drop * rise - 8, [(row[0], row[4], 0) for row in SPINE])[0], 23.0
    nearest = level.round().clamp(5, 16)
    band = (level - nearest).abs() * size * 0.88 - 4.9
    shell = (body.cavity[box] - 6.5).abs() - 3.9
    end = torch.as_tensor(RIB_END, dtype=z.dtype, device=z.device)[(nearest - 5).long()]
    past = (around - end) * 100
    rib = torch.maximum(torch.maximum(shell, band), torch.maximum(past, 21 - x.abs()))
    bone(canvas, box, rib, "ribs", cortex=1.8)
    gristle = torch.maximum(torch.maximum(shell + 0.6, band), torch.maximum(-past, 15 - x.abs()))
    gristle = torch.maximum(gristle, (6.5 - nearest) * 20)
    gristle = torch.maximum(gristle, 215 + 0.55 * x.abs() - z)
    canvas.paint(box, gristle, "costal_cartilages", "cartilage")
    half = table(z, [(225, 5), (245, 12), (300, 19), (350, 15), (372, 22), (398, 26), (410, 20)])[0]
    plate = torch.maximum((body.cavity[box] - 6.5).abs() - 5.5, x.abs() - half)
    plate = torch.maximum(torch.maximum(plate, -y), torch.maximum(z - 402, 228 - z))
    bone(canvas, box, plate, "sternum", cortex=1.4)
    _shoulders(canvas, box, x.abs(), y, z, body.cavity[box], around)


def _shoulders(canvas: Canvas, box: Box, x: Tensor, y: Tensor, z: Tensor, cavity: Tensor, around: Tensor) -> None:
    low = 0.6 + 0.4 * ((405 - z) / 100)
    blade = torch.maximum((cavity - 15).abs() - 2.6, torch.maximum((around - 1.5) * 90, (low - around) * 90))
    blade = torch.maximum(blade, torch.maximum(z - 412, 300 - z))
    path = [(22, 38, 402), (60, 34, 416), (100, 6, 428), (140, -22, 430)]
    clavicle = torch.full_like(x, 1e3)
    for start, stop in zip(path, path[1:]):
        clavicle = torch.minimum(clavicle, cone((x, y, z), start, stop, 6.5, 6.0))
    bone(canvas, box, torch.minimum(blade, clavicle), "bone", cortex=1.8)


def wing(y: Tensor, z: Tensor) -> Tensor:
    """|x| of the middle of the iliac wing at (y, z), in mm."""
    flat = 45 + 0.9 * (y + 70) + 0.25 * (z + 12)
    return smooth_min(flat, 124 + 0.12 * (y + 70), 26)


def wing_side(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Signed distance from the iliac wing, positive on its outer (gluteal) side, in mm. x is |x|."""
    return (x - wing(y, z)) * 0.74


def hip(p: Points) -> Tensor:
    """One hip bone on (|x|, y, z): wing, acetabulum, pubis, ischium."""
    x, y, z = p
    plate = torch.maximum(wing_side(x, y, z).abs() - 4.6, oval(y + 11, z + 22, 73, 67, boxy=0.1))
    ball = ((x - 92).square() + (y + 4).square() + (z + 108).square()).sqrt()
    cup = torch.maximum(torch.maximum(ball - 35, 26.5 - ball), x - 99)
    rami = [
        ((70, 14, -97), (9, 44, -117), 9.5, 9.0),
        ((9, 42, -124), (44, -6, -156), 7.0, 7.0),
        ((78, -24, -103), (57, -44, -150), 15.0, 14.0),
        ((57, -44, -150), (44, -6, -156), 12.0, 7.0),
        ((80, -2, -82), (88, 0, -60), 20.0, 9.0),
    ]
    shape = smooth_min(plate, cup, 6)
    for start, stop, r0, r1 in rami:
        shape = smooth_min(shape, cone(p, start, stop, r0, r1), 5)
    return torch.maximum(torch.maximum(shape, 25.5 - ball), 2.2 - x)


def paint_pelvis(canvas: Canvas, person: Person, body: Trunk) -> None:
    """Hip bones, sacrum with its canal, femurs with marrow."""
    box = canvas.box((-150, -105, -185), (150, 80, 60))
    if box is None:
        return
    x, y, z = canvas.at(box)
    ax = x.abs()
    spread = 1.05 if person.sex == "female" else 1.0
    yc, half, deep = table(z, SACRUM)
    sacrum = torch.maximum(oval(x, y - yc, half * 0.98, deep, boxy=0.25), torch.maximum(z - 10 + 0.45 * (y + 20), -116 - z))
    canal = torch.where(z > -60, -oval(x, y - yc + 0.45 * deep, 12, 6.5), -60.0)
    bone(canvas, box, torch.maximum(sacrum, canal), "sacrum", cortex=1.2)
    bone(canvas, box, torch.maximum(hip((ax / spread, y, z)), body.muscle[box] + 5), "hip", paired=True, cortex=1.8)
    shaft = spline([(92, -4, -108, 15), (118, -10, -126, 15), (129, -10, -150, 18), (122, -2, -200, 16), (112, 2, -280, 15)], 10)
    femur = ((ax - 92 * spread).square() + (y + 4).square() + (z + 108).square()).sqrt() - 23.5
    for start, stop in zip(shaft[:-1], shaft[1:]):
        femur = smooth_min(femur, cone((ax, y, z), start[:3], stop[:3], start[3], stop[3]), 4)
    femur = smooth_min(femur, cone((ax, y, z), (130, -18, -112), (131, -16, -132), 10, 15), 6)
    bone(canvas, box, femur, "femur", paired=True, cortex=2.2)
    marrow = torch.maximum(femur + 7, z + 150)
    for name in ("femur_left", "femur_right"):
        canvas.paint(box, marrow, None, "marrow", within=name)
