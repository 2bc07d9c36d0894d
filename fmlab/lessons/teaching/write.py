"""Files for a teacher, written into a folder; a file that was changed since is never written over."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from fmlab.errors import LessonError
from fmlab.lessons.files import write_bytes, write_json

RECORD = ".taught.json"


def write(files: Mapping[str, bytes], folder: Path) -> tuple[Path, ...]:
    """Write files by name; returns those that are new or newer. ``RECORD`` remembers what was written, by its hash.

    Raises LessonError, with nothing written, if one of them was changed or is not ours, and if the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        known = _read(folder / RECORD)
        there = {name: (folder / name).read_bytes() for name in files if (folder / name).is_file()}
        changed = sorted(name for name, old in there.items() if old != files[name] and _hash(old) not in known.get(name, []))
        if changed:
            more = f" and {len(changed) - 1} more were" if changed[1:] else " was"
            raise LessonError(f"{folder / changed[0]}{more} changed since fmlab wrote it; nothing was written now: move it away, "
                              "or name another folder with --output.")
        newer = [name for name, content in files.items() if there.get(name) != content]
        for name in newer:
            write_bytes(folder / name, files[name])
        known |= {name: sorted({*known.get(name, []), _hash(content)}) for name, content in files.items()}
        write_json(folder / RECORD, known)
    except OSError as error:
        raise LessonError(f"The folder {folder} cannot be written ({error}); name another one with --output.") from error
    return tuple(folder / name for name in newer)


def _read(path: Path) -> dict[str, list[str]]:
    """What was written before; a record that cannot be read is none, and then every file there counts as changed."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    sound = isinstance(found, dict) and all(isinstance(hashes, list) for hashes in found.values())
    return found if sound else {}


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
