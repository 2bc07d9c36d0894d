"""Where the real data sets come from, and one command to get one: ``python -m data_scripts.msd_spleen``.

Each set has a script of its own that holds a ``Source`` and nothing else. Addresses, checksums and licences were looked up, not
opened: ``checked`` says where each set's were seen. Names and passwords are never asked for: where an owner wants an account, the
script says what to do there and goes on from the file or folder that you bring (``--from``).
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from data_scripts.downloads import download, has_checksum
from data_scripts.layouts import Layout, Pair, find_pairs
from fmlab.errors import DataError, FmlabError
from fmlab.hub.archives import extract
from fmlab.hub.download import Patience, need_space, readable
from fmlab.settings import data_folder
from fmlab.templates import TEMPLATES

Consent = bool | Callable[[str], bool] | None
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")


class File(NamedTuple):
    """One file of a data set.

    name: its path in the folder. addresses: where it can be had, best first; () where only an account holder can. size: bytes,
    None where not published. checksum: "sha256:..." or "md5:..." as published, None where none was found.
    """

    name: str
    addresses: tuple[str, ...]
    size: int | None = None
    checksum: str | None = None


@dataclass(frozen=True)
class Source:
    """A real data set: what it is called, how to get it, on which terms, and how its files pair up.

    name: key of ``fmlab.templates.TEMPLATES`` and name of its script. page: where its owners describe it. licence: a sentence.
    citation, doi: what to cite. by_hand: what the user must do, "" where a download is enough. modality: "CT" or "MR". note: what
    to know before use. checked: where the facts were seen (November 2026).
    """

    name: str
    page: str
    files: tuple[File, ...]
    licence: str
    citation: str
    doi: str
    layout: Layout
    checked: str
    by_hand: str = ""
    modality: str = "CT"
    note: str = ""

    @property
    def title(self) -> str:
        """As its authors call it."""
        return TEMPLATES[self.name].title

    @property
    def open_files(self) -> tuple[File, ...]:
        """The files that can be fetched without an account."""
        return tuple(file for file in self.files if file.addresses)

    def pairs(self, folder: str | Path) -> tuple[Pair, ...]:
        """The labelled cases below a folder. Raises DataError."""
        return find_pairs(self.layout, folder)


def find(name: str) -> Source:
    """The source of that name; DataError with the nearest names if there is none."""
    if name not in TEMPLATES:
        near = get_close_matches(name, TEMPLATES, n=3, cutoff=0.4) or sorted(TEMPLATES)
        raise DataError(f"No data set is called {name!r}; did you mean {' or '.join(near)}?")
    return importlib.import_module(f"data_scripts.{name}").SOURCE


def default_folder(source: Source) -> Path:
    """Where a set is put unless told otherwise: FMLAB_DATA/sources/NAME."""
    return data_folder() / "sources" / source.name


def notice(source: Source, folder: Path) -> str:
    """What is shown before a download: title, size, licence, citation, address, place, and what is left to do by hand."""
    wanted = source.open_files
    known = [file.size for file in wanted if file.size]
    size = f"{len(wanted)} file{'' if len(wanted) == 1 else 's'}"
    size += f", {readable(sum(known))}" if len(known) == len(wanted) and wanted else ", size not published" if wanted else ""
    checked = sum(file.checksum is not None for file in wanted)
    citation = source.citation + (f" https://doi.org/{source.doi}" if source.doi else "")
    rows = [("page", source.page), ("licence", source.licence), ("cite", citation),
            ("download", f"{size}, {checked} with a published checksum" if wanted else "none without an account"),
            ("to", str(folder)), ("by hand", source.by_hand), ("note", source.note), ("checked", source.checked)]
    return "\n".join([f"{source.name}: {source.title}", *(f"  {label:9} {text}" for label, text in rows if text)])


def fetch(source: Source, folder: str | Path | None = None, confirm: Consent = None, given: str | Path | None = None,
          patience: Patience = Patience()) -> Path:  # noqa: B008  (frozen)
    """Get a data set and return the folder that holds it, unpacked; what is there already is not fetched again.

    folder: where to, by default ``default_folder``. confirm: True agrees to the terms shown, False declines, a callable gets the
    text and answers, None asks in a terminal. given: an archive or folder that the user brings, instead of a download.

    Raises DataError if nobody agrees, the bytes are not those published, or there is nothing to download.
    """
    folder = Path(folder).expanduser() if folder else default_folder(source)
    if given is not None:
        return _take(source, Path(given).expanduser(), folder)
    if not source.open_files:
        raise DataError(f"{source.name} cannot be fetched by a script: {source.by_hand} Page: {source.page} . Then call again "
                        "with --from PATH (the archive or the folder).")
    missing = [file for file in source.open_files if not _there(file, folder)]
    if missing:
        _agree(source, folder, confirm)
    for file in missing:
        target = folder / file.name
        if target.exists() and not has_checksum(target, file.checksum or ""):
            raise DataError(f"{target} is there with other bytes than its owner published; move it away and call again.")
        download(file.addresses, target, file.size, file.checksum, patience)
        if file.name.endswith(ARCHIVES):
            _unpack(target, _unpacked(target))
    return folder


def _there(file: File, folder: Path) -> bool:
    """Whether a file has been fetched before: an archive when it is unpacked, any other file when it has its final name."""
    target = folder / file.name
    return _unpacked(target).is_dir() if file.name.endswith(ARCHIVES) else target.is_file()


def _unpacked(archive: Path) -> Path:
    """The folder that an archive is unpacked to: beside it, without its suffix."""
    suffix = max((end for end in ARCHIVES if archive.name.endswith(end)), key=len)
    return archive.with_name(archive.name.removesuffix(suffix))


def _unpack(archive: Path, folder: Path) -> None:
    size = archive.stat().st_size
    need_space(archive.parent, size, f"Unpacking {archive.name}")
    print(f"unpacking {archive.name} ...")
    extract(archive, folder, limit=8 * size + 10**9)  # NIfTI files are packed already; the widest known, LiTS, grows fourfold


def _take(source: Source, given: Path, folder: Path) -> Path:
    """Go on from what the user brought: a folder as it is, an archive unpacked into the set's folder."""
    if given.is_dir():
        return given
    if not given.is_file():
        raise DataError(f"{given} is not there; name the archive or the folder of {source.name} that you brought.")
    if not given.name.endswith(ARCHIVES):
        raise DataError(f"{given} is no {', '.join(ARCHIVES)} file; unpack it yourself and name its folder.")
    known = next((file for file in source.files if file.name == given.name and file.checksum), None)
    if known and not has_checksum(given, known.checksum):
        raise DataError(f"{given} has other bytes than its owner published ({known.checksum}); fetch it again.")
    target = folder / _unpacked(given).name
    if not target.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        _unpack(given, target)
    return folder


