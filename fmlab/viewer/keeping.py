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
    if recording.get("format") != RECORDING or recording.get("version") != VERSION:
        raise ScanError(f"This is no recording of a canvas in version {VERSION}; canvas.recording makes one.")
    if annotation.events:
        raise ScanError("This canvas has prompts already; replay on a new one, made with autosave=False.")
    if tuple(recording["image"]["shape"]) != annotation.cuts.shape or recording["scope"] != annotation.scope:
        raise ScanError(f"The recording was made on {recording['image']['shape']} voxels with scope {recording['scope']!r}, "
                        f"not on {list(annotation.cuts.shape)} with {annotation.scope!r}.")
    batch: list[Mapping] = []
    for event in recording["events"]:
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
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
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
    except (OSError, ValueError) as error:
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
        kept, here = read_json(self.path), self.annotation
        if not isinstance(kept, dict) or kept.get("format") != AUTOSAVE or kept.get("version") != VERSION:
            raise ScanError(f"{self.path}: is no autosave of a canvas in version {VERSION}; choose another autosave=.")
        same_task = (kept["scope"], kept["classes"]) == (here.scope, list(here.classes))
        if kept["image"]["sha256"] != self.facts["sha256"] or not same_task:
            raise ScanError(f"{self.path}: holds prompts for {', '.join(kept['classes'])} on {kept['image']['name']} (scope "
                            f"{kept['scope']!r}), not for this canvas; choose another autosave=.")
        here.layers = {Key(*key): Layer.from_json(layer) for key, layer in kept["layers"]}
        for name in ("done", "undone"):
            setattr(here, name, [Step(Key(*key), axis, index, Layer.from_json(layer)) for key, axis, index, layer in kept[name]])
        here.events = kept["events"]
        here.go_on_from(here.events[-1]["t"] if here.events else 0.0)
        self._seen = self._stamp()
        return sum(layer.prompts for layer in here.layers.values())

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


def _beside(path: Path) -> Path:
    """name.json, name-2.json, name-3.json ..."""
    found = re.fullmatch(r"(.*)-([1-9]\d?)", path.stem)
    base, number = (found[1], int(found[2])) if found else (path.stem, 1)
    return path.with_name(f"{base}-{number + 1}{path.suffix}")
