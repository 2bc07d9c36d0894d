"""A small downloader: resumes by HTTP Range, tries again, knows mirrors, and hands over only what has the right sha256.

The bytes gather in NAME.part, which survives a cut, a stall, a full disk and Ctrl-C, and is where the next attempt goes on.
``Download`` has the signature of a pooch downloader, so pooch moves the finished file to its final name.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from requests.exceptions import RequestException
from tqdm.auto import tqdm
from urllib3.exceptions import HTTPError

from fmlab.errors import DataError

PASSING = (408, 425, 429, 500, 502, 503, 504)  # HTTP answers that often go away when asked again


@dataclass(frozen=True)
class Patience:
    """How long to try. attempts: in a row without a new byte, per address. stall: seconds of silence that count as a cut.

    pause: seconds before the first repetition, doubled each time up to longest. chunk: bytes a read. spare: free bytes to leave.
    """

    attempts: int = 4
    stall: float = 30.0
    pause: float = 0.5
    longest: float = 20.0
    chunk: int = 1 << 16
    spare: int = 64 << 20


class _TryAgain(Exception):
    """This attempt failed; the same address may still work."""


class _GiveUp(Exception):
    """This address will not work; another may."""


@dataclass(frozen=True)
class Download:
    """Fetches one file of known size (bytes) and sha256 from the first of the addresses that has it; gathers it in ``part``."""

    addresses: tuple[str, ...]
    part: Path
    size: int
    sha256: str
    patience: Patience = Patience()

    def __call__(self, url: str, output_file: str | Path, pooch: Any = None) -> None:
        """pooch's downloader protocol: put the verified file at output_file; DataError if no address gives it.

        pooch's own url is the first of our addresses, so it is not needed here.
        """
        label = self.part.name.removesuffix(".part")
        began = time.monotonic()
        with tqdm(total=self.size, unit="B", unit_scale=True, desc=label, leave=False, disable=None) as bar:
            self._bring(bar)
        os.replace(self.part, output_file)
        print(f"{label}: {readable(self.size)} in {time.monotonic() - began:.1f} s, sha256 is right.")

    def _bring(self, bar: tqdm) -> None:
        """Fill the part file from the addresses in turn, until it is whole and right."""
        reasons = []
        for address in self.addresses:
            try:
                self._insist(address, bar)
                return
            except _GiveUp as reason:
                reasons.append(f"{address} {reason}")
        kept = f"; {readable(_length(self.part))} are kept and the next attempt goes on from there" if _length(self.part) else ""
        raise DataError(f"{self.part.name.removesuffix('.part')} could not be fetched: {'; '.join(reasons)}{kept}. "
                        "Check the network and try again, or bring the file by `fmlab data seed FOLDER`.")

    def _insist(self, address: str, bar: tqdm) -> None:
        """Ask one address until the file is whole; give up after `attempts` in a row that brought nothing new."""
        furthest, fruitless, asked = _length(self.part), 0, 0
        while True:
            try:
                resumed = _length(self.part) > 0
                if _length(self.part) != self.size:
                    self._request(address, bar)
                self._check(resumed)
                return
            except _TryAgain as reason:
                asked += 1
                fruitless = 0 if _length(self.part) > furthest else fruitless + 1
                furthest = max(furthest, _length(self.part))
                # the second limit ends a server that gives a few bytes each time
                if fruitless >= self.patience.attempts or asked >= 20 * self.patience.attempts:
                    raise _GiveUp(f"{reason} (asked {asked} times)") from reason
                time.sleep(min(self.patience.longest, self.patience.pause * 2**fruitless))

    def _request(self, address: str, bar: tqdm) -> None:
        """One HTTP request: the rest of the file if the server can, else all of it."""
        have = _length(self.part)
        if have > self.size:  # left by an older version of the file
            self.part.unlink()
            have = 0
        need_space(self.part.parent, self.size - have + self.patience.spare, self.part.name)
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        try:
            with requests.get(address, headers=headers, stream=True, timeout=self.patience.stall) as answer:
                start = self._starts_at(answer, have)
                self._receive(answer, start, bar)
        except (RequestException, HTTPError) as error:
            raise _TryAgain(f"broke off or fell silent ({_short(error)})") from error

    def _starts_at(self, answer: requests.Response, have: int) -> int:
        """Where in the file this answer's bytes belong, from its status and lengths; refuses what cannot be our file."""
        status = answer.status_code
        if status in PASSING:
            raise _TryAgain(f"answered {status} {answer.reason}")
        if status == 416:  # the server's file ends before our part does
            self.part.unlink(missing_ok=True)
            raise _TryAgain("has no bytes after those we have, so it was asked for the whole file")
        if status == 206:
            start, total = _content_range(answer.headers.get("Content-Range", ""))
            self._same_length(total)
            if start != have:
                self.part.unlink(missing_ok=True)
                raise _TryAgain("sent another part than was asked for")
            return start
        if status != 200:
            raise _GiveUp(f"answered {status} {answer.reason}")
        self._same_length(answer.headers.get("Content-Length"))
        return 0  # a server that ignores Range sends everything from the start

    def _same_length(self, theirs: str | None) -> None:
        if theirs is not None and theirs.isdigit() and int(theirs) != self.size:
            raise _GiveUp(f"has a file of {theirs} bytes where {self.size} are registered")

    def _receive(self, answer: requests.Response, start: int, bar: tqdm) -> None:
        """Write the body to the part file from byte `start` on; never more than the file's size."""
        bar.n = start
        done = start
        with _open_part(self.part, "ab" if start else "wb") as out:
            for chunk in answer.raw.stream(self.patience.chunk, decode_content=False):
                done += len(chunk)
                if done > self.size:
                    break
                _write(out, chunk)
                bar.update(len(chunk))
        if done > self.size:
            self.part.unlink()
            raise _GiveUp(f"sent more than the registered {self.size} bytes")
        if done < self.size:
            raise _TryAgain(f"stopped after {done} of {self.size} bytes")

    def _check(self, resumed: bool) -> None:
        """The sha256 of the whole part; wrong bytes are dropped, and after a resume the file gets one fresh start."""
        found = sha256_of(self.part)
        if found == self.sha256:
            return
        self.part.unlink()
        if resumed:
            raise _TryAgain("gave a rest that does not fit the part we had, so it was asked for the whole file")
        raise _GiveUp(f"serves other bytes than registered (sha256 {found[:9]}..., not {self.sha256[:9]}...); they were dropped")


