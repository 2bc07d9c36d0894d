"""Annotating against the clock: a recording that is cut when time is up, and what it says of each structure.

    canvas = Canvas(..., minutes=5)                         the learner annotates
    played = in_time(canvas.recording, 5)                   what was done in time, or the stored recording
    rows = report(played, replayed_canvas, volume)

The clock of a recording starts when its canvas is made, and goes on where an autosave ended. Where nobody clicks, the stored
recording is replayed: of a simulated person, ``recorded``, who goes through the slices from the feet to the head and draws in
every third.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fmlab.interactive.boxes import tight_box
from fmlab.interactive.coverage import slice_scores
from fmlab.interactive.crowd import Person, SliceBoxes
from fmlab.interactive.effort import DEFAULT, Pace
from fmlab.interactive.pictures import AXES
from fmlab.viewer import Canvas
from fmlab.viewer.keeping import RECORDING, VERSION, read_json
from fmlab.volume import Volume

STORED = Path(__file__).parent / "recordings" / "11_annotating.json"
"""Five minutes of ``CAREFUL`` on the lesson's body, at the default ``Pace``; made by data_scripts/record_annotation.py."""


@dataclass(frozen=True)
class Row:
    """What somebody did for a structure, and what came of it. seconds: between an event and the one before, added up. slices:
    that have an answer. coverage: of those which show it. answered_dice: mean Dice of slices with an answer. dice: in 3-D."""

    name: str
    boxes: int
    clicks: int
    seconds: float
    slices: int
    coverage: float
    answered_dice: float
    dice: float

    def __str__(self) -> str:
        kinds = (f"{self.boxes:3d} {'box' if self.boxes == 1 else 'boxes':5s} "
                 f"{self.clicks:3d} {'click' if self.clicks == 1 else 'clicks':6s}")
        return (f"{self.name:14s} {kinds} {self.seconds:4.0f} s  coverage "
                f"{self.coverage:.2f}  Dice of its slices {self.answered_dice:.2f}, of the volume {self.dice:.2f}")


def within(recording: Mapping, minutes: float = 5) -> dict[str, object]:
    """The recording up to so many minutes."""
    return {**recording, "events": [event for event in recording["events"] if event["t"] <= 60 * minutes]}


def in_time(recording: Mapping, minutes: float = 5) -> Mapping[str, object]:
    """What was done in so many minutes; the stored recording where that is nothing."""
    played = within(recording, minutes)
    return played if played["events"] else stored()


def report(recording: Mapping, canvas: Canvas, volume: Volume) -> list[Row]:
    """A row for each class that was annotated. canvas: on which the recording was replayed. volume: with the truth."""
    seconds, counts = spent(recording)
    rows = []
    for name in canvas.classes:
        if name in seconds:
            scores = slice_scores(canvas.mask(name), volume.mask(name).numpy(), AXES[canvas.axis])
            rows.append(Row(name, *counts[name], seconds[name], int((scores.found > 0).sum()), scores.coverage,
                            scores.answered_dice, scores.volume_dice))
    return rows


def spent(recording: Mapping) -> tuple[dict[str, float], dict[str, list[int]]]:
    """Class -> seconds, and class -> [boxes, clicks]. What was undone counts too: it took its time. An undo's seconds go to the
    class that was worked on before it."""
    seconds: dict[str, float] = {}
    counts: dict[str, list[int]] = {}
    name, before = "", 0.0
    for event in recording["events"]:
        name = event.get("class", name)
        seconds[name] = seconds.get(name, 0.0) + event["t"] - before
        kinds = counts.setdefault(name, [0, 0])
        if event["do"] in ("box", "point"):
            kinds[event["do"] == "point"] += 1
        before = event["t"]
    return seconds, counts


def boxes_of(canvas: Canvas, name: str) -> SliceBoxes:
    """The boxes of a class, by slice, as ``fmlab.interactive.boxes`` has them; where there are only clicks, around the mask."""
    here, found = canvas.annotation, {}
    for key in here.layers:
        mask, box = here.mask(key), here.layer(key).box
        if key.name != name or mask is None:
            continue
        if box is not None:
            ends = np.array([here.cuts.place(key.axis, box[0]), here.cuts.place(key.axis, [n - 1 for n in box[1]])])
            found[key.index] = torch.from_numpy(np.concatenate([ends.min(0)[::-1], ends.max(0)[::-1]])).float()
        elif mask.any():
            found[key.index] = tight_box(mask)
    return dict(sorted(found.items()))


def recorded(person: Person, volume: Volume, names: Sequence[str], pace: Pace = DEFAULT, minutes: float = 5, every: int = 3,
             seed: int = 0) -> dict[str, object]:
    """A simulated annotation with boxes, as ``Canvas.recording`` has it: every ``every``-th axial slice, until time is up."""
    rng = np.random.default_rng(seed)
    drawn = {name: person.boxes(volume, name, rng, names) for name in names}
    slices = sorted({index for boxes in drawn.values() for index in boxes})
    events, now = [], 0.0
    for index in range(slices[0], slices[-1] + 1, every):
        now += every * pace.turn
        for name in names:
            if index in drawn[name]:
                now += pace.box
                x0, y0, x1, y1 = drawn[name][index].round().int().tolist()
                events.append({"t": now, "do": "box", "class": name, "axis": "axial", "index": index, "start": [y0, x0],
                               "stop": [y1 + 1, x1 + 1], "asked": True})
    image = {"name": volume.name, "shape": list(volume.shape), "sha256": ""}
    played = {"format": RECORDING, "version": VERSION, "image": image, "scope": "slice", "classes": list(names), "events": events,
              "by": f"{person.name}, simulated"}
    return within(played, minutes)


def stored() -> dict[str, object]:
    """The recording that ships."""
    return read_json(STORED)
