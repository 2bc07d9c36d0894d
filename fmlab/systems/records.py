"""One record for each system of the course, read from ``table.toml``, and its place on the slides' three axes.

The axes are rules about facts, not opinions: which images, slices or volumes, words or none. What we have not seen is empty.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from fmlab.errors import DataError

TABLE = Path(__file__).with_name("table.toml")
NOT_SEEN = "not seen"
NONE = "none"
USAGES = ("zero-shot", "transfer", "in-context", "interactive", "few-shot", "from scratch")
"""How a system is used (slides, part 2, and part 3 for few-shot); the last one is no pre-training at all."""
LEARNT = ("2-D", "3-D", "2-D and 3-D")
UNITS = ("scans", "pictures", "scans with text", "pictures with text")
TAUGHT_BY = ("masks", "scans alone", "text")
FREE = ("Apache-2.0", "MIT")
"""Licences in the table that let anybody use the weights, at work as well. No licence means all rights reserved."""
AXES: dict[str, tuple[str, ...]] = {
    "A": ("natural images", "medical images", "one field", "one task"),
    "B": ("2-D", "2-D to 3-D", "3-D"),
    "C": ("images", "images and text"),
}
"""The slides' axes and their values. A: generalist (the first two) or specialised (one field, such as CT or the retina); a
network that is trained anew for each task has no place on it, and gets the last value."""
_OF_KIND: dict[str, Callable[[object], bool]] = {  # how TOML says what the fields of System hold
    "str": lambda value: isinstance(value, str), "int": lambda value: type(value) is int,
    "bool": lambda value: isinstance(value, bool),
    "tuple[str, ...]": lambda value: isinstance(value, list) and all(isinstance(part, str) for part in value)}
_DOI = re.compile(r"10\.\d{4,9}/[^\s,;]+[^\s,;.)]")


@dataclass(frozen=True)
class System:
    """One system.

    images: kinds of images that it was trained on last, ("many",) for more than a few, ("photographs",) for no medical ones.
    learnt: one of LEARNT. reads: "2-D" or "3-D", what one call looks at. text: which words go in, "" for none. taught_by: of
    TAUGHT_BY. usage: of USAGES, the main one first. data: what it learnt from, with ``amount`` in ``unit`` (0: not seen).
    per_task: a network for each data set. begins: key of the system whose weights it begins with, or "". parameters (0: not
    seen) of ``parameters_of``; ``counted`` by fmlab's tests or else as published. code, weights: addresses. *_licence: as stated,
    "none" where there is none, "" where we have seen none. doi; module: of fmlab; lessons: two digits. seen: source of the facts.
    """

    key: str
    name: str
    year: int
    images: tuple[str, ...]
    learnt: str
    reads: str
    taught_by: tuple[str, ...]
    usage: tuple[str, ...]
    data: str
    text: str = ""
    amount: int = 0
    unit: str = ""
    per_task: bool = False
    begins: str = ""
    parameters: int = 0
    parameters_of: str = ""
    counted: bool = False
    code: str = ""
    code_licence: str = ""
    weights: str = ""
    weights_licence: str = ""
    doi: str = ""
    module: str = ""
    lessons: tuple[str, ...] = ()
    seen: str = ""
    note: str = ""

    @property
    def place(self) -> tuple[str, str, str]:
        """Its values on the axes A, B and C."""
        breadth = AXES["A"][3] if self.per_task else place(self.images, self.learnt, self.reads, self.text)[0]
        return (breadth, *place(self.images, self.learnt, self.reads, self.text)[1:])

    @property
    def has_weights(self) -> bool:
        """Whether published weights are known to be had."""
        return self.weights not in ("", NONE)

    def on(self, axis: str) -> str:
        """Its value on an axis "A", "B" or "C"; DataError for another one."""
        if axis not in AXES:
            raise DataError(f"There is no axis {axis!r}; choose {', '.join(AXES)}.")
        return self.place["ABC".index(axis)]


def place(images: tuple[str, ...], learnt: str, reads: str, text: str) -> tuple[str, str, str]:
    """Where a pre-trained system stands on the slides' axes; arguments as in ``System``.

    A: photographs make it a generalist of all images, several kinds of medical images one of medicine, a single kind a
    specialist. B: what it looks at decides, and in 3-D also whether it learnt in slices. C: words, of any sort, or none.
    """
    one_field = len(images) == 1 and "many" not in images
    breadth = "natural images" if "photographs" in images else "one field" if one_field else "medical images"
    depth = "2-D" if reads == "2-D" else "3-D" if learnt == "3-D" else "2-D to 3-D"
    return breadth, depth, "images and text" if text else "images"


@cache
def systems() -> tuple[System, ...]:
    """Every system of the package's table, in its order."""
    return read_systems(TABLE)


