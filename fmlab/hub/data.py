"""Data by name: fetch a registered data set once, with its licence shown before, and know that the bytes are right.

Files lie in FMLAB_DATA/data/<folder of the entry>/. A file there with the registered sha256 is used as it is, without network.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from fmlab.errors import DataError
from fmlab.hub.archives import extract
from fmlab.hub.download import Download, Patience, need_space, readable, sha256_of
from fmlab.hub.registry import Entry, File, find, registry
from fmlab.settings import data_folder

__all__ = ["Check", "Entry", "fetch", "find", "folder", "notice", "paths", "registry", "seed_cache", "status", "verify"]

Consent = bool | Callable[[str], bool] | None
PATIENCE = Patience()


@dataclass(frozen=True)
class Check:
    """What ``verify`` found: state is "right", "corrupt", "partial" or "absent"; moved: where a corrupt file lies now."""

    entry: str
    file: str
    state: str
    moved: Path | None = None

    def __str__(self) -> str:
        aside = f", moved to {self.moved.name}" if self.moved else ""
        return f"{self.entry}: {self.file} is {self.state}{aside}"


def folder(entry: Entry) -> Path:
    """Where the entry's files lie in the cache; it may not exist yet."""
    return data_folder() / "data" / entry.folder


def fetch(name: str, confirm: Consent = None) -> Path:
    """Have a named data set in the cache and return its path: the image of a scan, or the folder of anything else.

    What is missing is downloaded after name, size, licence and citation were shown and agreed to. confirm: True agrees, False
    declines, a callable gets the text and answers; None asks by ``input()`` in a terminal or notebook.

    Raises DataError if the name is unknown, nobody agrees, or no address gives the right bytes; a file is never half there.
    """
    entry = find(name, registry())
    missing = [file for file in entry.files if not _intact(entry, file)]
    if missing:
        _refuse_offline(entry, missing)
        _agree(entry, missing, confirm)
        for file in missing:
            _bring(entry, file)
    for file in entry.having("archive"):
        _unpack(entry, file)
    return folder(entry) / entry.having("image")[0].name if entry.kind == "scan" else folder(entry)


def paths(name: str, role: str | None = None) -> tuple[Path, ...]:
    """Where the files of an entry lie in the cache, all or those of one role ("image", "labels", "mask" ...); ``fetch`` first."""
    entry = find(name, registry())
    return tuple(folder(entry) / file.name for file in (entry.files if role is None else entry.having(role)))


def notice(entry: Entry, files: list[File] | tuple[File, ...] | None = None) -> str:
    """What is shown before a download: what it is, size, licence, citation, from where, to where."""
    wanted = entry.files if files is None else files
    citation = entry.citation + (f" https://doi.org/{entry.doi}" if entry.doi else "")
    plural = "" if len(wanted) == 1 else "s"
    lines = [f"{entry.name}: {entry.holds}", f"  size      {readable(sum(f.size for f in wanted))} in {len(wanted)} file{plural}",
             f"  licence   {entry.licence}", f"  cite      {citation}", f"  from      {entry.source or 'no known address'}",
             f"  to        {folder(entry)}"]
    return "\n".join(lines + ([f"  note      {entry.note}"] if entry.note else []))


def status(entry: Entry) -> str:
    """"cached" (all files there in full length), "absent" (nothing there) or "partial"; quick, reads no file - see ``verify``."""
    places = [(folder(entry) / file.name, file.size) for file in entry.files]
    whole = [place.is_file() and place.stat().st_size == size for place, size in places]
    if all(whole):
        return "cached"
    begun = any(place.exists() or _part(place).exists() for place, _ in places)
    return "partial" if begun else "absent"


def verify(name: str = "all") -> tuple[Check, ...]:
    """Hash every cached file of one entry, or of "all", again; a corrupt file is renamed aside, never deleted."""
    chosen = registry() if name == "all" else (find(name, registry()),)
    found: dict[Path, Check] = {}  # a file that entries share is hashed, and moved, once
    checks = []
    for entry in chosen:
        for file in entry.files:
            place = folder(entry) / file.name
            if place not in found:
                found[place] = _verify_file(entry, file)
            checks.append(replace(found[place], entry=entry.name))
    return tuple(checks)


def seed_cache(source: str | Path) -> tuple[Path, ...]:
    """Copy what the registry knows from any folder (a USB stick, a shared drive) into the cache; returns the new files.

    Files are recognised by their sha256, whatever they are called and however deep they lie. Raises DataError without the folder.
    """
    source = Path(source).expanduser()
    if not source.is_dir():
        raise DataError(f"{source} is not a folder; name the folder that holds the data files.")
    wanted: dict[str, dict[Path, tuple[Entry, File]]] = {}  # sha256 to the places where such a file belongs
    for entry in registry():
        for file in entry.files:
            wanted.setdefault(file.sha256, {}).setdefault(folder(entry) / file.name, (entry, file))
    sizes = {file.size for entry in registry() for file in entry.files}
    copied: list[Path] = []
    for path in sorted(source.rglob("*")):
        if not path.is_file() or path.stat().st_size not in sizes:  # the size spares hashing what cannot match
            continue
        for entry, file in wanted.get(sha256_of(path), {}).values():
            copied += _copy_in(path, entry, file)
    return tuple(copied)


