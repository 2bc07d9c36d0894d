"""The canvas as it stands, without a kernel: its slice with masks and prompts, in words too."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw

from fmlab.viewer import picture
from fmlab.viewer.annotation import Annotation
from fmlab.viewer.layers import Layer
from fmlab.viewer.planes import plane_named
from fmlab.viewer.scene import Entry, Scene

Colour = tuple[int, int, int]


def figure_html(scene: Scene, annotation: Annotation, colours: Mapping[str, Colour], look: picture.Look) -> str:
    """A <figure> of the slice in view; ``look`` without layers."""
    words = alt_text(scene, annotation, look.plane, look.index)
    drawn = picture.img(draw(scene, annotation, colours, look), words)
    return f"<figure>{drawn}<figcaption>{html.escape(words)} Run the cell to click.</figcaption></figure>"


def alt_text(scene: Scene, annotation: Annotation, axis: str, index: int) -> str:
    """What is seen, in words: the slice, and for each class its mask, prompts and predicted IoU."""
    count = scene.shape[plane_named(axis).axis]
    place = scene.title if annotation.cuts.flat else f"{axis.capitalize()} slice {index + 1} of {count} of {scene.title}"
    found = [(name, annotation.layer(annotation.key(name, axis, index))) for name in annotation.classes]
    said = [f"{name.replace('_', ' ')}: {words(layer, annotation.scope)}" for name, layer in found if layer.prompts]
    return f"{place}; {'; '.join(said) if said else 'no prompts'}."


def words(layer: Layer, scope: str = "slice") -> str:
    """A layer in words, as in "mask 1,234 pixels, predicted IoU 0.91, 2 positive points"."""
    unit = "pixel" if scope == "slice" else "voxel"
    labels = [label for _, label in layer.points]
    parts = ["no mask" if layer.mask is None else f"mask {_counted(layer.area, unit)}"]
    parts += [] if layer.iou is None else [f"predicted IoU {layer.iou:.2f}"]
    signs = ((1, "positive"), (0, "negative"))
    parts += [_counted(labels.count(label), f"{sign} point") for label, sign in signs if label in labels]
    return ", ".join(parts + (["1 box"] if layer.box else []))


def draw(scene: Scene, annotation: Annotation, colours: Mapping[str, Colour], look: picture.Look) -> Image.Image:
    """The slice with the classes' masks, points and boxes."""
    axis, index, cuts = look.plane, look.index, annotation.cuts
    plane = plane_named(axis)
    one = tuple(slice(index, index + 1) if k == plane.axis else slice(None) for k in range(3))
    codes, entries = np.zeros_like(scene.values[one], dtype=np.uint8), []
    for code, name in enumerate(annotation.classes, 1):
        key = annotation.key(name, axis, index)
        if (mask := annotation.mask(key)) is not None:
            cuts.cut(codes, axis, 0)[mask if key.axis else cuts.cut(mask, axis, index)] = code
        entries.append(Entry(code, code, name, colours[name], (0.0,)))
    thin = replace(scene, values=scene.values[one], codes=(codes,), layers=("labels",), entries=tuple(entries))
    sheet = picture.draw(thin, replace(look, index=0, layers=(0,), marks=not cuts.flat))
    pen, scale = ImageDraw.Draw(sheet), np.array(sheet.size) / cuts.size(axis)[::-1]
    for name in annotation.classes:
        _prompts(pen, annotation.layer(annotation.key(name, axis, index)), scene.shape, axis, index, scale, colours[name])
    return sheet


def _prompts(pen: ImageDraw.ImageDraw, layer: Layer, shape: tuple[int, ...], axis: str, index: int, scale: np.ndarray,
             colour: Colour) -> None:
    """Points as discs with + or -, and the box, in the class's colour."""
    plane = plane_named(axis)
    across = np.array([plane.u, plane.v])
    ends = np.array(shape)[across]
    if layer.box is not None and layer.box[0][plane.axis] <= index < layer.box[1][plane.axis]:
        start, stop = ((ends - np.array(corner)[across]) * scale for corner in layer.box[::-1])
        pen.rectangle((*start, *(stop - 1)), outline="#000000", width=4)
        pen.rectangle((*(start + 1), *(stop - 2)), outline=colour, width=2)
    for voxel, label in layer.points:
        if voxel[plane.axis] != index:
            continue
        x, y = (ends - np.array(voxel)[across] - 0.5) * scale
        pen.ellipse((x - 8, y - 8, x + 8, y + 8), fill="#ffffff" if label else "#000000", outline=colour, width=3)
        ink = "#000000" if label else "#ffffff"
        pen.line((x - 4, y, x + 4, y), fill=ink, width=2)
        if label:
            pen.line((x, y - 4, x, y + 4), fill=ink, width=2)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
