"""Where the parity files lie, which of them a test reads, and what they say about themselves.

The folder is FMLAB_PARITY_DIR, by default ``../shared/parity`` beside the repository. A test names the systems it knows by their
stems, never whole files: further files of the same stems are picked up without a change.
"""

from __future__ import annotations

import json
import os
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest


def parity_root() -> Path:
    """The folder of all parity files, whether it is there or not."""
    repository = Path(__file__).resolve().parents[2]
    return Path(os.environ.get("FMLAB_PARITY_DIR") or repository.parent / "shared" / "parity").expanduser()


def parity_files(folder: str, *stems: str, suffix: str = ".npz") -> list[Path]:
    """Files of a folder ("few_shot", "universal", ...) whose stem is one of ``stems`` or begins with it and "_"; sorted.

    A stem may hold wildcards, as in "swinunetr_*_base". Without stems: all files. Empty where the folder is absent.
    """
    found = [path for path in parity_root().rglob(f"*{suffix}") if folder in path.parent.parts]
    return sorted(p for p in found if not stems or any(fnmatch(p.stem, s) or fnmatch(p.stem, s + "_*") for s in stems))


def parity_cases(folder: str, *stems: str, suffix: str = ".npz") -> list:
    """The same files as arguments of ``pytest.mark.parametrize``: each with its stem as id; one skipped case if there is none."""
    files = parity_files(folder, *stems, suffix=suffix)
    if files:
        return [pytest.param(path, id=path.stem) for path in files]
    wanted = " or ".join(stems) or suffix
    reason = f"no {wanted} file in {parity_root() / folder}; set FMLAB_PARITY_DIR to the folder of parity files"
    return [pytest.param(None, id="absent", marks=pytest.mark.skip(reason=reason))]


def arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a file by name, its metadata included."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def metadata(stored: dict[str, np.ndarray]) -> dict:
    """The JSON of ``meta`` or ``meta_json``; empty where a file has none."""
    for name in ("meta", "meta_json"):
        if name in stored:
            return json.loads(str(stored[name]))
    return {}


def seed_of(stored: dict[str, np.ndarray]) -> int:
    """The seed of the fill: the file's own, else FMLAB_PARITY_SEED, else 0."""
    said = metadata(stored)
    for place in (stored, said):
        for name in ("seed", "SEED", "fill_seed"):
            if name in place:
                return int(np.asarray(place[name]).reshape(-1)[0])
    return int(os.environ.get("FMLAB_PARITY_SEED", "0"))
