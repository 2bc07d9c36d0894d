"""Run a lesson headless: in a real kernel, with no network, its time and peak memory measured, its problems named."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from fmlab.errors import LessonError
from fmlab.lessons.alt_text import missing_alt
from fmlab.lessons.build import Variant, as_bytes, notebook
from fmlab.lessons.files import write_bytes
from fmlab.lessons.source import Budget, Lesson

if TYPE_CHECKING:
    import psutil
    from nbformat import NotebookNode

OFFLINE = Path(__file__).with_name("offline")
SLACK = 1.5  # a budget is passed by half
_EVERY = 0.05  # seconds between two looks at the memory
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Run:
    """What a run gave: the executed notebook, its cost, and one sentence per problem.

    seconds: from the first cell's start to the last one's end. gigabytes: peak resident memory of the kernel and what it started.
    slowest: index and seconds of the slowest cell.
    """

    lesson: Lesson
    variant: Variant
    notebook: NotebookNode
    seconds: float
    gigabytes: float
    slowest: tuple[int, float]
    problems: tuple[str, ...]

    def __str__(self) -> str:
        cost = f"{self.seconds:.1f} s, {self.gigabytes:.2f} GB, slowest cell {self.slowest[0]} ({self.slowest[1]:.1f} s)"
        return "\n".join([f"{self.lesson.name} ({self.variant}): {cost}", *(f"  {problem}" for problem in self.problems)])


def run(lesson: Lesson, variant: Variant = "solution", profile: str | None = None, offline: bool = True, pages: bool = False,
        folder: Path | None = None, progress: Progress | None = None, patience: float = 1800) -> Run:
    """Execute every cell of a lesson and report. profile: for FMLAB_PROFILE, default as it is.

    offline: close every socket but loopback. pages: viewers add what an HTML page of them needs. folder: where it runs and keeps
    its progress.json, default a temporary one: the learner's is not touched. progress: called with cells done and cells in all.
    patience: seconds that one cell may take.
    """
    with TemporaryDirectory() as temporary, _memory() as memory:
        made = notebook(lesson, variant)
        environment = _environment(folder or Path(temporary), profile, offline, pages)
        error, times = _execute(made, folder or Path(temporary), environment, memory, progress, patience)
    seconds = sum(times.values())
    problems = ([error] if error else []) + missing_alt(made) + over_budget(lesson.budget, seconds, memory.peak / 1e9)
    slowest = max(times.items(), key=lambda item: item[1], default=(0, 0.0))
    return Run(lesson, variant, made, seconds, memory.peak / 1e9, slowest, tuple(problems))


def over_budget(budget: Budget, seconds: float, gigabytes: float) -> list[str]:
    """One sentence for each stated cost that was passed by half."""
    measured = (("s", seconds, budget.seconds), ("GB of memory", gigabytes, budget.gigabytes))
    return [f"It took {used:.2f} {unit} and its header says {stated:g}; make it cheaper or state the true cost."
            for unit, used, stated in measured if used > SLACK * stated]


def _environment(folder: Path, profile: str | None, offline: bool, pages: bool) -> dict[str, str]:
    checkout = Path(__file__).resolve().parents[2]
    paths = [str(OFFLINE)] if offline else []
    paths += [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    paths += [str(checkout)] if (checkout / "pyproject.toml").is_file() else []  # a checkout runs without being installed
    chosen = {"FMLAB_COURSE": str(folder), "PYTHONPATH": os.pathsep.join(paths)}
    chosen |= {"FMLAB_PROFILE": profile} if profile else {}
    chosen |= {"FMLAB_HTML": "1"} if pages else {}
    return os.environ | chosen


def _execute(made: NotebookNode, folder: Path, environment: dict[str, str], memory: _Memory, progress: Progress | None,
             patience: float) -> tuple[str | None, dict[int, float]]:
    """Run the cells in place; what stopped it, or None, and the seconds of each cell."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    begun: dict[int, float] = {}
    times: dict[int, float] = {}

    def ended(cell: NotebookNode, cell_index: int, **_: object) -> None:
        times[cell_index] = time.perf_counter() - begun[cell_index]
        if progress:
            progress(cell_index + 1, len(made.cells))

    client = NotebookClient(made, timeout=patience, kernel_name="python3", resources={"metadata": {"path": str(folder)}},
                            extra_arguments=["--log-level=ERROR"],  # else each kernel warns that loopback is not encrypted
                            on_cell_start=lambda cell, cell_index: begun.setdefault(cell_index, time.perf_counter()),
                            on_cell_executed=ended, on_notebook_start=lambda notebook: memory.watch(_pid(client)))
    try:
        client.execute(env=environment)
    except CellExecutionError as error:
        failed = max(begun, default=0)
        return f"Cell {failed} stops with {error.ename}: {error.evalue}", times
    except CellTimeoutError:
        return f"Cell {max(begun, default=0)} took more than {patience:g} s.", times
    except DeadKernelError:
        return f"The kernel died in cell {max(begun, default=0)}; most often the memory was not enough.", times
    return None, times


def _pid(client: object) -> int:
    return client.km.provisioner.pid


class _Memory:
    """The peak resident memory, in bytes, of a process and its children, looked at every few hundredths of a second."""

    def __init__(self) -> None:
        self.peak = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, pid: int) -> None:
        """Begin to look at a process."""
        import psutil

        if self._thread is None:
            self._thread = threading.Thread(target=self._look, args=(psutil.Process(pid),), daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._stop.set()
        if self._thread:
            self._thread.join()

    def _look(self, process: psutil.Process) -> None:
        while not self._stop.wait(_EVERY):
            self.peak = max(self.peak, _resident(process))


def _resident(process: psutil.Process) -> int:
    import psutil

    total = 0
    try:
        for one in (process, *process.children(recursive=True)):
            total += one.memory_info().rss
    except psutil.Error:  # it ended while we looked
        return total
    return total


@contextmanager
def _memory() -> Iterator[_Memory]:
    memory = _Memory()
    try:
        yield memory
    finally:
        memory.stop()


def write(result: Run, folder: Path, html: bool = False) -> tuple[Path, ...]:
    """Store an executed lesson as NAME.VARIANT.ipynb, and as .html if asked; returns the files. Raises LessonError."""
    from fmlab.viewer.static import notebook_to_html, strip

    stem = f"{result.lesson.name}.{result.variant}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = [folder / f"{stem}.ipynb"]
        write_bytes(written[0], as_bytes(strip(result.notebook)))
        if html:
            written.append(notebook_to_html(result.notebook, folder / f"{stem}.html", title=result.lesson.title))
    except OSError as error:
        raise LessonError(f"The results cannot be written to {folder} ({error}); choose another folder with --output.") from error
    return tuple(written)
