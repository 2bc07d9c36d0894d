"""Tumours and cysts: blobs with an irregular surface inside their organ."""

from __future__ import annotations

import numpy as np
import torch

from fmlab.phantom.abdomen import kidney_centre
from fmlab.phantom.bowel import colon_path
from fmlab.phantom.canvas import Canvas, Waves
from fmlab.phantom.person import Person
from fmlab.phantom.shapes import ellipsoid
from fmlab.vocabulary import structure

# lesion: centres among which one is drawn (canonical mm; renal ones from the middle of the kidney), spread of the position,
# radius from - to, material, surface roughness (mm)
_SITES: dict[str, tuple[list[tuple[float, float, float]], float, float, float, str, float]] = {
    "liver_tumor": ([(92, -10, 160), (86, 10, 190), (70, 30, 185), (60, -20, 195)], 7, 7, 26, "hypovascular", 2.5),
    "kidney_tumor": ([(12, -4, -30), (14, -6, 28), (20, 0, 0)], 3, 9, 19, "hypervascular", 1.5),
    "kidney_cyst": ([(18, -8, 8), (14, -8, -34), (12, -10, 34)], 3, 7, 18, "cyst", 0.2),
    "pancreas_tumor": ([(36, 40, 110), (-30, 46, 152)], 2, 7, 13, "hypovascular", 1.2),
    "lung_tumor": ([(70, -20, 300), (66, 20, 350), (80, -40, 260)], 12, 6, 20, "lung_nodule", 2.5),
}


def paint_lesions(canvas: Canvas, person: Person) -> None:
    """Every lesion that the person carries."""
    for name in person.lesions:
        if name == "colon_tumor":
            _colon_tumor(canvas, person)
        else:
            _blob(canvas, person, name)


def _blob(canvas: Canvas, person: Person, name: str) -> None:
    rng = person.rng(name)
    side = -1 if name.endswith("_left") else 1
    sites, spread, small, large, material, rough = _SITES[name.removesuffix("_left").removesuffix("_right")]
    count = int(rng.integers(1, 4)) if name == "liver_tumor" else 1
    order = rng.permutation(len(sites))
    for site in order[:count]:
        centre = sites[site] * np.array([side, 1, 1]) + rng.normal(0, spread, 3) * 0.6
        if name.startswith("kidney"):
            centre = centre + kidney_centre(person, side)
        elif not name.startswith("lung"):
            centre = centre + (0, 0, 0.8 * person.descent)
        radii = np.exp(rng.uniform(np.log(small), np.log(large))) * np.exp(rng.normal(0, 0.1, 3))
        box = canvas.box(centre - radii.max() - 8, centre + radii.max() + 8)
        if box is None:
            continue
        surface = Waves(rng, 16, 12, 40)(*canvas.axes)[box]
        shape = ellipsoid(canvas.at(box), centre, radii) + rough * surface
        canvas.paint(box, shape, name, material, within=structure(name).part_of)
        if material == "hypovascular" and radii.min() > 14:  # necrosis
            canvas.paint(box, shape + 0.55 * radii.min(), None, "cyst", within=name)


def _colon_tumor(canvas: Canvas, person: Person) -> None:
    """A stretch of thickened wall that narrows the lumen."""
    rng = person.rng("colon_tumor")
    path = colon_path(person)
    middle = int(rng.integers(4, len(path) - 6))
    piece = path[middle : middle + int(rng.integers(4, 7))].copy()
    piece[:, 3] *= 0.92
    box, distance = canvas.tube(piece)
    if box is not None:
        canvas.paint(
            box, torch.maximum(distance, -distance - piece[:, 3].mean() * 0.8), "colon_tumor", "gut_wall", within="colon"
        )
