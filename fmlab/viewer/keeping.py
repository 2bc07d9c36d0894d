"""Annotations in files: recordings, and the autosave from which a canvas goes on after the kernel's end. Nothing is overwritten
that this canvas has not written itself."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from fmlab.errors import ScanError
from fmlab.settings import data_folder
from fmlab.viewer.annotation import Annotation, Key, Step
from fmlab.viewer.layers import Layer
from fmlab.viewer.scene import Scene

RECORDING, AUTOSAVE = "fmlab recording", "fmlab annotation"
VERSION = 1


def facts_of(scene: Scene) -> dict[str, object]:
    """Which image it is: name, shape (X, Y, Z), and a hash of its values and its place."""
    digest = hashlib.sha256(scene.values.tobytes(order="F"))
    digest.update(scene.affine.tobytes() + repr((scene.slope, scene.intercept)).encode())
    return {"name": scene.title, "shape": list(scene.shape), "sha256": digest.hexdigest()}


def recording_of(annotation: Annotation, facts: Mapping) -> dict[str, object]:
    """All events with their times, as JSON takes them."""
    return {"format": RECORDING, "version": VERSION, "image": dict(facts), "scope": annotation.scope,
            "classes": list(annotation.classes), "events": [dict(event) for event in annotation.events]}


def replay(annotation: Annotation, recording: Mapping) -> None:
    """Do the recorded events as they were done, the model asked where it was asked; for an annotation without prompts."""
    if not isinstance(recording, Mapping) or recording.get("format") != RECORDING or recording.get("version") != VERSION:
        raise ScanError(f"This is no recording of a canvas in version {VERSION}; canvas.recording makes one.")
    if annotation.events:
        raise ScanError("This canvas has prompts already; replay on a new one, made with autosave=False.")
    try:
        shape, scope = tuple(recording["image"]["shape"]), recording["scope"]
        events = [dict(event) for event in recording["events"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ScanError("This recording of a canvas is damaged: image, scope or events are not there; take another.") from error
    if shape != annotation.cuts.shape or scope != annotation.scope:
        raise ScanError(f"The recording was made on {list(shape)} voxels with scope {scope!r}, not on "
                        f"{list(annotation.cuts.shape)} with {annotation.scope!r}.")
    batch: list[Mapping] = []
    for event in events:
        batch.append(event)
        if event.get("asked"):
            annotation.apply(batch)
            batch = []
    if batch:
        annotation.apply(batch)


def write_json(path: str | Path, content: Mapping, overwrite: bool = False) -> Path:
    """Write under a temporary name and rename; ScanError if the file is there already, or cannot be written."""
    path = Path(path)
    if path.exists() and not overwrite:
        raise ScanError(f"{path}: is there already and was left as it is; choose another name or pass overwrite=True.")
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name[:40]}.", dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps(content, separators=(",", ":")))  # dump() would write piece by piece, many times slower
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise ScanError(f"{path}: could not be written ({error.strerror or error}); check the folder and its rights.") from error
    return path


def read_json(path: str | Path) -> dict[str, object]:
    """What a file holds; ScanError if it cannot be read."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ScanError(f"{path}: could not be read as JSON ({error}); give another file.") from error


class Autosave:
    """The file in which a canvas keeps its prompts and masks. path: None for one of its own in the data folder."""

    def __init__(self, path: str | Path | None, annotation: Annotation, facts: Mapping) -> None:
        self.annotation, self.facts = annotation, facts
        if path is None:
            asked = repr((facts["sha256"], annotation.scope, annotation.classes)).encode()
            name = re.sub(r"[^\w.-]+", "_", str(facts["name"])).strip("._")[:60] or "image"
            path = data_folder() / "annotations" / f"{name}-{hashlib.sha256(asked).hexdigest()[:12]}.json"
        self.path, self._seen = Path(path).expanduser(), None

    def load(self) -> int:
        """Go on from the file, if it is there; how many prompts it holds. Raises ScanError if it is of something else."""
        if not self.path.exists():
            return 0
        kept = read_json(self.path)
        if not isinstance(kept, dict) or kept.get("format") != AUTOSAVE or kept.get("version") != VERSION:
            raise ScanError(f"{self.path}: is no autosave of a canvas in version {VERSION}; choose another autosave=.")
        try:
            self._take(kept)
        except ScanError:
            raise
        except Exception as error:  # a file that somebody edited may hold anything
            raise ScanError(f"{self.path}: is damaged ({type(error).__name__}), and is left as it is; choose another autosave=, "
                            "or move it away.") from error
        self._seen = self._stamp()
        return sum(layer.prompts for layer in self.annotation.layers.values())

    def _take(self, kept: Mapping) -> None:
        """Put what a file holds into the annotation, all of it or nothing."""
        here = self.annotation
        same_task = (kept["scope"], kept["classes"]) == (here.scope, list(here.classes))
        if kept["image"]["sha256"] != self.facts["sha256"] or not same_task:
            raise ScanError(f"{self.path}: holds prompts for {', '.join(kept['classes'])} on {kept['image']['name']} (scope "
                            f"{kept['scope']!r}), not for this canvas; choose another autosave=.")
        layers = {Key(*key): Layer.from_json(layer) for key, layer in kept["layers"]}
        steps = {name: [Step(Key(*key), axis, index, Layer.from_json(layer)) for key, axis, index, layer in kept[name]]
                 for name in ("done", "undone")}
        events = [dict(event) for event in kept["events"]]
        begun = float(events[-1]["t"]) if events else 0.0
        for key, layer in [*layers.items(), *((step.key, step.layer) for step in (*steps["done"], *steps["undone"]))]:
            if key.name not in here.classes or not all(_inside(voxel, here.cuts.shape) for voxel, _ in layer.points):
                raise ValueError("prompts for another class, or outside of the image")
            if layer.mask:
                layer.mask.unpack(here.cuts.size(key.axis) if key.axis else here.cuts.shape)
        here.layers, here.done, here.undone, here.events = layers, steps["done"], steps["undone"], events
        here.go_on_from(begun)

    def save(self) -> None:
        """Write all there is. If another canvas has written this file since, it keeps it, and this one takes a name beside it."""
        here = self.annotation
        while self.path.exists() and self._stamp() != self._seen:
            self.path, self._seen = _beside(self.path), None
        content = {"format": AUTOSAVE, "version": VERSION, "image": dict(self.facts), "scope": here.scope,
                   "classes": list(here.classes), "events": here.events,
                   "layers": [(key, layer.to_json()) for key, layer in here.layers.items()],
                   "done": [(*step[:3], step.layer.to_json()) for step in here.done],
                   "undone": [(*step[:3], step.layer.to_json()) for step in here.undone]}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ScanError(f"{self.path.parent}: could not be made ({error.strerror}); choose another autosave=.") from error
        write_json(self.path, content, overwrite=True)
        self._seen = self._stamp()

    def _stamp(self) -> tuple[int, int]:
        """Changes whenever somebody replaces or writes the file."""
        known = self.path.stat()
        return known.st_ino, known.st_mtime_ns


def _inside(voxel: tuple, shape: tuple[int, ...]) -> bool:
    return len(voxel) == len(shape) and all(isinstance(at, int) and 0 <= at < size for at, size in zip(voxel, shape))


def _beside(path: Path) -> Path:
    """name.json, name-2.json, name-3.json ..."""
    found = re.fullmatch(r"(.*)-([1-9]\d?)", path.stem)
    base, number = (found[1], int(found[2])) if found else (path.stem, 1)
    return path.with_name(f"{base}-{number + 1}{path.suffix}")
