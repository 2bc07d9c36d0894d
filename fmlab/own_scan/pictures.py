"""Slices with overlays for the report: one picture a label map, side by side, with the clicks that were made there."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import ImageDraw

from fmlab.own_scan.clicks import Click
from fmlab.palette import COLOURS
from fmlab.viewer.picture import Look, alt_text, draw
from fmlab.viewer.planes import PLANES, WINDOWS, plane_named
from fmlab.viewer.scene import build_scene
from fmlab.vocabulary import ID, NAME, region
from fmlab.volume import Volume


@dataclass(frozen=True)
class Pane:
    """One picture. title: of the label map. png: base64. alt: what is seen, in words."""

    title: str
    png: str
    alt: str


@dataclass(frozen=True)
class Row:
    """Panes of one slice, and what slice it is."""

    caption: str
    panes: tuple[Pane, ...]


def only(volume: Volume, structures: Sequence[str]) -> Volume:
    """The volume with the labels of these structures alone, their parts included."""
    ids = torch.tensor([number for name in structures for number in region(name)], dtype=torch.uint8)
    return replace(volume, labels=torch.where(torch.isin(volume.labels, ids), volume.labels, 0))


def row(maps: Mapping[str, Volume], plane: str, index: int, clicks: Sequence[Click] = ()) -> Row:
    """One slice under each of some label maps (title -> labelled volume, all on one grid), with the clicks made on it."""
    panes = []
    for title, volume in maps.items():
        scene, look = build_scene(volume), Look(plane, index, WINDOWS["soft tissue"], (0,) if volume.structures else ())
        picture = draw(scene, look).convert("RGB")
        here = [click for click in clicks if click.axis == plane and click.voxel(volume)[plane_named(plane).axis] == index]
        _marks(picture, [(click.voxel(volume), click.inside) for click in here], volume.shape, plane)
        made = f" {len(here)} click{'s' * (len(here) != 1)} marked." if here else ""
        panes.append(Pane(title, _png(picture), f"{title}: {alt_text(scene, look)}{made}"))
    first = next(iter(maps.values()))
    return Row(f"{plane.capitalize()} slice {index + 1} of {first.shape[PLANES[plane].axis]}", tuple(panes))


def overview(volume: Volume) -> list[Row]:
    """The axial and the coronal slice that show most labelled voxels, side by side."""
    both = [row({"labels": volume}, plane, busiest({"": volume}, plane)) for plane in ("axial", "coronal")]
    return [Row(f"{both[0].caption} and {both[1].caption[0].lower()}{both[1].caption[1:]}",
                tuple(replace(one.panes[0], title=one.caption) for one in both))]


def clicked_slices(clicks: Sequence[Click], volume: Volume, most: int = 4) -> list[tuple[str, int]]:
    """(plane, index) of the slices with most clicks, those of different structures first; in order of the scan."""
    count: dict[tuple[str, int], list[str]] = {}
    for click in clicks:
        count.setdefault((click.axis, click.voxel(volume)[plane_named(click.axis).axis]), []).append(click.structure)
    chosen, seen = [], set()
    for key, names in sorted(count.items(), key=lambda pair: -len(pair[1])):
        if len(chosen) < most and (set(names) - seen or len(count) <= most):
            chosen.append(key)
            seen |= set(names)
    return sorted(chosen)


def busiest(maps: Mapping[str, Volume], plane: str = "axial") -> int:
    """The slice with most voxels of all label maps together."""
    axis = PLANES[plane].axis
    total = sum((volume.labels[0] > 0).sum([k for k in range(3) if k != axis]) for volume in maps.values())
    return int(total.argmax())


def legend(volumes: Sequence[Volume]) -> list[tuple[str, str]]:
    """(name, colour as #rrggbb) of all structures that some of the volumes show, in the vocabulary's order."""
    ids = sorted({int(number) for volume in volumes for number in torch.unique(volume.labels) if number})
    return [(NAME[number].replace("_", " "), "#{:02x}{:02x}{:02x}".format(*COLOURS[NAME[number]])) for number in ids
            if NAME[number] in ID]


def _marks(picture, places: Sequence[tuple[tuple[int, int, int], bool]], shape: Sequence[int], plane: str) -> None:
    """A ring with a plus or a minus at each voxel, as the screen has it: both axes run against the voxels'."""
    cut, pen = PLANES[plane], ImageDraw.Draw(picture)
    for voxel, inside in places:
        x = (shape[cut.u] - 0.5 - voxel[cut.u]) / shape[cut.u] * picture.width
        y = (shape[cut.v] - 0.5 - voxel[cut.v]) / shape[cut.v] * picture.height
        for wide, colour in ((4, "#000000"), (2, "#ffffff")):
            pen.ellipse((x - 8, y - 8, x + 8, y + 8), outline=colour, width=wide)
            pen.line((x - 4, y, x + 4, y), fill=colour, width=wide)
            if inside:
                pen.line((x, y - 4, x, y + 4), fill=colour, width=wide)


def _png(picture) -> str:
    buffer = io.BytesIO()
    picture.quantize(200).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def losses_svg(losses: Sequence[float], width: int = 420, height: int = 110) -> str:
    """The training loss over the steps as a line, smoothed over five, in the page's colours; "" for fewer than six steps."""
    if len(losses) < 6:
        return ""
    values = np.convolve(losses, np.ones(5) / 5, "valid")
    top = max(float(values.max()), 1e-6)
    points = " ".join(f"{34 + (width - 44) * k / (len(values) - 1):.1f},{8 + (height - 30) * (1 - value / top):.1f}"
                      for k, value in enumerate(values))
    floor = height - 22
    return (f'<svg role="img" viewBox="0 0 {width} {height}" aria-label="Training loss over {len(losses)} steps: from '
            f'{values[0]:.2f} to {values[-1]:.2f}."><line class="axis" x1="34" y1="{floor}" x2="{width - 10}" y2="{floor}"/>'
            f'<line class="axis" x1="34" y1="8" x2="34" y2="{floor}"/><polyline class="curve" points="{points}"/>'
            f'<text x="30" y="14" text-anchor="end">{top:.2f}</text><text x="30" y="{floor}" text-anchor="end">0</text>'
            f'<text x="{width - 10}" y="{height - 6}" text-anchor="end">step {len(losses)}</text></svg>')
