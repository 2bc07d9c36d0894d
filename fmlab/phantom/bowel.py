"""Small bowel, colon, rectum and duodenum: tubes with a wall, and gas, fluid or stool inside."""

from __future__ import annotations

import numpy as np
import torch

from fmlab.phantom.canvas import Box, Canvas, Waves
from fmlab.phantom.person import Person
from fmlab.phantom.shapes import spline
from fmlab.phantom.trunk import Trunk


def paint_bowel(canvas: Canvas, person: Person, body: Trunk) -> None:
    """Colon and small bowel press on each other and stay inside the abdominal cavity."""
    room = torch.maximum(body.cavity + 1.5, body.diaphragm + 3)
    speckle = Waves(person.rng("stool"), 40, 7, 20)(*canvas.axes)
    lumen = _colon(canvas, person, room, speckle)
    _small_bowel(canvas, person, room)
    if lumen is not None:
        lumen()


def paint_duodenum(canvas: Canvas, person: Person) -> None:
    """From the pylorus round the head of the pancreas, between aorta and mesenteric vein, to the jejunum."""
    d = 0.6 * person.descent
    rows = [
        (34, 56, 139 + d, 9.5),
        (46, 46, 138 + d, 12),
        (54, 34, 118 + d, 12.5),
        (54, 34, 92 + d, 12.5),
        (40, 42, 76 + d, 11.5),
        (14, 50, 72 + d, 9.5),
        (-12, 50, 80 + d, 10),
        (-30, 42, 100 + d, 11),
        (-34, 44, 112 + d, 11),
    ]
    path = spline(rows, 8)
    box, distance = canvas.tube(path, margin=2)
    if box is None:
        return
    canvas.paint(box, distance, "duodenum", "gut_wall")
    y = canvas.points[1][box]
    level = float(person.rng("duodenum").uniform(44, 80))  # gas above it
    content = torch.where(y > level, canvas.material["gas"], canvas.material["fluid"]).float()
    canvas.paint(box, distance + 3.5, None, content, within="duodenum")


def colon_path(person: Person) -> np.ndarray:
    """Caecum to anus, with haustra: rows x, y, z, radius (mm)."""
    rng = person.rng("colon")
    wide = float(rng.uniform(0.75, 1.4))
    sag = float(rng.uniform(-45, 12))
    wind = float(rng.uniform(-18, 18))
    high = float(rng.uniform(-12, 12)) + 0.5 * person.descent
    rows = [
        (84, 46, -28, 24),
        (92, 34, 0, 29),
        (97, 24, 40, 26),
        (99, 24, 85, 25),
        (92, 48, 118 + 0.4 * high, 24),
        (62, 78, 112 + 0.5 * sag, 22),
        (22, 92, 98 + sag, 23),
        (-24, 92, 104 + sag, 22),
        (-66, 76, 140 + 0.4 * sag, 21),
        (-96, 48, 180 + high, 20),
        (-107, 20, 166 + high, 18),
        (-109, 6, 124, 17),
        (-109, 6, 80, 16),
        (-107, 14, 30, 16),
        (-96, 32, -15, 16),
        (-72, 40, -44, 16),
        (-38, 46 + 0.3 * wind, -34 + wind, 17),
        (-2, 40, -18 + wind, 18),
        (22, 12, -30, 17),
        (12, -22, -42, 17),
    ]
    path = spline(rows, 7)
    rng_scale = np.exp(0.10 * np.interp(np.arange(len(path)), np.linspace(0, len(path), 9), rng.normal(0, 1, 9)))
    along = np.cumsum(np.r_[0, np.linalg.norm(np.diff(path[:, :3], axis=0), axis=1)])
    path[:, 3] *= wide * rng_scale * (1 + 0.14 * np.cos(2 * np.pi * along / 38))
    path[:, :3] += np.stack([np.interp(along, np.linspace(0, along[-1], 14), rng.normal(0, 5, 14)) for _ in range(3)], 1)
    return path


def rectum_path(person: Person) -> np.ndarray:
    """From the sigmoid colon's end to the anus; where the border lies is a matter of a centre's protocol."""
    sigmoid_end = colon_path(person)[-1]
    rows = [tuple(sigmoid_end), (4, -38, -62, 18), (0, -42, -86, 20), (0, -34, -112, 15), (0, -38, -134, 9)]
    return spline(rows, 7)


def _colon(canvas: Canvas, person: Person, room: torch.Tensor, speckle: torch.Tensor):
    found = []
    for name, path in (("colon", colon_path(person)), ("rectum", rectum_path(person))):
        box, distance = canvas.tube(path, margin=3)
        if box is not None:
            if name == "colon":
                distance = torch.maximum(distance, room[box])
            canvas.paint(box, distance, name, "gut_wall")
            found.append((name, box, distance))

    def lumen() -> None:
        for name, box, distance in found:
            canvas.paint(box, distance + 2.8, None, _contents(canvas, person, box, speckle), within=name)

    return lumen


def _contents(canvas: Canvas, person: Person, box: Box, speckle: torch.Tensor) -> torch.Tensor:
    """Stool mottled with small bubbles, and free gas where the lumen is highest (patient on the back: towards the front)."""
    rng = person.rng("colon contents")
    stool = canvas.material["stool"] + 25 * speckle[box]
    bubbles = torch.where(speckle[box] > float(rng.uniform(0.5, 1.4)), -420.0, 0.0)
    segment = Waves(rng, 10, 120, 320)(*canvas.axes)[box]
    y = canvas.points[1][box]
    gas = segment * 30 + (y - 55) > float(rng.uniform(-10, 45))
    return torch.where(gas, canvas.material["gas"], stool + bubbles).float()


def small_bowel_path(person: Person) -> np.ndarray:
    """A serpentine that fills the middle of the abdomen: rows of loops in two depths, bent by random displacements."""
    rng = person.rng("small bowel")
    rows, flip = [], 1
    for index, z in enumerate(np.linspace(78, -62, 7)):
        half = float(np.interp(z, [-62, -20, 40, 78], [34, 56, 66, 44]))
        for y in (44, 72) if index % 2 == 0 else (72, 44):
            for x in np.linspace(-half, half, 5)[::flip]:
                rows.append((x, y, z, 11.5))
            flip = -flip
    path = np.array(rows)
    path[:, :3] += rng.normal(0, 1, (len(path), 3)) * (6, 6, 7)
    path[:, 3] *= np.exp(rng.normal(0, 0.10, len(path)))
    path[:, 1] *= 0.85 + 0.25 * (person.visceral - 0.9)
    return spline([(-34, 42, 108, 11), *path, (78, 40, -22, 10)], 8)


def _small_bowel(canvas: Canvas, person: Person, room: torch.Tensor) -> None:
    path = small_bowel_path(person)
    box, distance = canvas.tube(path, margin=2)
    if box is None:
        return
    distance = torch.maximum(distance, room[box])
    canvas.paint(box, distance, "small_bowel", "gut_wall")
    rng = person.rng("small bowel contents")
    wet = Waves(rng, 10, 50, 120)(*canvas.axes)[box]
    gas = (wet > 2.0) & (canvas.points[1][box] > 60)
    content = torch.where(gas, canvas.material["gas"], canvas.material["fluid"] + 10 * wet).float()
    canvas.paint(box, distance + 3.2, None, content, within="small_bowel")
