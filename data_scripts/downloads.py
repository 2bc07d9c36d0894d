"""The package's resuming download for files whose owners publish another checksum than sha256, or none, or no size.

``fmlab.hub.download`` asks for both, because the course's own registry has both. Everything that happens on the wire is its code.
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from filelock import FileLock
from tqdm.auto import tqdm

from fmlab.errors import DataError
from fmlab.hub.download import Download, Patience, readable

ALGORITHMS = {"md5": 32, "sha256": 64}  # and their number of hex digits


@dataclass(frozen=True)
class Published(Download):
    """A ``Download`` that is checked by ``checksum``: "sha256:...", "md5:...", or "" where only the length can be compared."""

    checksum: str = ""

    def __call__(self, url: str, output_file: str | Path, pooch: Any = None) -> None:
        """Put the checked file at output_file; DataError if no address gives it."""
        label = self.part.name.removesuffix(".part")
        with tqdm(total=self.size, unit="B", unit_scale=True, desc=label, leave=False, disable=None) as bar:
            self._bring(bar)
        os.replace(self.part, output_file)
        said = f"{self.checksum.split(':')[0]} is right" if self.checksum else "in full length (its owner publishes no checksum)"
        print(f"{label}: {readable(self.size)}, {said}.")

    def _check(self, resumed: bool) -> None:
        if self.checksum.startswith("sha256:"):
            super()._check(resumed)
        elif not has_checksum(self.part, self.checksum):
            self.part.unlink()
            raise DataError(f"{self.part.name.removesuffix('.part')} arrived with other bytes than its owner published "
                            f"({self.checksum}); they were dropped, so ask again, and if that repeats tell us.")


def has_checksum(path: Path, checksum: str) -> bool:
    """Whether a file has this checksum ("md5:..." or "sha256:..."); True where there is none to compare with."""
    if not checksum:
        return True
    algorithm, _, digits = checksum.partition(":")
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest() == digits


def download(addresses: tuple[str, ...], target: Path, size: int | None, checksum: str | None, patience: Patience) -> None:
    """Bring one file to ``target``, resuming what an earlier call left in target.part; nothing if it is there already.

    size: bytes, or None to ask the server. Raises DataError.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{target.parent} cannot be written ({error}); name another --folder.") from error
    with FileLock(target.with_name(f".{target.name}.lock")):  # two processes never write to one part file
        if target.exists():
            return
        checksum = checksum or ""
        sha256 = checksum.removeprefix("sha256:") if checksum.startswith("sha256:") else ""
        part, length = target.with_name(target.name + ".part"), size or remote_size(addresses, patience)
        Published(addresses, part, length, sha256, patience, checksum)(addresses[0], target)


def remote_size(addresses: tuple[str, ...], patience: Patience) -> int:
    """How many bytes the first address that answers says the file has; DataError if none says."""
    reasons = []
    for address in addresses:
        for attempt in range(patience.attempts):
            time.sleep(min(patience.longest, patience.pause * 2**attempt) if attempt else 0)
            try:
                plain = {"Accept-Encoding": "identity"}
                with requests.get(address, headers=plain, stream=True, timeout=patience.stall) as answer:
                    length = answer.headers.get("Content-Length", "")
                    if answer.status_code == 200 and length.isdigit():
                        return int(length)
                    reason = f"{address} answered {answer.status_code} {answer.reason}, with no length"
            except requests.RequestException as error:
                reason = f"{address} cannot be reached ({type(error).__name__})"
        reasons.append(reason)
    raise DataError(f"{'; '.join(reasons)}. Check the network, or bring the file by hand and name it with --from.")
