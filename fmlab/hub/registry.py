"""The registry: what is known about each named data set, read from the table ``data.toml`` beside this file."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from fmlab.errors import DataError

TABLE = Path(__file__).with_name("data.toml")
KINDS = ("scan", "images", "table")
ROLES = ("image", "labels", "mask", "table", "licence", "archive")
MODALITIES = ("CT", "MR", "other")
RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in range(1, 10))}
"""What no file may be called on Windows, with any extension: aux.nii is a device there."""


@dataclass(frozen=True)
class File:
    """One file of an entry.

    role: one of ROLES. size: bytes. sha256: 64 hex digits. addresses: where it can be had, best first; () if not online.
    address_checked: a file of that name was seen listed there (the sha256 decides in any case). unpacked: for an archive, the
    bytes that it may unpack to at most.
    """

    role: str
    name: str
    size: int
    sha256: str
    addresses: tuple[str, ...] = ()
    address_checked: bool = False
    unpacked: int = 0


@dataclass(frozen=True)
class Entry:
    """One named data set: what it holds, on which terms, and how to load it.

    kind: "scan" (one Volume), "images" (pictures) or "table". scheme: label scheme of ``vocabulary.MAPPINGS``, "" if none fits.
    patient: who was imaged, so that a split keeps a person on one side. doi: of the citation, "" if there is none. folder: name
    of the cache folder, which entries may share. note: what a user should know.
    """

    name: str
    kind: str
    holds: str
    modality: str
    scheme: str
    patient: str
    licence: str
    citation: str
    doi: str
    source: str
    folder: str
    note: str
    files: tuple[File, ...]

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)

    @property
    def address_checked(self) -> bool:
        """Whether each file was seen listed at its address."""
        return all(file.address_checked for file in self.files)

    def having(self, role: str) -> tuple[File, ...]:
        """The files of one role, such as "image" or "labels"."""
        return tuple(file for file in self.files if file.role == role)


@cache
def registry() -> tuple[Entry, ...]:
    """Every entry of the package's table, in its order."""
    return read_registry(TABLE)


def find(name: str, entries: tuple[Entry, ...] | None = None) -> Entry:
    """The entry of that name; DataError with the nearest names if there is none."""
    known = {entry.name: entry for entry in (registry() if entries is None else entries)}
    if name in known:
        return known[name]
    near = get_close_matches(str(name), known, n=3, cutoff=0.4) or list(known)
    raise DataError(f"No data set is called {name!r}; did you mean {' or '.join(near)}? `fmlab data list` shows all names.")


def read_registry(path: str | Path) -> tuple[Entry, ...]:
    """Read and check a table of entries (TOML, as ``data.toml``); DataError names the first row that is wrong."""
    try:
        rows = tomllib.loads(Path(path).read_text(encoding="utf-8")).get("entry", [])
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"The data registry {path} cannot be read ({error}); install fmlab again or restore the file.") from error
    if not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
        raise DataError(f"{path}: an entry is a table that begins with [[entry]]; correct what is called entry.")
    entries = tuple(_entry(row, path) for row in rows)
    _check_names(entries, path)
    return entries


def _entry(row: dict, path: str | Path) -> Entry:
    where = f"{path}, entry {row.get('name', '?')!r}"
    expected = {field.name for field in fields(Entry)}
    if row.keys() != expected:
        raise DataError(f"{where}: the keys {sorted(row.keys() ^ expected)} are missing or unknown; compare with another entry.")
    texts = expected - {"files"}
    if wrong := sorted(key for key in texts if not isinstance(row[key], str)):
        raise DataError(f"{where}: {wrong[0]} is {row[wrong[0]]!r}; give a text.")
    if not (isinstance(row["files"], list) and all(isinstance(line, dict) for line in row["files"])):
        raise DataError(f"{where}: files must be a list of tables; compare with another entry.")
    for key, allowed in (("kind", KINDS), ("modality", MODALITIES)):
        if row[key] not in allowed:
            raise DataError(f"{where}: {key} is {row[key]!r}; use one of {', '.join(allowed)}.")
    _plain_name(row["folder"], where)
    files = tuple(_file(line, row["source"], where) for line in row["files"])
    if not files or (row["kind"] == "scan" and sum(file.role == "image" for file in files) != 1):
        raise DataError(f"{where}: a scan has exactly one file of role image, and every entry has files; correct the list.")
    return Entry(**{**row, "files": files})


def _file(line: dict, source: str, where: str) -> File:
    where = f"{where}, file {line.get('name', '?')!r}"
    needed, optional = {"role", "name", "size", "sha256", "at", "address_checked"}, {"mirrors", "unpacked"}
    if not needed <= line.keys() <= needed | optional:
        raise DataError(f"{where}: give {', '.join(sorted(needed))} and, at most, {' and '.join(sorted(optional))}.")
    mirrors = line.get("mirrors", [])
    texts = [line[key] for key in ("role", "name", "sha256", "at")] + (mirrors if isinstance(mirrors, list) else [None])
    if not all(isinstance(text, str) for text in texts):
        raise DataError(f"{where}: role, name, sha256 and at are texts, and mirrors a list of them; correct the one that is not.")
    if not all(type(line.get(key, 0)) is int for key in ("size", "unpacked")) or not isinstance(line["address_checked"], bool):
        raise DataError(f"{where}: size and unpacked are whole numbers, address_checked is true or false; correct them.")
    _plain_name(line["name"], where)
    if not re.fullmatch(r"[0-9a-f]{64}", line["sha256"]) or line["size"] <= 0:
        raise DataError(f"{where}: sha256 must be 64 hex digits and size a number of bytes above zero.")
    if line["role"] not in ROLES or (line["role"] == "archive") != ("unpacked" in line):
        raise DataError(f"{where}: role must be one of {', '.join(ROLES)}, and an archive (and nothing else) says `unpacked`.")
    addresses = ((f"{source}/{line['at']}",) if line["at"] else ()) + tuple(mirrors)
    for address in addresses:
        if not _on_the_web(address):
            raise DataError(f"{where}: the address {address!r} is not http or https; correct source, at or mirrors.")
    if line["address_checked"] and not addresses:
        raise DataError(f"{where}: address_checked is true without an address; set it to false.")
    return File(line["role"], line["name"], line["size"], line["sha256"], addresses, line["address_checked"],
                line.get("unpacked", 0))


def _on_the_web(address: str) -> bool:
    try:
        return urlsplit(address).scheme in ("http", "https")
    except ValueError:  # such as an odd bracket
        return False


def _plain_name(name: str, where: str) -> None:
    """A name that cannot lead out of its folder, or to a device, on any system."""
    device = name.split(".")[0].upper() in RESERVED or name.endswith(".")
    if device or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", name):
        raise DataError(f"{where}: {name!r} is no plain file or folder name; use letters, digits, '.', '_' and '-'.")


def _check_names(entries: tuple[Entry, ...], path: str | Path) -> None:
    """Names are unique, and a file shared by two entries is the same file."""
    seen: set[str] = set()
    bytes_of: dict[tuple[str, str], str] = {}
    for entry in entries:
        if entry.name in seen:
            raise DataError(f"{path}: two entries are called {entry.name!r}; rename one.")
        seen.add(entry.name)
        for file in entry.files:
            place = entry.folder.lower(), file.name.lower()  # one place on a disk that does not tell A from a
            if bytes_of.setdefault(place, file.sha256) != file.sha256:
                raise DataError(f"{path}: {entry.folder}/{file.name} has two different sha256; rename one file.")
