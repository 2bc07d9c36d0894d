"""Stored runs of the claims' experiments: one JSON line a run, only ever added, in a file per claim.

What ships lies in ``fmlab/lessons/ledger`` and is written by data_scripts; what a learner runs, in ``FMLAB_DATA/ledger``.
A line says what was measured and on what. It has no verdict, and one that somebody types into it is not read.
"""

from __future__ import annotations

import json
import math
import subprocess
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

import fmlab
from fmlab.errors import ClaimError
from fmlab.hardware import hardware
from fmlab.lessons.claims.declared import find
from fmlab.lessons.files import write_bytes
from fmlab.settings import data_folder, profile

SHIPPED = Path(__file__).resolve().parents[1] / "ledger"
Source = Literal["shipped", "own", "all"]


@dataclass(frozen=True)
class Run:
    """One run of a claim's experiment with one seed.

    claim: "C05". seed: of the whole experiment. profile: of FMLAB_PROFILE. hardware: as ``hardware()`` says. date: UTC, ISO 8601.
    version: of fmlab. values: the paired effect by case, or by "case/structure", in the claim's unit; positive supports it.
    Name a case the same in every seed that meets it again. commit: of the clone, "" outside of one. command: repeats the run.
    details: further numbers, anything that JSON holds. seconds: of the process that ended the run, where it was measured; what a
    stopped one had trained before is not in it.

    Raises ClaimError for an unknown claim, no values, a value that is not a finite number, or a date without its offset to UTC.
    """

    claim: str
    seed: int
    profile: str
    hardware: str
    date: str
    version: str
    values: Mapping[str, float]
    commit: str = ""
    command: str = ""
    details: Mapping[str, object] = field(default_factory=dict)
    seconds: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "claim", find(self.claim).id)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ClaimError(f"A run of {self.claim} has the seed {self.seed!r}; give a whole number, 0 or more.")
        for name in ("profile", "hardware", "date", "version", "commit", "command"):
            if not isinstance(getattr(self, name), str):
                raise ClaimError(f"A run of {self.claim} has the {name} {getattr(self, name)!r}; give a text.")
        if self.seconds is not None and (isinstance(self.seconds, bool) or not isinstance(self.seconds, int | float)
                                         or not 0 <= self.seconds < math.inf):
            raise ClaimError(f"A run of {self.claim} has the seconds {self.seconds!r}; give a number of 0 or more, or None.")
        object.__setattr__(self, "date", _utc(self.date, self.claim))
        object.__setattr__(self, "values", _checked_values(self.values, self.claim))
        try:  # what is read back has to be equal to what was recorded: tuples become lists, and keys texts
            object.__setattr__(self, "details", json.loads(json.dumps(dict(self.details), allow_nan=False)))
        except (TypeError, ValueError) as error:
            raise ClaimError(f"The details of a run of {self.claim} do not fit into JSON ({error}); give finite numbers, texts, "
                             "lists and mappings of them.") from error

    @classmethod
    def now(cls, claim: str, seed: int, values: Mapping[str, float], command: str = "",
            details: Mapping[str, object] | None = None) -> Run:
        """A run that has just ended in this process: profile, hardware, date, version and commit are read from here."""
        date = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(claim, seed, profile().name, hardware(), date, fmlab.__version__, values, _commit(), command, details or {})

    def by_case(self) -> dict[str, float]:
        """Case -> mean effect. A case is what stands before the first "/": structures of one body are no independent evidence."""
        found: dict[str, list[float]] = {}
        for key, value in self.values.items():
            found.setdefault(key.split("/", 1)[0], []).append(value)
        return {case: math.fsum(each) / len(each) for case, each in found.items()}

    @property
    def mean(self) -> float:
        """The mean effect over cases."""
        cases = self.by_case().values()
        return math.fsum(cases) / len(cases)

    def line(self) -> str:
        """The run as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True, allow_nan=False)


def own_folder() -> Path:
    """Where the learner's own runs are kept."""
    return data_folder() / "ledger"


