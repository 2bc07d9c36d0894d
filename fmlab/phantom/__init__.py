"""The procedural body: a torso CT with labels, made from a seed. Everything that the course trains on offline.

``sample(seed)`` draws a person, paints the anatomy of an average adult through that person's coordinates, and scans it as one of
six centres would. Start reading at ``sample``; then one file a region of the body (trunk, skeleton, muscles, abdomen, bowel,
chest, vessels, lesions), and one each for density (tissue), image (scanner) and annotation (protocol).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fmlab.errors import SettingsError
from fmlab.phantom.abdomen import paint_abdomen, paint_retroperitoneum
from fmlab.phantom.bowel import paint_bowel, paint_duodenum
from fmlab.phantom.canvas import Canvas
from fmlab.phantom.centres import CENTRES, VIEWS, Centre
from fmlab.phantom.centres import centre as centre_named
from fmlab.phantom.chest import paint_airways, paint_chest
from fmlab.phantom.lesions import paint_lesions
from fmlab.phantom.muscles import paint_muscles
from fmlab.phantom.person import Person, draw
from fmlab.phantom.protocol import apply_rules, keep_annotated
from fmlab.phantom.scanner import scan
from fmlab.phantom.skeleton import paint_chest_wall, paint_pelvis, paint_spine
from fmlab.phantom.tidy import tidy
from fmlab.phantom.tissue import PHASES, densities
from fmlab.phantom.trunk import paint_trunk, trunk
from fmlab.phantom.vessels import paint_vessels
from fmlab.vocabulary import STRUCTURES
from fmlab.volume import Volume

VERSION = "1"  # part of the cache key: raise it whenever a seed's body changes
FIELD_MM = (384.0, 320.0)  # width and depth of the reconstructed field
__all__ = ["CENTRES", "FIELD_MM", "PHASES", "VERSION", "VIEWS", "Centre", "Person", "draw", "sample"]


def sample(
    seed: int,
    centre: str = "A",
    spacing: float | Sequence[float] = 4.0,
    phase: str | None = None,
    sex: str | None = None,
    field_of_view: str | None = None,
    partial: bool = False,
    device: torch.device | str | None = None,
) -> Volume:
    """One body, scanned at one centre: a CT in HU with a full label map.

    seed: the person; the same seed is the same body at every spacing, phase and field of view, on every device.
    centre: "A" to "F". spacing: voxel size in mm, one number or three. phase: none, arterial, portal or late contrast (the
    centre's habit if None). sex: "female", "male" or None (drawn). field_of_view: a key of ``VIEWS`` (the centre's if None).
    partial: keep only what the centre annotates, in its own protocol; 0 then means "not annotated".
    Returns a Volume with image (1, X, Y, Z) float32 and labels (1, X, Y, Z) uint8. Raises SettingsError on unknown names.
    """
    hospital = centre_named(centre)
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise SettingsError(f"The seed {seed!r} is no whole number of 0 or more; choose one, for example 7.")
    steps = _steps(spacing)
    _known("phase", phase, PHASES)
    _known("field of view", field_of_view, VIEWS)
    _known("sex", sex, ("female", "male"))
    person = draw(seed, hospital.habitus, hospital.lesion_rate, sex)
    rng = person.rng("visit")
    names, shares = zip(*hospital.phases)
    drawn = str(rng.choice(names, p=shares))
    view = field_of_view or hospital.view
    axes = _axes(person, view, steps, torch.device(device or "cpu"))
    canvas = paint(person, axes, phase or drawn)
    image = scan(canvas, person, hospital)
    labels, annotated = tidy(canvas.label), frozenset(s.name for s in STRUCTURES)
    labels = apply_rules(labels, canvas.points, hospital)
    if partial:
        labels, annotated = keep_annotated(labels, hospital)
    info = {
        "seed": seed,
        "centre": centre,
        "phase": phase or drawn,
        "sex": person.sex,
        "age": round(person.age),
        "view": view,
        "lesions": person.lesions,
        "source": f"fmlab phantom {VERSION}",
    }
    return Volume(image[None], _affine(axes), labels[None], annotated, "CT", f"phantom {seed}, centre {centre}", info)


def paint(person: Person, axes: tuple[Tensor, Tensor, Tensor], phase: str) -> Canvas:
    """All structures of a person on the grid spanned by three world axes (mm), from the skin inwards, soft before hard."""
    canvas = Canvas(axes, person.canonical(axes), densities(person, phase))
    body = trunk(canvas, person)
    paint_trunk(canvas, person, body)
    canvas.layer()
    paint_muscles(canvas, person, body)
    canvas.layer()
    paint_abdomen(canvas, person, body)
    paint_bowel(canvas, person, body)
    paint_chest(canvas, person, body)
    canvas.layer()
    paint_airways(canvas, person)
    paint_retroperitoneum(canvas, person, body)
    paint_duodenum(canvas, person)
    canvas.layer()
    paint_vessels(canvas, person)
    paint_lesions(canvas, person)
    canvas.layer()
    paint_spine(canvas, person)
    paint_chest_wall(canvas, body)
    paint_pelvis(canvas, person, body)
    return canvas


def _known(what: str, value: str | None, allowed: Sequence[str] | dict) -> None:
    if value is not None and value not in allowed:
        raise SettingsError(f"There is no {what} {value!r}; choose one of {', '.join(allowed)}.")


def _steps(spacing: float | Sequence[float]) -> tuple[float, float, float]:
    try:
        steps = tuple(float(s) for s in np.broadcast_to(spacing, 3))
    except (TypeError, ValueError) as error:
        raise SettingsError(f"The spacing {spacing!r} is not one number or three; give the voxel size in mm.") from error
    if not all(0.5 <= s <= 20 for s in steps):
        raise SettingsError(f"A voxel of {steps} mm cannot be drawn; choose a spacing between 0.5 and 20 mm.")
    return steps


def _axes(person: Person, view: str, steps: tuple[float, float, float], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """World coordinates (mm) of voxel centres. The body's mid-line is near x = 0; z = 0 is the L5/S1 disc."""
    rng = person.rng("table position")
    low, high = (edge * person.height for edge in VIEWS[view])
    starts = [-FIELD_MM[0] / 2 + rng.uniform(-6, 6), -FIELD_MM[1] / 2 + rng.uniform(-8, 8), low]
    extents = [*FIELD_MM, high - low]
    return tuple(
        start + step * (0.5 + torch.arange(round(extent / step), dtype=torch.float64, device=device))
        for start, step, extent in zip(starts, steps, extents)
    )


def _affine(axes: tuple[Tensor, Tensor, Tensor]) -> np.ndarray:
    affine = np.eye(4)
    for i, axis in enumerate(axes):
        affine[i, i] = float(axis[1] - axis[0])
        affine[i, 3] = float(axis[0])
    return affine
