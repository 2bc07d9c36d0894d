"""An annotation: prompts as they come, the masks that a model makes of them, undo, and a recording. It knows no browser.

An event is a dict as JSON takes it: {"do": "point", "class", "axis", "index", "at": [row, column], "label": 1 or 0},
{"do": "box", "class", "axis", "index", "start": [row, column], "stop": [row, column]} (stop is one past its last),
{"do": "clear", "class", "axis", "index"}, {"do": "undo"} or {"do": "redo"}. Rows and columns are those of the slice's upright
picture (``Cuts``). A recorded event has its time "t" in seconds too, and "asked" where the model was asked after it: clicks that
come while the model works wait for each other and are answered at once.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fmlab.errors import ScanError
from fmlab.viewer.cuts import Cuts
from fmlab.viewer.layers import Layer, joined
from fmlab.viewer.prompts import Answer, Request, checked

HISTORY = 200  # steps that can be undone
PREPARED = 16  # slices whose embedding is kept
SCOPES = ("slice", "volume")
NEEDED = {"point": {"class", "axis", "index", "at", "label"}, "box": {"class", "axis", "index", "start", "stop"},
          "clear": {"class", "axis", "index"}, "undo": set(), "redo": set()}


class Key(NamedTuple):
    """Whose prompts belong together: a class on a slice; in a volume, a class with axis "" and index 0."""

    name: str
    axis: str
    index: int


class Step(NamedTuple):
    """What a layer was before a step, and the slice on which the step was done."""

    key: Key
    axis: str
    index: int
    layer: Layer


class Annotation:
    """Prompts and masks of ``classes`` on an image (X, Y, Z) that ``cuts`` describes. ask, prepare, scope: as in ``Canvas``."""

    def __init__(self, image: np.ndarray, cuts: Cuts, ask: Callable[[Request], Answer], classes: Sequence[str],
                 scope: str = "slice", prepare: Callable[[str, int], object] | None = None) -> None:
        self.image, self.cuts, self.ask, self.classes, self.scope, self.prepare = image, cuts, ask, tuple(classes), scope, prepare
        self.layers: dict[Key, Layer] = {}
        self.done: list[Step] = []
        self.undone: list[Step] = []
        self.events: list[dict[str, object]] = []
        self._masks: dict[Key, tuple[Layer, np.ndarray]] = {}
        self._embeddings: OrderedDict[tuple[str, int], object] = OrderedDict()
        self._start = time.monotonic()

    def now(self) -> float:
        """Seconds since the first canvas on this annotation was made; time between a restart and going on does not count."""
        return time.monotonic() - self._start

    def go_on_from(self, seconds: float) -> None:
        """Set the clock, as after a restart."""
        self._start = time.monotonic() - seconds

    def key(self, name: str, axis: str, index: int) -> Key:
        """Whose prompts those of a class on this slice are."""
        return Key(name, axis, index) if self.scope == "slice" else Key(name, "", 0)

    def layer(self, key: Key) -> Layer:
        """Prompts and mask; an empty layer where there is nothing."""
        return self.layers.get(key, Layer())

    def mask(self, key: Key) -> np.ndarray | None:
        """The mask as bool (H, W), upright, or (X, Y, Z) in a volume; None where there is none. Not to be written to."""
        layer = self.layer(key)
        if layer.mask is None:
            return None
        if self._masks.get(key, (None,))[0] is not layer:
            self._masks[key] = (layer, layer.mask.unpack(self.cuts.size(key.axis) if key.axis else self.cuts.shape))
        return self._masks[key][1]

    def apply(self, events: Sequence[Mapping]) -> Step | None:
        """Do these events in turn, then ask the model once for each layer whose prompts they changed; what the last one did.

        None if there was nothing to undo or redo. Raises ScanError for an event that is none, before anything is done; and
        whatever ``ask`` or ``prepare`` raises: then the prompts stay, and the model is asked again after the next event.
        """
        known = [self._understood(event) for event in events]
        touched: dict[Key, Step] = {}
        step = None
        for event in known:
            if (found := self._do(event)) is None:
                continue
            step = touched[found.key] = found
            self.events.append(event)
        if step is not None:
            self.events[-1]["asked"] = True
        for one in touched.values():
            if self.layer(one.key).stale:
                self._answer(one)
        return step

    def _understood(self, event: Mapping) -> dict[str, object]:
        """``_checked``, for events of a file that somebody edited too: they may hold anything in any place."""
        try:
            return self._checked(event)
        except ScanError:
            raise
        except (TypeError, ValueError, KeyError, OverflowError) as error:
            said = repr(event)[:200]
            raise ScanError(f"{said} is no event; see fmlab.viewer.annotation for what each kind needs.") from error

    def _checked(self, event: Mapping) -> dict[str, object]:
        """A copy of the event with its time; ScanError if it is none, or lies outside the image."""
        kind = event.get("do")
        if kind not in NEEDED or not NEEDED[kind] <= set(event):
            raise ScanError(f"{dict(event)} is no event; see fmlab.viewer.annotation for what each kind needs.")
        plain = {name: _plain(event[name]) for name in sorted(NEEDED[kind])}
        if "class" in plain and plain["class"] not in self.classes:
            raise ScanError(f"There is no class {plain['class']!r} on this canvas; it has {', '.join(self.classes)}.")
        if "axis" in plain:
            self.cuts.voxel(plain["axis"], plain["index"], plain.get("at", (0, 0)))
        if "at" in plain:
            if plain["label"] not in (0, 1):
                raise ScanError(f"A point has the label {plain['label']!r}; 1 is this structure, 0 is not this.")
        if "stop" in plain:
            (top, left), (bottom, right) = plain["start"], plain["stop"]
            if not (top < bottom and left < right):
                raise ScanError(f"The box from {plain['start']} to {plain['stop']} is empty; stop is one past its last pixel.")
            for place in ((top, left), (bottom - 1, right - 1)):
                self.cuts.voxel(plain["axis"], plain["index"], place)
        return {"t": round(float(event.get("t", self.now())), 3), "do": kind, **plain}

    def _do(self, event: Mapping) -> Step | None:
        """Change a layer; the step that undoes it."""
        if event["do"] in ("undo", "redo"):
            return self._back(*((self.done, self.undone) if event["do"] == "undo" else (self.undone, self.done)))
        spot = event["axis"], event["index"]
        key = self.key(event["class"], *spot)
        before = self.layer(key)
        if event["do"] == "point":
            after = before.with_point(self.cuts.voxel(*spot, event["at"]), event["label"])
        elif event["do"] == "box":
            box = self._box(*spot, event["start"], event["stop"])
            after = before.with_box(joined(before.box, box) if self.scope == "volume" else box)
        else:
            after = Layer()
        self.layers[key] = after
        self.done = [*self.done, Step(key, *spot, before)][-HISTORY:]
        self.undone = []
        return self.done[-1]

    def _back(self, source: list[Step], target: list[Step]) -> Step | None:
        """Take the last step of ``source``, and note in ``target`` how to take that back."""
        if not source:
            return None
        step = source.pop()
        target.append(step._replace(layer=self.layer(step.key)))
        self.layers[step.key] = step.layer
        return step

    def _box(self, axis: str, index: int, start: Sequence[int], stop: Sequence[int]) -> tuple:
        """A slice's box in voxels."""
        ends = self.cuts.voxel(axis, index, tuple(start)), self.cuts.voxel(axis, index, (stop[0] - 1, stop[1] - 1))
        return tuple(map(min, *ends)), tuple(max(pair) + 1 for pair in zip(*ends, strict=True))

    def _answer(self, step: Step) -> None:
        """Ask the model for a layer's mask."""
        request = self.request(step.key, step.axis, step.index)
        mask, iou = checked(self.ask(request), request)
        self.layers[step.key] = self.layer(step.key).answered(mask, iou)
        self._masks[step.key] = self.layers[step.key], mask

    def request(self, key: Key, axis: str, index: int) -> Request:
        """What the model is asked for a layer."""
        layer, flat = self.layer(key), self.scope == "slice"
        put = (lambda voxel: self.cuts.place(axis, voxel)) if flat else tuple
        points = np.array([put(voxel) for voxel, _ in layer.points], int).reshape(-1, 2 if flat else 3)
        labels = np.array([label for _, label in layer.points], int)
        box = None
        if layer.box is not None:
            ends = np.array([put(layer.box[0]), put([n - 1 for n in layer.box[1]])])
            box = np.stack([ends.min(0), ends.max(0) + 1])
        image = self.cuts.cut(self.image, axis, index) if flat else self.image
        return Request(key.name, axis, index, image, points, labels, box, self.mask(key), self._embedding(axis, index))

    def _embedding(self, axis: str, index: int) -> object:
        """What ``prepare`` returned for the slice, called when it is prompted first (in a volume: once)."""
        if self.prepare is None:
            return None
        spot = (axis, index) if self.scope == "slice" else ("", 0)
        if spot not in self._embeddings:
            self._embeddings[spot] = self.prepare(axis, index)
        self._embeddings.move_to_end(spot)
        while len(self._embeddings) > PREPARED:
            self._embeddings.popitem(last=False)
        return self._embeddings[spot]


def _plain(value: object) -> object:
    """Whole numbers of any kind as int, pairs as lists: what JSON takes."""
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(one) for one in value]
    return int(value) if isinstance(value, float | np.integer) and value == int(value) else value
