"""Clicks on the learner's scan: a list, a file, or a canvas' recording; in mm, so that they hold on any grid of the scan."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fmlab.errors import PromptError, PromptWarning
from fmlab.interactive.clicks import centre_of_largest_error
from fmlab.interactive.pictures import drawn
from fmlab.viewer.annotation import Annotation
from fmlab.viewer.canvas_arguments import image_of
from fmlab.viewer.cuts import Cuts
from fmlab.viewer.keeping import RECORDING, read_json, replay
from fmlab.viewer.planes import PLANES, plane_named
from fmlab.viewer.prompts import Answer
from fmlab.vocabulary import structure
from fmlab.volume import Volume

if TYPE_CHECKING:
    from fmlab.own_scan.correcting import Corrector


@dataclass(frozen=True)
class Click:
    """structure: of the vocabulary. mm: (right, front, head) in the scan's own RAS coordinates. inside: it belongs there, or does
    not. axis: of the slice that was clicked on. Raises PromptError or VocabularyError for what is none of this."""

    structure: str
    mm: tuple[float, float, float]
    inside: bool
    axis: str = "axial"

    def __post_init__(self) -> None:
        object.__setattr__(self, "structure", structure(self.structure).name)
        try:
            place = tuple(round(float(value), 3) for value in self.mm)
        except (TypeError, ValueError):
            place = ()
        if len(place) != 3 or not np.isfinite(place).all():
            raise PromptError(f"A click on {self.structure} lies at {self.mm!r}; give three finite numbers, in mm.")
        if not isinstance(self.inside, bool | int) or self.inside not in (0, 1) or self.axis not in PLANES:
            raise PromptError(f"A click on {self.structure} has inside={self.inside!r} and axis={self.axis!r}; inside is true or "
                              f"false, and axis one of {', '.join(PLANES)}.")
        object.__setattr__(self, "mm", place)
        object.__setattr__(self, "inside", bool(self.inside))

    def voxel(self, volume: Volume) -> tuple[int, int, int]:
        """The voxel that holds it. Raises PromptError outside the volume."""
        index = np.floor(volume.index(self.mm) + 0.5).astype(int)
        if (index < 0).any() or (index >= volume.shape).any():
            raise PromptError(f"The click on {self.structure} at {self.mm} mm lies outside the scan; were the clicks made on it?")
        return tuple(int(i) for i in index)


def read_clicks(path: str | Path, volume: Volume) -> list[Click]:
    """The clicks of a file: a list of them as ``as_json`` gives it, or a canvas' recording. Raises PromptError or ScanError."""
    content = read_json(path)
    if isinstance(content, Mapping) and content.get("format") == RECORDING:
        return clicks_of(content, volume)
    rows = content.get("clicks") if isinstance(content, Mapping) else content
    if not isinstance(rows, list):
        raise PromptError(f"{path}: holds no clicks; give a list of them, or what canvas.save_recording wrote.")
    known = {"structure", "mm", "inside", "axis"}
    for row in rows:
        if not isinstance(row, Mapping) or not {"structure", "mm", "inside"} <= row.keys() <= known:
            raise PromptError(f"{path}: {json.dumps(row)[:80]} is no click; it has structure, mm, inside and, at most, axis.")
    return [Click(**row) for row in rows]


def as_json(clicks: Sequence[Click]) -> list[dict]:
    """Clicks as a file holds them: structures and places, no name, no time."""
    return [asdict(click) for click in clicks]


def clicks_of(recording: Mapping, volume: Volume) -> list[Click]:
    """The clicks that a canvas' recording leaves, what was undone and cleared left out; boxes are passed over.

    No model is asked. Raises ScanError for a recording of another grid, VocabularyError for a class of no known name.
    """
    _, cuts, values = image_of(volume, "")

    def nothing(request) -> Answer:
        return Answer(np.zeros(request.image.shape, bool))

    played = Annotation(values, cuts, nothing, recording.get("classes", ()), recording.get("scope", "slice"))
    replay(played, recording)
    return [Click(key.name, tuple(volume.world(voxel)), bool(label), key.axis or "axial")
            for key, layer in played.layers.items() for voxel, label in layer.points]


def simulated(found: Volume, reference: Volume, structures: Sequence[str], corrector: Corrector, slices: int = 2, clicks: int = 3,
              axis: str = "axial") -> list[Click]:
    """Clicks of a tireless person who knows the reference: in the middle of the largest error, on the slices with most of it.

    It flatters: a person sees picture and mask, and no reference (lesson 10). corrector: a ``Corrector``, which answers after
    each click. slices: of each structure, at least a tenth of the scan apart. A structure that is right gets no click.
    """
    cuts, across, made = Cuts(found.shape), plane_named(axis).axis, []
    for name in structures:
        wrong = (found.mask(name) ^ reference.mask(name)).sum([k for k in range(3) if k != across]).numpy()
        for _ in range(slices):
            index = int(wrong.argmax())
            if not wrong[index]:
                break
            apart = max(1, len(wrong) // 10)
            wrong[max(0, index - apart):index + apart + 1] = 0
            truth, mask, here = drawn(reference, name, axis, index), drawn(found, name, axis, index), []
            for _ in range(clicks):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", PromptWarning)
                    new = centre_of_largest_error(mask, truth)
                if not len(new.labels):
                    break
                column, row = (int(value) for value in new.points[0])
                here.append(((row, column), int(new.labels[0])))
                mask = corrector.slice(name, axis, index, here)
            made += [Click(name, tuple(found.world(cuts.voxel(axis, index, place))), bool(label), axis) for place, label in here]
    return made