def _part(place: Path) -> Path:
    return place.with_name(place.name + ".part")


def _intact(entry: Entry, file: File) -> bool:
    place = folder(entry) / file.name
    return place.is_file() and place.stat().st_size == file.size and sha256_of(place) == file.sha256


def _refuse_offline(entry: Entry, missing: list[File]) -> None:
    lost = [file.name for file in missing if not file.addresses]
    if lost:
        raise DataError(f"{entry.name}: no address is known for {', '.join(lost)}; bring the files by `fmlab data seed FOLDER`.")


def _agree(entry: Entry, missing: list[File], confirm: Consent) -> None:
    """Show the terms and get a yes, or raise DataError."""
    text = notice(entry, missing)
    if callable(confirm):
        agreed = bool(confirm(text))
    else:
        print(text)
        agreed = _ask(entry.name) if confirm is None else confirm
    if not agreed:
        raise DataError(f"{entry.name} was not fetched: the download was declined; ask again when you agree to its licence.")


def _ask(name: str) -> bool:
    """Ask the person at the keyboard; DataError where there is none (a script, a headless notebook)."""
    how = (f"{name} is not in the cache and nobody can be asked; "
           f"agree by `fmlab data get {name} --yes` or fetch({name!r}, confirm=True).")
    if not _in_notebook() and not (sys.stdin and sys.stdin.isatty()):
        raise DataError(how)
    try:
        return input("Download it? [y/N] ").strip().lower() in ("y", "yes")
    except (EOFError, NotImplementedError) as error:  # a notebook run without a front end cannot ask
        raise DataError(how) from error


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")
    return shell is not None and hasattr(shell.get_ipython(), "kernel")


def _bring(entry: Entry, file: File) -> None:
    """Download one file under a lock, so that two processes never write to the same part file."""
    import pooch  # slow to import, and needed only for a download

    place = folder(entry)
    with _alone(entry, file):
        if _intact(entry, file):  # another process brought it while we waited
            return
        if (place / file.name).exists():
            warnings.warn(f"{place / file.name} was corrupt and lies now at {_aside(place / file.name)}", stacklevel=3)
        download = Download(file.addresses, _part(place / file.name), file.size, file.sha256, PATIENCE)
        pooch.get_logger().setLevel("WARNING")  # our own notice and bar say it
        known, urls = {file.name: f"sha256:{file.sha256}"}, {file.name: file.addresses[0]}
        store = pooch.create(place, base_url="", registry=known, urls=urls)
        try:
            store.fetch(file.name, downloader=download)
        except DataError:
            raise
        except OSError as error:
            raise DataError(f"{place / file.name} cannot be written ({error}); check its folder or set FMLAB_DATA.") from error


@contextmanager
def _alone(entry: Entry, file: File) -> Iterator[None]:
    """Hold the file's lock; it is the system's, so it goes when its process dies."""
    try:
        folder(entry).mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder(entry) / f".{file.name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"{file.name} is being fetched by another process; waiting for it.")
            lock.acquire()
    except OSError as error:
        raise DataError(f"{folder(entry)} cannot be written ({error}); check its rights or set FMLAB_DATA.") from error
    try:
        yield
    finally:
        lock.release()


def _unpack(entry: Entry, file: File) -> None:
    """Unpack an archive beside itself, once; the folder is named after the archive without its suffixes."""
    target = folder(entry) / _stem(file.name)
    with _alone(entry, file):
        if not target.exists():
            need_space(folder(entry), file.unpacked, f"Unpacking {file.name}")
            extract(folder(entry) / file.name, target, limit=file.unpacked)


def _stem(name: str) -> str:
    for suffix in (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"):
        if name.endswith(suffix):
            return name.removesuffix(suffix)
    return name + ".unpacked"


def _verify_file(entry: Entry, file: File) -> Check:
    place = folder(entry) / file.name
    if _intact(entry, file):
        return Check(entry.name, file.name, "right")
    if place.exists():
        return Check(entry.name, file.name, "corrupt", _aside(place))
    return Check(entry.name, file.name, "partial" if _part(place).exists() else "absent")


def _aside(place: Path) -> Path:
    """Rename a corrupt file so that it neither counts nor is lost."""
    target = place.with_name(f"{place.name}.corrupt-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:4]}")
    place.rename(target)
    return target


def _copy_in(path: Path, entry: Entry, file: File) -> list[Path]:
    """Copy one recognised file into the cache unless it is there; the copy is hashed before it gets its name."""
    place = folder(entry) / file.name
    if _intact(entry, file):
        return []
    with _alone(entry, file):
        need_space(place.parent, file.size, file.name)
        copy = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
        try:
            shutil.copyfile(path, copy)
            if sha256_of(copy) != file.sha256:
                raise DataError(f"{path} changed or was damaged while it was copied; check the disk it lies on and try again.")
            if place.exists():
                _aside(place)
            os.replace(copy, place)
        except OSError as error:
            raise error if isinstance(error, DataError) else DataError(f"{path} cannot be copied to {place}: {error}.") from error
        finally:
            copy.unlink(missing_ok=True)
    return [place]
