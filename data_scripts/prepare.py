"""Prepare a fetched data set for training: ``python -m data_scripts.prepare msd_spleen FOLDER``, or ``--demo``.

Every labelled case is read into RAS, smoothed and resampled, cropped to the body, windowed if you like, and kept in
FMLAB_DATA/prepared. Stopped, the same command goes on where it was; a case that cannot be read is listed and stops no other.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial as bind
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path

import torch
from tqdm.auto import tqdm

from data_scripts import one_case, sources
from data_scripts.one_case import CROPS, WINDOWS, Job, Settings
from fmlab.cohorts import Case, Cohort
from fmlab.errors import DataError, FmlabError
from fmlab.settings import data_folder
from fmlab.volume import Volume


@dataclass(frozen=True)
class Outcome:
    """What became of a case: state is "prepared", "there" (from an earlier run) or "failed", with the reason in a sentence."""

    job: Job
    state: str
    reason: str = ""


def jobs_of(name: str, folder: str | Path, settings: Settings, output: str | Path | None = None) -> tuple[Job, ...]:
    """The cases of a data set below a folder, as jobs for ``prepare_all``. Raises DataError."""
    source = sources.find(name)
    target = (Path(output).expanduser() if output else data_folder() / "prepared") / name / settings.tag
    facts = {"dataset": name, "licence": source.licence, "citation": source.citation}
    return tuple(Job(name, pair, name, source.modality, settings, target, facts) for pair in source.pairs(folder))


def prepare_all(jobs: Sequence[Job], workers: int = 2) -> tuple[Outcome, ...]:
    """Prepare what is not there yet, in parallel, with a progress bar; the outcomes in the order of the jobs.

    workers: processes, each with one thread; 1 works in this one.
    """
    outcomes = {job: Outcome(job, "there") for job in jobs if _done(job)}
    missing = [job for job in jobs if job not in outcomes]
    with tqdm(total=len(missing), desc="cases", unit="case", leave=False, disable=None) as bar:
        if min(workers, len(missing)) > 1:
            for outcome in _in_parallel(missing, min(workers, len(missing))):
                outcomes[outcome.job] = outcome
                bar.update()
        for job in [job for job in missing if job not in outcomes]:
            outcomes[job] = attempt(job)
            bar.update()
    return tuple(outcomes[job] for job in jobs)


def attempt(job: Job) -> Outcome:
    """Prepare one case and say what became of it; never raises for what is wrong with the case."""
    try:
        one_case.make(job)
    except FmlabError as error:
        return Outcome(job, "failed", str(error))
    except Exception as error:  # a thousand cases must not wait for one that nobody foresaw
        first = (str(error).splitlines() or [""])[0]
        return Outcome(job, "failed", f"{type(error).__name__}: {first}")
    return Outcome(job, "prepared")


def prepared(folder: str | Path) -> Cohort:
    """The prepared cases of a folder (such as FMLAB_DATA/prepared/msd_spleen/4mm-none-body) as a cohort, read when asked for.

    Each case is a patient of its own. Raises DataError if the folder holds none.
    """
    folder = Path(folder).expanduser()
    paths = sorted(path for path in folder.glob("*.npz") if not path.name.startswith("."))
    if not paths:
        raise DataError(f"{folder} holds no prepared case; make some by python -m data_scripts.prepare NAME FOLDER.")
    dataset = folder.resolve().parent.name
    cases = (Case(f"{dataset}-{path.stem}", f"{dataset}-{path.stem}", bind(_volume, path)) for path in paths)
    return Cohort(f"{dataset}, {folder.resolve().name}", tuple(cases))


def report(outcomes: Sequence[Outcome], seconds: float) -> int:
    """Print one line on all cases and one on each that failed; 1 if any did, else 0."""
    number = {state: sum(outcome.state == state for outcome in outcomes) for state in ("prepared", "there", "failed")}
    places = sorted({str(outcome.job.folder) for outcome in outcomes})
    print(f"{len(outcomes)} cases: {number['prepared']} prepared, {number['there']} were there, {number['failed']} failed, "
          f"in {seconds:.1f} s -> {', '.join(places)}")
    for outcome in outcomes:
        if outcome.state == "failed":
            print(f"{outcome.job.name}: {outcome.reason}", file=sys.stderr)
    return 1 if number["failed"] else 0


def main(arguments: list[str] | None = None) -> int:
    """The command line; 0, or 1 after a sentence on each thing that went wrong."""
    parser = argparse.ArgumentParser(prog="python -m data_scripts.prepare", description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?", help="the data set, as in fmlab.templates")
    parser.add_argument("folder", nargs="?", type=Path, help="where it lies, unpacked")
    parser.add_argument("--spacing", type=float, default=4.0, help="mm; default: %(default)s")
    parser.add_argument("--window", choices=sorted(WINDOWS), default="none", help="HU to values; default: keep HU")
    parser.add_argument("--crop", choices=CROPS, default="body", help="default: %(default)s")
    parser.add_argument("--workers", type=int, help="processes; default: 2, and 1 for the demo, which is over sooner")
    parser.add_argument("--output", type=Path, help="default: FMLAB_DATA/prepared")
    parser.add_argument("--demo", action="store_true", help="run on a phantom and, where it is, on the real CT of shared/data")
    given = parser.parse_args(arguments)
    if not given.demo and (given.name is None or given.folder is None):
        parser.error("name a data set and its folder, or --demo")
    began = time.monotonic()
    try:
        settings = Settings(given.spacing, given.window, given.crop)
        if given.demo:
            from data_scripts import demo  # it needs the phantom, which preparing real data does not

            jobs = demo.jobs(settings, given.output)
        else:
            jobs = jobs_of(given.name, given.folder, settings, given.output)
        outcomes = prepare_all(jobs, given.workers or (1 if given.demo else 2))
        if given.demo:
            print(demo.table(outcomes))
    except FmlabError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped; what is done is kept, and the same command goes on from there.", file=sys.stderr)
        return 130
    return report(outcomes, time.monotonic() - began)


def _done(job: Job) -> bool:
    """Whether the job's file is there, whole and of the job's key; a warning where it is there and is not."""
    if not job.path.is_file():
        return False
    try:
        _, facts = one_case.load(job.path)
        if facts["key"] == job.key:
            return True
        reason = "was made from another file or by another version"
    except DataError:
        reason = "is damaged"
    warnings.warn(f"{job.path} {reason}; it is made again.", stacklevel=3)
    return False


def _in_parallel(jobs: Sequence[Job], workers: int) -> Iterator[Outcome]:
    """Outcomes as they come from spawned processes (fork and torch's threads do not mix); fewer if the processes die."""
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_worker)
    try:
        for done in as_completed([pool.submit(attempt, job) for job in jobs]):
            yield done.result()
    except BrokenProcessPool:  # out of memory
        warnings.warn("The worker processes ended early; the remaining cases are prepared in this process.", stacklevel=3)
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """One thread, no answer to Ctrl-C (this process says what stopped), and an end when the first process is killed."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    wait([parent_process().sentinel])
    os._exit(1)  # a pool's workers would wait for work for ever


def _volume(path: Path) -> Volume:
    return one_case.load(path)[0]


if __name__ == "__main__":
    sys.exit(main())
