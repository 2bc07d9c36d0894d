"""What the canvas and its browser tell each other. The browser knows voxels and the screen, the annotation upright pictures."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fmlab.viewer.annotation import Annotation
from fmlab.viewer.planes import plane_named


def heard(annotation: Annotation, axis: str, message: Mapping) -> dict[str, object]:
    """The browser's event as the annotation takes it. A point has one voxel, a box two corners, both inside; age: in ms."""
    event = {name: value for name, value in message.items() if name in ("do", "class", "label")}
    event["t"] = annotation.now() - message.get("age", 0) / 1000
    places = [annotation.cuts.place(axis, voxel) for voxel in message.get("voxels", ())]
    if places:
        event |= {"axis": axis, "index": message["voxels"][0][plane_named(axis).axis]}
    if event["do"] == "point":
        event["at"] = places[0]
    elif event["do"] == "box":
        event["start"] = [min(n) for n in zip(*places, strict=True)]
        event["stop"] = [max(n) + 1 for n in zip(*places, strict=True)]
    return event


def seen(annotation: Annotation, axis: str, index: int) -> dict[str, object]:
    """Prompts and masks of a slice; masks as bits, one a pixel, as the screen shows them. slices: with a mask, of each class."""
    layers = []
    for number, name in enumerate(annotation.classes):
        key = annotation.key(name, axis, index)
        layer, mask = annotation.layer(key), annotation.mask(key)
        if not layer.prompts:
            continue
        flat = mask if mask is None or key.axis else annotation.cuts.cut(mask, axis, index)
        bits = b"" if flat is None else np.packbits(annotation.cuts.on_screen(flat)).tobytes()
        layers.append({"class": number, "points": [[*voxel, label] for voxel, label in layer.points], "box": layer.box,
                       "bits": bits, "area": layer.area, "iou": layer.iou})
    masks = [key.name for key, layer in annotation.layers.items() if layer.mask is not None]
    return {"index": index, "layers": layers, "slices": [masks.count(name) for name in annotation.classes],
            "undo": bool(annotation.done), "redo": bool(annotation.undone)}
