"""Stored runs that lessons show: a JSONL file that ships, a record a line. ``adaptation.results.append`` writes such lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from fmlab.errors import LessonError

Record = TypeVar("Record")


def stored(path: Path, make: Callable[..., Record], how: str, order: Callable[[Record], Any] | None = None) -> list[Record]:
    """All records of a file, in the file's order or by ``order``.

    make: a record of a line's entries. how: what makes the file, for the message. LessonError where there is none, or a line is
    no record.
    """
    try:
        found = [make(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
        return sorted(found, key=order) if order else found
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise LessonError(f"The runs in {path} cannot be read ({error}); make them with {how}.") from error