def sha256_of(path: str | Path) -> str:
    """The sha256 of a file as 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def need_space(folder: Path, needed: int, purpose: str) -> None:
    """DataError if the disk of an existing folder has fewer than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DataError(f"{purpose} needs {readable(needed)} and the disk of {folder} has {readable(free)} free; "
                        "make room, or set FMLAB_DATA to a folder on another disk.")


def readable(size: int) -> str:
    """Bytes for people: 2206612 gives "2.2 MB"."""
    amount, units = float(size), ["bytes", "kB", "MB", "GB", "TB"]
    while amount >= 999.5 and len(units) > 1:
        amount /= 1000
        units.pop(0)
    return f"{amount:.0f} {units[0]}" if units[0] == "bytes" or amount >= 99.5 else f"{amount:.1f} {units[0]}"


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _content_range(header: str) -> tuple[int, str]:
    """"bytes 5-9/10" gives (5, "10"); a header that makes no sense gives a start of -1, which fits nothing."""
    span, _, total = header.removeprefix("bytes ").partition("/")
    first = span.split("-")[0]
    return (int(first) if first.isdigit() else -1), total


def _open_part(part: Path, mode: str) -> Any:
    try:
        return open(part, mode, buffering=0)  # what arrived is on the disk, whatever happens next
    except OSError as error:
        raise DataError(f"{part} cannot be written ({error.strerror}); check the folder's rights or set FMLAB_DATA.") from error


def _write(out: Any, chunk: bytes) -> None:
    """Write a chunk; a full disk is an error of its own, not of the network."""
    rest = memoryview(chunk)
    try:
        while rest:
            rest = rest[out.write(rest):]
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        why = "the disk is full" if full else error.strerror
        raise DataError(f"{out.name} cannot be written: {why}; make room or set FMLAB_DATA to another disk, then ask again: "
                        "the part that arrived is kept.") from error


def _short(error: BaseException) -> str:
    """The innermost reason of a network error, without the nested reprs."""
    while isinstance(inner := getattr(error, "reason", None) or (error.args[0] if error.args else None), BaseException):
        error = inner
    return f"{type(error).__name__}: {error}"[:200]