def record(run: Run, folder: Path | None = None) -> Path:
    """Add a run to its claim's file in ``folder`` (default: the learner's own) and return the file.

    Lines that are there stay as they are, whatever they hold; a reader sees the file before or after, and of two processes that
    record at once neither loses its line. Raises ClaimError if the file cannot be read or written.
    """
    path = (folder or own_folder()) / f"{run.claim}.jsonl"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=30):
            before = path.read_bytes() if path.exists() else b""
            gap = b"" if before.endswith(b"\n") or not before else b"\n"  # a line cut short must not swallow the new one
            write_bytes(path, before + gap + run.line().encode() + b"\n")
    except (OSError, Timeout) as error:
        raise ClaimError(f"The run of {run.claim} cannot be kept in {path} ({error}); see to its rights and the disk.") from error
    return path


def runs(claim_id: str, source: Source = "shipped") -> tuple[Run, ...]:
    """The stored runs of a claim: those that ship, the learner's own (FMLAB_DATA), or all. () if there are none.

    A line that cannot be understood is left out with a warning that names it. Raises ClaimError for an unknown claim or source,
    or a file that cannot be read.
    """
    folders = {"shipped": (SHIPPED,), "own": (own_folder(),), "all": (SHIPPED, own_folder())}
    if source not in folders:
        raise ClaimError(f"There is no source {source!r} of runs; choose one of {', '.join(folders)}.")
    name = f"{find(claim_id).id}.jsonl"
    return tuple(run for folder in folders[source] for run in _read(folder / name))


def _read(path: Path) -> list[Run]:
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ClaimError(f"The ledger {path} cannot be read ({error}); see to its rights, or move it away.") from error
    found = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                found.append(_run(line, path.stem))
            except (TypeError, ValueError, RecursionError) as error:  # JSON, UTF-8 and ClaimError are all ValueErrors
                warnings.warn(f"Line {number} of {path} is no run of {path.stem} and is left out: {error}", stacklevel=4)
    return found


def _run(line: bytes, claim: str) -> Run:
    """A line as a run; what a later version or a hand added, such as a verdict, is not read. Raises ValueError or TypeError."""
    row = json.loads(line.decode())
    if not isinstance(row, dict) or row.get("claim") != claim:
        raise ValueError("it names no claim, or another one.")
    return Run(**{name: row[name] for name in (each.name for each in fields(Run)) if name in row})


def _checked_values(values: Mapping[str, float], claim: str) -> dict[str, float]:
    if not isinstance(values, Mapping) or not values:
        raise ClaimError(f"A run of {claim} has no values; give the effect of at least one case as {{case: number}}.")
    checked = {}
    for case, value in values.items():
        if not isinstance(case, str) or not case.split("/", 1)[0].strip():
            raise ClaimError(f"A run of {claim} has a case called {case!r}; give a text such as 'body 7' or 'body 7/liver'.")
        try:
            checked[case] = math.nan if isinstance(value, bool | str) else float(value)
        except (TypeError, ValueError, OverflowError):
            checked[case] = math.nan
        if not abs(checked[case]) < 1e100:  # sums of larger ones could overflow
            raise ClaimError(f"A run of {claim} has the effect {value!r} for {case!r}; give a finite number, and "
                             "leave out what was not scored.")
    return checked


def _utc(date: str, claim: str) -> str:
    try:
        moment = datetime.fromisoformat(date)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ClaimError(f"A run of {claim} has the date {date!r}; give it as 2026-11-24T10:00:00+00:00, with the offset to UTC.")
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def _commit() -> str:
    """The clone's commit, with "+" if its files were changed since; "" outside of a clone or without git."""
    clone = Path(__file__).resolve().parents[3]
    if not (clone / ".git").exists():
        return ""
    commit = _output(["git", "-C", str(clone), "rev-parse", "--short=12", "HEAD"])
    # The ledger itself does not count: else the first seed's line would mark every later seed as changed.
    changed = _output(["git", "-C", str(clone), "status", "--porcelain", "--", ".", ":!fmlab/lessons/ledger"])
    return f"{commit}+" if commit and changed else commit


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
