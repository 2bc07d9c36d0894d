"""A canvas: click on a scan, and a model answers with a mask. The canvas knows no model; a function asks it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import anywidget
import numpy as np
import torch
import traitlets as t

from fmlab import scan_files
from fmlab.errors import ScanError
from fmlab.palette import COLOURS
from fmlab.viewer import canvas_picture, keeping, static
from fmlab.viewer.annotation import Annotation, Step
from fmlab.viewer.canvas_arguments import check_arguments, image_of
from fmlab.viewer.canvas_messages import heard, seen
from fmlab.viewer.picture import Look
from fmlab.viewer.planes import plane_named, window_pair
from fmlab.viewer.prompts import Answer, Request
from fmlab.viewer.scene import OKABE_ITO
from fmlab.viewer.slabs import pack, slab_count
from fmlab.viewer.widget import first_slabs
from fmlab.vocabulary import ID
from fmlab.volume import Volume


class Canvas(anywidget.AnyWidget):
    """Click on an image and see the model's masks; show it by making it a cell's last line.

    image: a Volume, or one picture (H, W) or (1, H, W) of finite numbers. ask: takes a ``Request`` (all prompts of a class on the
    slice) and returns an ``Answer``. classes: what is annotated, one name or more. axis: axial, coronal or sagittal. index: the
    first slice. scope: "slice", or "volume" for models that take and answer whole volumes. prepare: called as prepare(axis,
    index) before a slice is asked for first, for what is done once a slice, such as the embedding; its result comes as
    ``request.prepared``. autosave: the file in which all is kept after every answer, and from which a new canvas on the same
    image goes on; None: one of its own in ``settings.data_folder() / "annotations"``; False: none. window: as in ``view``.
    minutes: a clock above the picture runs down from here; it is the recording's, so it goes on where an autosave ended. What is
    done when time is up is recorded all the same.

    index, current (a class), sign (1 or -1: what a left click adds) and window can be read, set and observed.
    error: what ``ask`` raised last, which the widget tells in one sentence, or None. resumed: "Resumed 5 prompts from ..." or "".

    Raises ScanError where image, classes or a file do not fit.
    """

    _esm = static.module("canvas")
    _css = static.style("canvas")
    _spec = t.Dict().tag(sync=True)
    _first = t.Dict().tag(sync=True)
    _view = t.Dict().tag(sync=True)
    _kept = t.Unicode("").tag(sync=True)
    index = t.Int(0).tag(sync=True)
    current = t.Unicode("").tag(sync=True)
    sign = t.Enum((1, -1), 1).tag(sync=True)
    window = t.Any((40.0, 400.0)).tag(sync=True)

    def __init__(self, image: Volume | np.ndarray | torch.Tensor, ask: Callable[[Request], Answer],
                 classes: Sequence[str] = ("structure",), axis: str = "axial", index: int | None = None, scope: str = "slice",
                 prepare: Callable[[str, int], object] | None = None, autosave: str | Path | bool | None = None,
                 window: str | Sequence[float] = "soft tissue", height: int = 440, title: str = "",
                 minutes: float | None = None) -> None:
        self.scene, self._cuts, values = image_of(image, title)
        across = plane_named(axis).axis
        check_arguments(self._cuts, ask, classes, axis, scope, prepare, height, minutes)
        self.axis, self.annotation = axis, Annotation(values, self._cuts, ask, classes, scope, prepare)
        self.facts = keeping.facts_of(self.scene)
        path = None if autosave is True else autosave
        self.autosave = None if autosave is False else keeping.Autosave(path, self.annotation, self.facts)
        count = self.autosave.load() if self.autosave else 0
        prompts = f"{count} prompt{'' if count == 1 else 's'}"
        self.resumed = f"Resumed {prompts} from {self.autosave.path}" if count else ""
        self.error: Exception | None = None
        self._token, self._epoch, self._said = "", 0, self.resumed
        middle = self.scene.shape[across] // 2
        spec = static.spec(self.scene, height, False) | {
            "plane": axis, "flat": self._cuts.flat, "scope": scope, "resumed": self.resumed, "minutes": minutes,
            "ends": minutes and 1000 * (time.time() - self.annotation.now() + 60 * minutes),  # ms, as JavaScript counts
            "classes": [{"name": name, "colour": list(colour)} for name, colour in self.colours.items()]}
        start = [n // 2 for n in self.scene.shape]
        start[across] = middle if index is None else self._inside(index)
        super().__init__(_spec=spec, _first=first_slabs(self.scene, start[2]), _view=self._seen(start[across]),
                         index=start[across], current=classes[0])
        self.window = window if self.scene.unit == "HU" or window != "soft tissue" else "auto"
        self.on_msg(self._hear)

    def __repr__(self) -> str:
        return f"Canvas: {self.alt}"

    @property
    def classes(self) -> tuple[str, ...]:
        """What is annotated."""
        return self.annotation.classes

    @property
    def alt(self) -> str:
        """The slice in view in words."""
        return canvas_picture.alt_text(self.scene, self.annotation, self.axis, self.index)

    @property
    def colours(self) -> dict[str, tuple[int, int, int]]:
        """Each class's colour: the palette's, or one of Okabe and Ito's for what the vocabulary does not know."""
        return {name: COLOURS.get(name, OKABE_ITO[k % len(OKABE_ITO)]) for k, name in enumerate(self.classes)}

    @property
    def ids(self) -> dict[str, int]:
        """Each class's number in ``labels``: the vocabulary's, or, if it does not know them all, 1, 2, ... in their order."""
        known = all(name in ID for name in self.classes)
        return {name: ID[name] if known else number for number, name in enumerate(self.classes, 1)}

    # -- what is annotated --

    def mask(self, name: str) -> np.ndarray:
        """A class's mask on the image's grid, bool (X, Y, Z), or (H, W) on a picture. Raises ScanError for an unknown class."""
        grid = self._grid_mask(name)
        return self._cuts.cut(grid, "axial", 0).copy() if self._cuts.flat else grid

    def labels(self) -> np.ndarray:
        """All masks on the image's grid, uint8 (X, Y, Z), or (H, W) on a picture, in ``ids``; of two classes that share a voxel,
        the one that is later in ``classes`` has it."""
        grid = self._grid_labels()
        return self._cuts.cut(grid, "axial", 0).copy() if self._cuts.flat else grid

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write ``labels`` as NIfTI on the image's grid, its affine kept; the header's comment has ``ids``. Returns the path.

        A picture is written as (W, H, 1), so that ``view`` shows it upright. Raises ScanError, and writes nothing, if the file
        exists and overwrite is False.
        """
        comment = {"name": self.scene.title, "annotated": None, "classes": self.ids}
        return scan_files.write_nifti(path, self._grid_labels(), self.scene.affine, comment, overwrite)

    @property
    def recording(self) -> dict[str, object]:
        """All that was done, with times, as JSON takes it; ``replay`` does it again. See ``fmlab.viewer.annotation``."""
        return keeping.recording_of(self.annotation, self.facts)

    def save_recording(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write ``recording`` as JSON; ScanError if the file exists and overwrite is False."""
        return keeping.write_json(path, self.recording, overwrite)

    def replay(self, recording: Mapping | str | Path) -> np.ndarray:
        """Do a recording (or the file of one) again through ``ask``, without a browser, and return ``labels()``.

        Raises ScanError if this canvas has prompts already, or the recording is of another grid or of other classes.
        """
        played = keeping.read_json(recording) if isinstance(recording, str | Path) else recording
        try:
            keeping.replay(self.annotation, played)
        finally:
            self._changed_everywhere()
        return self.labels()

    # -- prompts from Python: as clicks do, but what ask raises is raised here --

    def point(self, row: int, column: int, label: int = 1, name: str | None = None, index: int | None = None) -> None:
        """A click at a pixel of the upright picture of slice ``index`` (the one in view), for class ``name`` (the current)."""
        self._do({"do": "point", "at": [row, column], "label": label, **self._spot(name, index)})

    def box(self, start: Sequence[int], stop: Sequence[int], name: str | None = None, index: int | None = None) -> None:
        """A box from pixel start = (row, column) to stop, one past its last; it replaces the one before. In scope "volume", boxes
        on several slices are joined to the smallest one around them."""
        self._do({"do": "box", "start": list(start), "stop": list(stop), **self._spot(name, index)})

    def clear(self, name: str | None = None, index: int | None = None) -> None:
        """Take away all prompts of a class on a slice (in scope "volume": of the class), and its mask; undo brings them back."""
        self._do({"do": "clear", **self._spot(name, index)})

    def undo(self) -> None:
        """Take back the last step, wherever it was."""
        self._do({"do": "undo"})

    def redo(self) -> None:
        """Do again what was undone."""
        self._do({"do": "redo"})

    def _repr_mimebundle_(self, **kwargs: object) -> tuple[dict[str, object], dict[str, object]]:
        """The live widget, and beside it the figure that is shown where no widget can live."""
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
        look = Look(self.axis, self.index, tuple(self.window))
        figure = canvas_picture.figure_html(self.scene, self.annotation, self.colours, look)
        return {**data, "text/plain": repr(self), "text/html": figure}, metadata

    # -- the conversation with the browser --

    def _hear(self, _: object, content: dict, buffers: Sequence[memoryview]) -> None:
        """The browser wants voxels, looks at another slice, or has events."""
        kind = content.get("type")
        if kind == "want" and content.get("slab") in range(slab_count(self.scene.shape)):
            self.send({"type": "slab", "slab": content["slab"]}, buffers=[pack(self.scene, content["slab"])])
        elif kind == "look" and content.get("index") in range(self.scene.shape[plane_named(self.axis).axis]):
            self._show(content["index"])
        elif kind == "do":
            self._token = content["token"]
            try:
                self._do(*(heard(self.annotation, self.axis, event) for event in content["events"]))
            except Exception as error:  # raised in the browser's message, it would be lost in a log that no learner opens
                self.error = error
                self._show(self._view["index"])

    def _do(self, *events: Mapping) -> None:
        """Do events, show what came of them, and keep it."""
        self.error, step = None, None
        try:
            step = self.annotation.apply(events)
            self._said = self._words(step, events[-1]["do"])
        except Exception as error:
            self.error = error
            raise
        finally:
            index = step.index if step else events[-1].get("index", self.index)
            if len(events) > 1 or self.annotation.scope == "volume":  # other slices than this one may have changed
                self._epoch += 1
            if step and events[-1]["do"] in ("undo", "redo") and step.axis == self.axis:
                self.index, self.current = step.index, step.key.name
            self._show(index)
            self._keep()

    def _words(self, step: Step | None, kind: str) -> str:
        if step is None:
            return f"Nothing to {kind}"
        done = {"undo": "Undone. ", "redo": "Redone. "}.get(kind, "")
        layer = self.annotation.layer(step.key)
        name = step.key.name.replace("_", " ")
        return f"{done}{name}: {canvas_picture.words(layer, self.annotation.scope) if layer.prompts else 'no prompts'}"

    def _show(self, index: int) -> None:
        """Send a slice to the browser."""
        self._view = self._seen(index)

    def _seen(self, index: int) -> dict[str, object]:
        """A slice's prompts and masks, and how things stand."""
        return seen(self.annotation, self.axis, index) | {"token": self._token, "epoch": self._epoch, "said": self._said,
                                                          "trouble": _trouble(self.error)}

    def _changed_everywhere(self) -> None:
        self._epoch += 1
        self._show(self.index)
        self._keep()

    def _keep(self) -> None:
        """Autosave, after the answer is on its way; a file that cannot be written stops nobody, but is told."""
        if self.autosave is None:
            return
        try:
            self.autosave.save()
            self._kept = f"Saved in {self.autosave.path}"
        except (ScanError, OSError) as error:
            self._kept = f"NOT saved: {error}"

    # -- checks --

    def _spot(self, name: str | None, index: int | None) -> dict[str, object]:
        chosen, spot = self.current if name is None else name, self.index if index is None else index
        return {"class": chosen, "axis": self.axis, "index": spot}

    def _inside(self, index: int) -> int:
        count = self.scene.shape[plane_named(self.axis).axis]
        if not isinstance(index, int | np.integer) or not 0 <= index < count:
            raise ScanError(f"There is no {self.axis} slice {index!r}; the image has 0 to {count - 1}.")
        return int(index)

    @t.validate("index")
    def _index_inside(self, proposal: dict) -> int:
        return self._inside(proposal["value"])

    @t.validate("current")
    def _class_known(self, proposal: dict) -> str:
        if proposal["value"] not in self.classes:
            raise ScanError(f"There is no class {proposal['value']!r} on this canvas; it has {', '.join(self.classes)}.")
        return proposal["value"]

    @t.validate("window")
    def _window_as_pair(self, proposal: dict) -> tuple[float, float]:
        return window_pair(proposal["value"], self.scene.auto)

    def _grid_mask(self, name: str) -> np.ndarray:
        """A class's mask, bool (X, Y, Z)."""
        self._class_known({"value": name})
        grid = np.zeros(self.scene.shape, bool)
        for key in self.annotation.layers:
            if key.name == name and (mask := self.annotation.mask(key)) is not None:
                part = self._cuts.cut(grid, key.axis, key.index) if key.axis else grid
                part |= mask
        return grid

    def _grid_labels(self) -> np.ndarray:
        grid = np.zeros(self.scene.shape, np.uint8)
        for name, number in self.ids.items():
            grid[self._grid_mask(name)] = number
        return grid


def _trouble(error: Exception | None) -> str:
    """One sentence for the learner."""
    if error is None:
        return ""
    said = " ".join(str(error).split()) or "no reason given"
    return f"The model's function stopped with {type(error).__name__}: {said[:300]}"
