"""A claim's experiment again, on this machine and into the learner's own ledger: ``fmlab claims --rerun C05 --seeds 0 1``.

Trainings are kept in FMLAB_DATA/trainings, so what was stopped goes on where it was when it is asked for again, and a seed that
the ledger has already is not run twice. The ledger that ships is never written here; ``data_scripts.run_claims`` does that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from importlib import import_module
from inspect import signature
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from types import ModuleType

import fmlab
from fmlab.errors import ClaimError
from fmlab.hardware import fast_precision
from fmlab.lessons.claims.declared import find
from fmlab.lessons.claims.ledger import Run, Source, record, runs
from fmlab.lessons.claims.shown import compared
from fmlab.settings import data_folder, profile

EXPERIMENTS = {path.stem.upper(): f"fmlab.lessons.experiments.{path.stem}"
               for path in sorted((Path(__file__).resolve().parents[1] / "experiments").glob("c[0-9][0-9].py"))}
"""Claim -> its experiment: a module with ``run(seed, command=...) -> Run``."""


def rerun(claim_id: str, seeds: Sequence[int] = (0,), again: bool = False, tell: Callable[[str], None] = print) -> str:
    """Run a claim's experiment for these seeds into the learner's own ledger, and return both verdicts side by side.

    What it costs is told first. A seed that the own ledger has of this profile and version is left out, unless ``again``.
    Raises ClaimError for an unknown claim, a claim without an experiment, or a seed that is no whole number of 0 or more.
    """
    claim = find(claim_id).id
    experiment(claim)
    if wrong := [seed for seed in seeds if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0]:
        raise ClaimError(f"{wrong[0]!r} is no seed; give whole numbers of 0 or more, such as --seeds 0 1 2.")
    kept = {} if again else {run.seed: run for run in runs(claim, "own")
                             if (run.profile, run.version) == (profile().name, fmlab.__version__)}
    asked = list(dict.fromkeys(seeds))
    left = [seed for seed in asked if seed not in kept]
    for seed in asked:
        if seed in kept:
            tell(f"{claim}, seed {seed}: in your ledger since {kept[seed].date[:10]}, not run again; --again runs it anew.")
    if left:
        tell(price(claim, len(left)))
    for seed in left:
        tell(f"{claim}, seed {seed} ...")
        run = measured(claim, seed, f"fmlab claims --rerun {claim} --seeds {seed}")
        tell(f"{claim}, seed {seed}: mean {run.mean:.3f}, {duration(run.seconds)}, kept in {record(run)}")
    return compared(claim)


def seeds_of(words: Sequence[str]) -> list[int]:
    """Seeds as they are typed, "0", "1" or "0,1"; [0] if there are none. ClaimError for a word that is none."""
    parts = [part for word in words for part in word.replace(",", " ").split()]
    if wrong := [part for part in parts if not (part.isascii() and part.isdigit())]:
        raise ClaimError(f"{wrong[0]!r} is no seed; give whole numbers of 0 or more, such as --seeds 0 1 2.")
    return [int(part) for part in parts] or [0]


def measured(claim: str, seed: int, command: str) -> Run:
    """The experiment of a claim with one seed, with its seconds; nothing is recorded."""
    module = experiment(claim)
    started = perf_counter()
    run = module.run(seed, command=command, **training(claim, module))
    return replace(run, seconds=round(perf_counter() - started, 1))


def experiment(claim: str) -> ModuleType:
    """The module of a claim's experiment; ClaimError where there is none."""
    if claim not in EXPERIMENTS:
        raise ClaimError(f"{claim} has no experiment that can be run from here; those that have are {', '.join(EXPERIMENTS)}.")
    return import_module(EXPERIMENTS[claim])


def training(claim: str, module: ModuleType) -> dict[str, object]:
    """What ``run`` of an experiment that keeps its trainings is given too: a fast precision, and a folder to go on from."""
    if "folder" not in signature(module.run).parameters:
        return {}
    folder = getattr(module, "FOLDER", claim.lower())  # C11 and C12 share some trainings
    precision = getattr(module, "PRECISION", None) or fast_precision()
    return {"setting": module.Setting(precision=precision), "folder": data_folder() / "trainings" / folder}


def price(claim: str, seeds: int) -> str:
    """What so many seeds of a claim cost, in a sentence that says where the number comes from."""
    some = f"{claim}, {seeds} seed{'s' * (seeds != 1)}"
    found = seconds(claim)
    if found is None:
        return f"{some}: how long it takes is not known, as no stored run tells; stop it by Ctrl-C, the same command goes on."
    low, high, whence = found
    span = " to ".join(dict.fromkeys(duration(each * seeds) for each in (low, high)))
    return f"{some}: {span} {whence}. Ctrl-C stops it, the same command goes on."


def seconds(claim: str) -> tuple[float, float, str] | None:
    """Least and most seconds of a seed, and where that is known from; None if nothing tells.

    Runs that keep their seconds are believed, the learner's own first. Older ones have only the moment at which they ended: the
    time from one end to the next is what a seed took if nothing else was done in between, and less if two ran side by side.
    """
    sources: tuple[Source, ...] = ("own", "shipped")
    for source in sources:
        timed = [run for run in runs(claim, source) if run.seconds is not None]
        if timed:
            took = [run.seconds for run in timed]
            return min(took), max(took), f"by the time that stored runs took ({_where(timed)})"
    found = [run for run in runs(claim, "shipped") if run.commit]
    gaps = [(_end(later) - _end(run)).total_seconds() for run, later in pairwise(sorted(found, key=_end))
            if (run.hardware, run.commit) == (later.hardware, later.commit)]
    gaps = [gap for gap in gaps if gap > 0]
    if not gaps:
        return None
    return min(gaps), max(gaps), (f"by the time between the ends of stored runs ({_where(found)}), which is a guess: they do not "
                                  "keep how long they took")


def duration(took: float) -> str:
    """Seconds in words: "8 s", "7 min", "2.5 h"."""
    if took < 90:
        return f"{math.ceil(took)} s"
    return f"{took / 60:.0f} min" if took < 5400 else f"{took / 3600:.1f} h"


def _where(found: Sequence[Run]) -> str:
    return " and ".join(sorted({run.hardware for run in found}))


def _end(run: Run) -> datetime:
    return datetime.fromisoformat(run.date)
