"""What few-shot tasks gave: one line of JSON each, and tables in which no figure stands without its interval."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from fmlab.errors import TrainingError
from fmlab.metrics.bootstrap import Estimate, estimates


@dataclass(frozen=True)
class Result:
    """One task done. task: its settings, as ``fewshot.Task`` has them. dice: test case -> mean Dice. count: numbers trained.
    seconds: of the training. step: after which the weights were taken. hardware: where."""

    task: dict
    dice: dict[str, float]
    count: int
    seconds: float
    step: int
    hardware: str


def append(result: Result, path: Path) -> None:
    """Add a result to a JSONL file, in place of a last line that a killed process left half written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        file.seek(0)
        before = file.read()
        file.truncate(before.rfind(b"\n") + 1)
        file.write(f"{json.dumps(asdict(result), sort_keys=True)}\n".encode())
        file.flush()
        os.fsync(file.fileno())


def read(folder: Path) -> list[Result]:
    """All results of the folder's JSONL files; a last line that was cut short by a killed process is left out."""
    found = []
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_bytes().split(b"\n"):
            try:
                found.append(Result(**json.loads(line)))
            except (ValueError, TypeError):
                if line and not path.read_bytes().endswith(line):
                    raise TrainingError(f"{path} holds a line that is no result: {line[:60]!r}; delete that line.") from None
    return found


def estimate(results: Sequence[Result], less: Sequence[Result] | None = None) -> Estimate:
    """Mean Dice with its 95% interval, test cases drawn again with replacement; ``less``: of the paired difference to these.

    A case's value is the mean over all tasks that tested it, so seeds and folds do not count as patients. TrainingError for fewer
    than two cases, which have no interval.
    """
    first = by_case(results)
    if less is not None:
        second = by_case(less)
        if set(first) != set(second):
            raise TrainingError("Two methods are compared case by case, and these were not tested on the same; run both on all.")
        first = {case: value - second[case] for case, value in first.items()}
    if len(first) < 2:
        raise TrainingError(f"{len(first)} test case has no interval, and no figure is shown without one; test on two or more.")
    values = np.array(list(first.values()))[:, None]
    return estimates(values, np.ones_like(values))[1]


def by_case(results: Sequence[Result]) -> dict[str, float]:
    """Test case -> mean Dice over the tasks that tested it."""
    values: dict[str, list[float]] = {}
    for result in results:
        for case, dice in result.dice.items():
            values.setdefault(case, []).append(dice)
    return {case: float(np.mean(dice)) for case, dice in sorted(values.items())}


def of(results: Sequence[Result], **settings: object) -> list[Result]:
    """Those whose tasks have these settings."""
    return [result for result in results if all(result.task[name] == value for name, value in settings.items())]


def table(results: Sequence[Result], against: str | None = None, digits: int = 2) -> str:
    """Method by shots: mean Dice [95% interval], numbers trained, seconds. against: a method, to which differences are shown."""
    methods = list(dict.fromkeys(_label(result) for result in results))
    shots = sorted({result.task["shots"] for result in results})
    rows = [["method", *[f"{k} shot{'s' if k > 1 else ''}" for k in shots], "trained", "s"]]
    for label in methods:
        own = [result for result in results if _label(result) == label]
        cells = []
        for k in shots:
            here = of(own, shots=k)
            base = [other for other in of(results, shots=k) if _label(other) == against] if against else None
            cells.append("-" if not here or (against and not base) else estimate(here, base).format(digits))
        rows.append([label, *cells, f"{own[0].count:,}", f"{np.mean([r.seconds for r in own]):.0f}"])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths)))
                     for row in rows)


def curves(results: Sequence[Result]) -> Figure:
    """Mean Dice over the number of shots, a line a method, with intervals."""
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.add_subplot()
    for number, label in enumerate(dict.fromkeys(_label(result) for result in results)):
        own = [result for result in results if _label(result) == label]
        shots = sorted({result.task["shots"] for result in own})
        found = [estimate(of(own, shots=k)) for k in shots]
        x = np.arange(len(shots)) + 0.06 * number
        mean = np.array([each.mean for each in found])
        errors = np.array([[each.mean - each.low for each in found], [each.high - each.mean for each in found]])
        axes.errorbar(x, mean, errors, label=label, marker="osv^D<>phX*"[number % 11], capsize=2, linewidth=1.2, markersize=5)
        axes.set_xticks(np.arange(len(shots)), [str(k) for k in shots])
    axes.set(xlabel="labelled scans", ylabel="mean Dice")
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _label(result: Result) -> str:
    """A method with what was chosen about it."""
    task = result.task
    said = [f"{name}={value}" for name, value in task["options"].items()]
    return task["method"] + (f" ({', '.join(said)})" if said else "") + (" + decoder" if task["decoder"] else "")
