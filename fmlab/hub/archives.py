"""Unpack zip and tar archives from strangers: nothing is written outside the folder, no links, no devices, no bombs.

Members are copied byte by byte into a temporary folder, counting what really arrives, and the folder is renamed when all is well.
Links inside a tar are unpacked as copies of what they point to, so that no link ever lies on the disk to be written through.
"""

from __future__ import annotations

import errno
import lzma
import os
import posixpath
import re
import shutil
import stat
import tarfile
import uuid
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from fmlab.errors import DataError
from fmlab.hub.download import need_space, readable

Member = tuple[str, IO[bytes] | None]  # a checked relative path with its bytes; None for a folder

BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, KeyError,
          UnicodeError, ValueError)


def extract(archive: str | Path, folder: str | Path, limit: int = 20 * 10**9, most_files: int = 200_000) -> Path:
    """Unpack a .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz into a new folder; returns the folder.

    limit: bytes that may come out in total. most_files: members that may come out. The folder appears only when complete.

    Raises DataError, leaving nothing behind, if the folder exists, the archive is broken, or a member is dangerous (absolute
    path, "..", link out of the folder, device) or too much.
    """
    archive, folder = Path(archive), Path(folder)
    if folder.exists():
        raise DataError(f"{folder} is already there, so {archive.name} was not unpacked; remove or rename the folder first.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = folder.parent / f".{folder.name}.{uuid.uuid4().hex}"  # in the same place, so that the rename is one step
    try:
        work.mkdir()
        _unpack(archive, work, limit, most_files)
        os.rename(work, folder)
    except BROKEN as error:
        raise DataError(f"{archive} is broken or not a zip or tar file ({error}); fetch it again.") from error
    except OSError as error:
        raise _explained(error, archive, folder) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def _unpack(archive: Path, work: Path, limit: int, most_files: int) -> None:
    left = limit
    with archive.open("rb") as file:  # zipfile.is_zipfile would take a tar whose last member is a zip for a zip
        members = _zip_members(archive) if file.read(4) in (b"PK\x03\x04", b"PK\x05\x06") else _tar_members(archive)
    for count, (name, source) in enumerate(members, start=1):
        if count > most_files:
            raise DataError(f"{archive} holds more than {most_files} files; nothing was unpacked, do not trust it unseen.")
        target = work.joinpath(*name.split("/"))
        if source is None:
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with source, open(target, "xb") as out:  # "x": two members of one name are refused
            left -= _copy(source, out, left, archive, limit)


def _copy(source: IO[bytes], out: IO[bytes], left: int, archive: Path, limit: int) -> int:
    """Copy a member, believing its bytes and not its header; returns their number."""
    written = 0
    while chunk := source.read(1 << 18):
        written += len(chunk)
        if written > left:
            raise DataError(f"{archive} unpacks to more than {readable(limit)}; nothing was unpacked, do not trust it unseen.")
        if written % (1 << 26) < len(chunk):  # now and then
            need_space(Path(out.name).parent, 1 << 26, f"Unpacking {archive.name}")
        out.write(chunk)
    return written


def _zip_members(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as bundle:
        for info in bundle.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refused(archive, info.filename, "is a link or a device")
            name = _safe_name(info.orig_filename, archive)
            if name:
                yield name, None if info.is_dir() else bundle.open(info)


def _tar_members(archive: Path) -> Iterator[Member]:
    with tarfile.open(archive) as bundle:
        for info in bundle:
            name = _safe_name(info.name, archive)
            if not (info.isreg() or info.isdir() or info.islnk() or info.issym()):
                raise _refused(archive, info.name, "is a device or a pipe")
            if not name and info.isdir():
                continue  # "./"
            if info.islnk() or info.issym():
                _check_link(info, archive)
            yield name, None if info.isdir() else _bytes(bundle, info, archive)


def _check_link(info: tarfile.TarInfo, archive: Path) -> None:
    """A link must point to a member of the same archive: hard links from its top, symbolic ones from where they lie."""
    base = "" if info.islnk() else posixpath.dirname(info.name)
    target = posixpath.normpath(posixpath.join(base, info.linkname))
    if target.split("/")[0] == ".." or _rooted(info.linkname) or _rooted(target):
        raise _refused(archive, info.name, f"is a link to {info.linkname!r}, outside the folder")


def _bytes(bundle: tarfile.TarFile, info: tarfile.TarInfo, archive: Path) -> IO[bytes]:
    """The member's bytes; for a link those of its target, which must be a file of this archive."""
    try:
        source = bundle.extractfile(info)
    except (KeyError, RecursionError) as error:
        raise _refused(archive, info.name, f"is a link to {info.linkname!r}, which the archive does not hold") from error
    if source is None:
        raise _refused(archive, info.name, f"is a link to {info.linkname!r}, which is not a file")
    return source


def _safe_name(name: str, archive: Path) -> str:
    """The member's path with "." steps removed ("" for the top folder); refuses whatever could leave the folder on any system."""
    steps = name.split("/")
    if _rooted(name) or ".." in steps or "\\" in name or "\0" in name:
        raise _refused(archive, name, "has a path that leaves the folder")
    return "/".join(step for step in steps if step not in ("", "."))


def _rooted(name: str) -> bool:
    """Absolute on Unix or Windows, drive letters and network shares included."""
    return name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) is not None


def _refused(archive: Path, member: str, why: str) -> DataError:
    return DataError(f"{archive}: the member {member!r} {why}; nothing was unpacked, do not trust this archive.")


def _explained(error: OSError, archive: Path, folder: Path) -> DataError:
    """Our sentence for an error of the file system (DataError is one of them, and is already a sentence)."""
    if isinstance(error, DataError):
        return error
    if isinstance(error, FileExistsError):
        return DataError(f"{archive} holds two members of the same name, or {folder} has just appeared; nothing was unpacked.")
    if error.errno == errno.ENOSPC:
        return DataError(f"The disk is full, so {archive.name} was not unpacked; make room or set FMLAB_DATA to another disk.")
    return DataError(f"{archive} cannot be unpacked into {folder}: {error}; check both.")