def system(key: str, among: tuple[System, ...] | None = None) -> System:
    """The system of that key or name; DataError with the nearest ones if there is none."""
    known = systems() if among is None else among
    wanted = str(key).casefold()
    for one in known:
        if wanted in (one.key, one.name.casefold()):
            return one
    near = get_close_matches(wanted, [one.key for one in known], n=3, cutoff=0.4) or [one.key for one in known]
    raise DataError(f"No system is called {key!r}; did you mean {' or '.join(near)}?")


def ancestors(key: str) -> tuple[System, ...]:
    """The systems whose weights a system begins with, nearest first: of ARENA FSEFT, then Swin UNETR. DataError as ``system``."""
    line, one = [], system(key)
    while one.begins:
        one = system(one.begins)
        line.append(one)
    return tuple(line)


def read_systems(path: str | Path) -> tuple[System, ...]:
    """Read and check a table of systems (TOML, as ``table.toml``); DataError names the first row that is wrong."""
    try:
        rows = tomllib.loads(Path(path).read_text(encoding="utf-8")).get("system", [])
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"The table of systems {path} cannot be read ({error}); install fmlab again or restore it.") from error
    if not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
        raise DataError(f"{path}: a system is a table that begins with [[system]]; correct what is called system.")
    found = tuple(_system(row, path) for row in rows)
    for what in ("key", "name", "doi"):
        values = [getattr(one, what) for one in found if getattr(one, what)]
        if twice := sorted({value for value in values if values.count(value) > 1}):
            raise DataError(f"{path}: two systems have the {what} {twice[0]!r}; correct one of them.")
    keys = {one.key for one in found}
    for one in found:
        if one.begins and one.begins not in keys - {one.key}:
            raise DataError(f"{path}, system {one.key!r}: begins names {one.begins!r}, which is no other system of the table.")
    before = {one.key: one.begins for one in found}
    for one in found:
        line = [one.key]
        while before[line[-1]]:
            if before[line[-1]] in line:
                raise DataError(f"{path}, system {one.key!r}: begins leads round in a circle, {' < '.join(line)}; correct it.")
            line.append(before[line[-1]])
    return found


def _system(row: dict, path: str | Path) -> System:
    where = f"{path}, system {row.get('key', '?')!r}"
    known = {field.name for field in fields(System)}
    needed = {"key", "name", "year", "images", "learnt", "reads", "taught_by", "usage", "data"}
    if wrong := (row.keys() - known) | (needed - row.keys()):
        raise DataError(f"{where}: the fields {', '.join(sorted(wrong))} are missing or unknown; compare with another system.")
    kinds = {field.name: field.type for field in fields(System)}
    if wrong := sorted(name for name, value in row.items() if not _OF_KIND[kinds[name]](value)):
        raise DataError(f"{where}: {wrong[0]} is {row[wrong[0]]!r}; compare with another system.")
    one = System(**{name: tuple(value) if isinstance(value, list) else value for name, value in row.items()})
    for what, allowed in (("learnt", LEARNT), ("reads", LEARNT[:2]), ("unit", (*UNITS, ""))):
        if getattr(one, what) not in allowed:
            raise DataError(f"{where}: {what} is {getattr(one, what)!r}; use one of {', '.join(allowed)}.")
    for what, several, allowed in (("usage", one.usage, USAGES), ("taught_by", one.taught_by, TAUGHT_BY)):
        if not several or not set(several) <= set(allowed):
            raise DataError(f"{where}: {what} is {list(several)!r}; give one or more of {', '.join(allowed)}.")
    if bool(one.amount) != bool(one.unit):
        raise DataError(f"{where}: an amount comes with its unit, and a unit with its amount.")
    if one.doi and not _DOI.fullmatch(one.doi):
        raise DataError(f"{where}: {one.doi!r} is no DOI; write it as 10.1038/s41467-024-44824-z, without an address.")
    return one