def _agree(source: Source, folder: Path, confirm: Consent) -> None:
    """Show the terms and get a yes, or raise DataError."""
    text = notice(source, folder)
    if callable(confirm):
        agreed = confirm(text)
    else:
        print(text)
        if confirm is None and not (sys.stdin and sys.stdin.isatty()):
            raise DataError(f"Nobody can be asked about the terms of {source.name}; read them above and add --yes to agree.")
        agreed = confirm if confirm is not None else _yes("Agree and download? [y/N] ")
    if not agreed:
        raise DataError(f"{source.name} was not fetched: its terms were declined.")


def _yes(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:  # Ctrl-D is no yes
        return False


def main(source: Source, arguments: list[str] | None = None) -> int:
    """The command line of one set's script; 0, or 1 after a sentence on what is missing."""
    parser = argparse.ArgumentParser(prog=f"python -m data_scripts.{source.name}", description=f"Fetch {source.title}.")
    parser.add_argument("--folder", type=Path, help=f"where to put it; default: {default_folder(source)}")
    parser.add_argument("--yes", action="store_true", help="agree to the terms without being asked")
    parser.add_argument("--from", dest="given", type=Path, metavar="PATH", help="an archive or folder that you have already")
    parser.add_argument("--list", action="store_true", help="show terms and files, fetch nothing")
    given = parser.parse_args(arguments)
    folder = given.folder or default_folder(source)
    if given.list:
        print(notice(source, folder))
        for file in source.files:
            print(f"  {file.name}  {readable(file.size) if file.size else '-'}  {file.checksum or '-'}  "
                  f"{file.addresses[0] if file.addresses else 'by hand'}")
        return 0
    try:
        if not source.open_files and given.given is None:
            print(notice(source, folder))
        place = fetch(source, folder, True if given.yes else None, given.given)
        if source.by_hand and given.given is None:
            print(f"What is left to do: {source.by_hand}")
        print(f"{len(source.pairs(place))} labelled scans in {place}; next: python -m data_scripts.prepare {source.name} {place}")
    except FmlabError as error:
        print(error, file=sys.stderr)
        return 1
    return 0
