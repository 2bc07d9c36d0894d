"""The log of a training: one JSON object per step and line, and its picture."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from matplotlib.figure import Figure

from fmlab.errors import TrainingError

NAME = "log.jsonl"


def read_log(folder: Path | str) -> list[dict]:
    """The lines of a training's log: step (from 1), loss, lr, norm (of the gradient, before clipping), seconds (of the step).

    A line that a killed process left half written, or that is none of ours, ends the reading.
    """
    path, lines = Path(folder) / NAME, []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            break
        if not (isinstance(line, dict) and isinstance(line.get("step"), int)):
            break
        lines.append(line)
    return lines


class Log:
    """Appends lines, after it has dropped those beyond step ``start``, which were done but not saved when the run was killed."""

    def __init__(self, folder: Path, start: int):
        path, part = folder / NAME, folder / f"{NAME}.part"
        kept = [line for line in read_log(folder) if line["step"] <= start]
        with _writing(path):
            try:
                part.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
                os.replace(part, path)
            finally:
                with suppress(OSError):  # a folder that cannot be written holds no part either
                    part.unlink(missing_ok=True)
            self._file = path.open("ab", buffering=0)  # nothing waits in memory, so closing cannot fail on a full disk

    def add(self, **line: float) -> None:
        """One step, on the disk's way at once. TrainingError if it cannot be written."""
        left = memoryview(json.dumps(line).encode() + b"\n")
        with _writing(self._file.name):
            while left:  # a disk that becomes full takes a part, and refuses the next
                left = left[self._file.write(left):]

    def close(self) -> None:
        self._file.close()


@contextmanager
def _writing(path: Path | str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TrainingError(f"{path} cannot be written ({error.strerror}); make room or choose another folder, and train again: "
                            "it goes on from the last checkpoint.") from error


def curve(log: list[dict], smooth: int = 20) -> Figure:
    """The loss (each step, and the mean of the last ``smooth``) and, on the right axis, the learning rate, over the steps.

    log: as ``read_log`` returns it. The figure belongs to the caller; a notebook shows it, ``savefig`` writes it.
    """
    steps, losses = [line["step"] for line in log], [line["loss"] for line in log]
    means = [sum(part) / len(part) for i in range(len(losses)) if (part := losses[max(0, i + 1 - smooth):i + 1])]
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    left = figure.add_subplot(xlabel="step", ylabel="loss")
    right = left.twinx()
    left.plot(steps, losses, color="#9ecae1", linewidth=0.8, label="loss")
    left.plot(steps, means, color="#08519c", label=f"mean of {smooth} steps")
    right.plot(steps, [line["lr"] for line in log], color="#666666", linestyle=":", label="learning rate")
    right.set(ylabel="learning rate", ylim=(0, None))
    figure.legend(handles=[*left.lines, *right.lines], loc="outside upper center", ncols=3, frameon=False)
    return figure
