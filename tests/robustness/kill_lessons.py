"""Kill a lesson's kernel in the middle, start again, and see what is left of the learner's work.

    python tests/robustness/kill_lessons.py            # every lesson: minutes each; prints a table
    python tests/robustness/kill_lessons.py 00 01      # only these
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from jupyter_client.manager import KernelManager

from fmlab.errors import FmlabError
from fmlab.lessons import run as runner
from fmlab.lessons.build import notebook
from fmlab.lessons.source import Lesson, lesson, lessons

ANSWERS = """
import numpy as np, torch
from fmlab.lessons import check, predict, quiz
from fmlab.lessons.exercise import exercises
from fmlab.lessons.quiz import questions
from fmlab.viewer import Canvas
from fmlab.viewer.prompts import Answer
from fmlab.volume import Volume
for _question in questions({number!r}):
    quiz(_question.id, 1)
for _exercise in exercises({number!r}):
    check(_exercise.id, _exercise.reference)
predict("{number}-p9", "Will this survive?", ["yes", "no"], choice=1)
def _ask(request):
    return Answer(np.ones(request.image.shape, bool))
_image = Volume(torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(0)) * 300, np.eye(4), name="drawn on")
_canvas = Canvas(_image, _ask, autosave={autosave!r})
if not _canvas.resumed:
    _canvas.annotation.apply([{{"do": "point", "class": "structure", "axis": "axial", "index": 3, "at": [2, 2], "label": 1}}])
    _canvas.autosave.save()
print("RESUMED" if _canvas.resumed else "NEW")
"""
BUSY = """
from fmlab.lessons import records as _records
while True:
    _records.record_check("{number}-busy", False)
    _canvas.autosave.save()
"""


@dataclass(frozen=True)
class Survival:
    """What happened. killed_at: index of the cell that was running. kept: records before. problems: one sentence each."""

    lesson: str
    killed_at: int
    cells: int
    kept: int
    seconds: float
    problems: tuple[str, ...]

    def __str__(self) -> str:
        state = "; ".join(self.problems) or "all there, and it ran to its end"
        return f"{self.lesson:28s} killed at cell {self.killed_at:3d} of {self.cells:3d}  {self.kept:3d} records  " \
               f"{self.seconds:5.0f} s  {state}"


def killed_and_restarted(chosen: Lesson, folder: Path, busy: bool = False, patience: float = 600) -> Survival:
    """Run half of a lesson, answer everything, kill the kernel while a cell runs, look at the files, run all of it again.

    folder: of the course. busy: the cell that is killed writes progress and annotation without pause; else it is its own.
    """
    began, problems = time.monotonic(), []
    environment = runner._environment(folder, "ci", True, False) | {"FMLAB_DATA": str(folder / "data")}
    code = [cell.source for cell in notebook(chosen, "solution").cells if cell.cell_type == "code"]
    half, answers = len(code) // 2, ANSWERS.format(number=chosen.number, autosave=str(folder / "canvas.json"))
    manager, client = started(folder, environment, patience)
    try:
        for index, source in enumerate([*code[:half], answers]):
            problems += [f"cell {index}: {said}" for said in executed(client, source, patience)[1]]
        before = progress(folder)
        client.execute(BUSY.format(number=chosen.number) if busy or half == len(code) else code[half])
        time.sleep(0.7)
        os.kill(manager.provisioner.pid, signal.SIGKILL)
        while manager.is_alive():
            time.sleep(0.05)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    problems += lost(before, progress(folder))
    manager, client = started(folder, environment, patience)
    try:
        for index, source in enumerate(code):
            problems += [f"again, cell {index}: {said}" for said in executed(client, source, patience)[1]]
        printed, errors = executed(client, answers, patience)
        problems += errors + ([] if "RESUMED" in printed else ["the canvas began anew"])
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    problems += lost(before, progress(folder))
    problems += [f"{path.name} is left" for path in folder.rglob("*") if "damaged" in path.name or ".new-" in path.name]
    kept = sum(len(rows) for rows in before.values())
    return Survival(chosen.name, half, len(code), kept, time.monotonic() - began, tuple(problems))


def started(folder: Path, environment: dict[str, str], patience: float) -> tuple[KernelManager, object]:
    """A kernel in the course folder, ready."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(env=environment, cwd=str(folder), extra_arguments=["--log-level=ERROR"])
    client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=patience)
    return manager, client


def executed(client: object, source: str, patience: float) -> tuple[str, list[str]]:
    """What a cell printed, and its error if there was one."""
    heard: list[str] = []

    def listen(message: dict) -> None:
        if message["msg_type"] == "stream":
            heard.append(message["content"]["text"])

    reply = client.execute_interactive(source, timeout=patience, output_hook=listen, allow_stdin=False)["content"]
    return "".join(heard), [f"{reply['ename']}: {reply['evalue']}"] if reply["status"] == "error" else []


def progress(folder: Path) -> dict[str, dict]:
    """The file as it lies on the disk; ValueError if it is not whole."""
    return json.loads((folder / "progress.json").read_text(encoding="utf-8"))


def lost(before: dict[str, dict], after: dict[str, dict]) -> list[str]:
    """One sentence for each answer that is gone, or is less than it was."""
    found = []
    for kind, rows in before.items():
        for name, row in rows.items():
            now = after.get(kind, {}).get(name)
            if now is None or now.get("tries", 0) < row.get("tries", 0) or row.get("choice") != now.get("choice"):
                found.append(f"{kind} {name} was {row} and is {now}")
            elif row.get("passed") and not now.get("passed"):
                found.append(f"{kind} {name} was passed and is not")
    return found


def main(numbers: list[str]) -> int:
    """Print the table; the number of lessons with a problem."""
    bad = 0
    for chosen in [lesson(number) for number in numbers] or lessons():
        with tempfile.TemporaryDirectory() as folder:
            try:
                outcome = killed_and_restarted(chosen, Path(folder))
            except (FmlabError, ValueError, RuntimeError, TimeoutError) as error:
                outcome = Survival(chosen.name, 0, 0, 0, 0.0, (f"{type(error).__name__}: {error}",))
        print(outcome, flush=True)
        bad += bool(outcome.problems)
    return bad


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:])))
