"""Lesson 19: which method before one has tried? Tasks and methods from the ledger's runs, and the regret of rules on them.

A task is a set of structures of a base model, so many shots and a draw. C13, C15, C16 and C17 share tasks, and where they do
their runs are one row. On new structures the decoder is tuned beside whatever else is, as published (but for the black boxes).
What the ledger does not have yet is a gap in the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fmlab.adaptation.regret import left_out_choices, map_regret, regrets
from fmlab.errors import LessonError
from fmlab.lessons import claims
from fmlab.lessons.claims import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ARMS = {"arena": "arena", "lora": "lora", "lambda 0": "arena, lambda 0", "lora of rank 24": "lora, rank 8"}  # of C17
LEAST_ROWS = 2  # a method that fewer rows have tried is no rule to go by


@dataclass(frozen=True)
class Table:
    """dice: (tasks, methods), NaN where a method was not tried. known: (tasks,) bool. tasks: (name, seed). groups: (tasks,) int,
    rows of one group differ by the draw alone."""

    dice: np.ndarray
    known: np.ndarray
    tasks: tuple[tuple[str, int], ...]
    methods: tuple[str, ...]

    @property
    def groups(self) -> np.ndarray:
        """(tasks,) int: which rows are the same task in another draw."""
        names = list(dict.fromkeys(name for name, _ in self.tasks))
        return np.array([names.index(name) for name, _ in self.tasks])

    def by_task(self) -> Table:
        """The mean over draws: a row a task, so that draws are not counted as tasks."""
        groups, names = self.groups, list(dict.fromkeys(name for name, _ in self.tasks))
        rows = [_mean(self.dice[groups == number]) for number in range(len(names))]
        known = np.array([self.known[groups == number][0] for number in range(len(names))])
        return Table(np.array(rows), known, tuple((name, -1) for name in names), self.methods)


def table(source: str = "shipped") -> Table:
    """All rows of the ledger. LessonError where there are none."""
    cells: dict[tuple[str, int], dict[str, float]] = {}
    kinds: dict[str, bool] = {}
    for claim, read in (("C13", _c13), ("C15", _c15), ("C16", _c16), ("C17", _c17)):
        for run in claims.runs(claim, source):
            for task, known, dice in read(run):
                kinds[task] = known
                cells.setdefault((task, run.seed), {}).update(dice)
    if not cells:
        raise LessonError("The ledger has no run of C13, C15, C16 or C17; make one with `fmlab claims --rerun C15`.")
    methods = [name for name in dict.fromkeys(name for row in cells.values() for name in row)
               if sum(name in row for row in cells.values()) >= LEAST_ROWS]
    tasks = tuple(sorted(cells, key=lambda task: (not kinds[task[0]], task)))
    dice = np.array([[cells[task].get(name, np.nan) for name in methods] for task in tasks])
    return Table(dice, np.array([kinds[name] for name, _ in tasks]), tasks, tuple(methods))


def _c13(run: Run) -> list[tuple[str, bool, dict[str, float]]]:
    return [("known organs of E and F, 1 and 5 shots", True, dict(run.details["mean"]))]


def _c15(run: Run) -> list[tuple[str, bool, dict[str, float]]]:
    """Both base models where the run has them, else the new organs of the first."""
    if "by base" not in run.details:
        return [("new organs", False, _plain(run.details["mean"]))]
    names = {"nano": "organs", "swapped": "organs, other base"}
    return [(f"{what} {names[base]}", what == "known", _plain(dice)) for base, both in run.details["by base"].items()
            for what, dice in both.items()]


def _c16(run: Run) -> list[tuple[str, bool, dict[str, float]]]:
    return [(task, task == "known organs",
             {"lora" if rank == "4" else f"lora, rank {rank}": dice for rank, dice in ranks.items()})
            for task, ranks in run.details["mean"].items()]


def _c17(run: Run) -> list[tuple[str, bool, dict[str, float]]]:
    arms = run.details["mean"]
    return [(task, task == "known organs", {ARMS[arm]: arms[arm][task] for arm in ARMS if arm in arms})
            for task in next(iter(arms.values()))]


def _plain(dice: Mapping[str, float]) -> dict[str, float]:
    return {name.removesuffix("+decoder"): value for name, value in dice.items()}


def regret_table(found: Table) -> list[tuple[str, float, int]]:
    """(rule, mean regret, on how many tasks): always one method, where it was tried; the map; the oracle. Those that were tried
    on all tasks come first, and of these the best.

    found: a row a task (``by_task``). The map leaves the task out that it chooses for.
    """
    count = len(found.dice)
    rows = [("the oracle", 0.0, count), ("the map: known or new?", map_regret(found.dice, found.known), count)]
    for number, method in enumerate(found.methods):
        lost = regrets(found.dice, number)
        rows.append((f"always {method}", float(np.nanmean(lost)), int(np.isfinite(lost).sum())))
    return sorted(rows, key=lambda row: (row[2] < count, row[1]))


def told(found: Table) -> str:
    """``regret_table`` and what the map chose, as text."""
    chosen = left_out_choices(found.dice, found.known)
    lines = [f"{'rule':28s}{'regret':>8s}{'tasks':>7s}"]
    lines += [f"{rule:28s}{lost:8.3f}{count:7d}" for rule, lost, count in regret_table(found)]
    lines += ["", "the map, each task left out:"]
    lines += [f"  {name:40s} -> {found.methods[method]}" for (name, _), method in zip(found.tasks, chosen)]
    return "\n".join(lines)


def drawn(found: Table) -> tuple[Figure, str]:
    """Dice by task and method as a table of colours, the best of each row marked; and it in words."""
    from matplotlib.figure import Figure  # takes a while to import; and no pyplot, so that nothing is shown twice

    fig = Figure(figsize=(1.9 + 0.62 * len(found.methods), 1.6 + 0.42 * len(found.dice)), layout="constrained")
    ax = fig.add_subplot()
    lost = np.nanmax(found.dice, axis=1, keepdims=True) - found.dice
    ax.imshow(np.ma.masked_invalid(np.log10(np.maximum(lost, 1e-3))), cmap="Blues", vmin=-3.2, vmax=-0.3, aspect="auto")
    for row, values in enumerate(found.dice):
        for column, value in enumerate(values):
            if np.isfinite(value):
                best = value == np.nanmax(values)
                ax.text(column, row, f"{value:.3f}", ha="center", va="center", fontsize=7.5,
                        fontweight="bold" if best else "normal", color="white" if lost[row, column] > 0.02 else "black")
    methods = [name.replace("_", " ") for name in found.methods]
    ax.set_xticks(range(len(methods)), methods, rotation=40, ha="right", fontsize=8)
    ax.set_yticks(range(len(found.dice)), [_short(name, known) for (name, _), known in zip(found.tasks, found.known)], fontsize=8)
    ax.spines[:].set_visible(False)
    words = [f"{name}: best {found.methods[int(np.nanargmax(row))]}, {np.nanmax(row):.2f}, worst "
             f"{found.methods[int(np.nanargmin(row))]}, {np.nanmin(row):.2f}" for (name, _), row in zip(found.tasks, found.dice)]
    return fig, "Mean Dice of each method (column) on each task (row), darker where more is lost. " + "; ".join(words) + "."


def crosswise(runs: Sequence[Run]) -> str:
    """C15's base models side by side: the same organs, known to one and new to the other; or what is missing."""
    both = [run.details["by base"] for run in runs if "by base" in run.details]
    if not both:
        return ("The stored runs of C15 have one base model, so organ and novelty are mixed up in them. `fmlab claims --rerun "
                "C15` makes a run with both, on a machine with time.")
    lines = [f"{'organs':26s}{'method':18s}{'known':>8s}{'new':>8s}{'new - known':>13s}"]
    for organs, knows, not_knows in (("liver, spleen ...", "nano", "swapped"), ("gluteal muscles, lobe ...", "swapped", "nano")):
        for method in ("linear_probe", "spatial_adapter", "decoder"):
            known, new = (float(np.mean([run[base][what][method] for run in both])) for base, what in (
                (knows, "known"), (not_knows, "new")))
            lines.append(f"{organs:26s}{method:18s}{known:8.3f}{new:8.3f}{new - known:+13.3f}")
    return "\n".join([*lines, f"({len(both)} draw{'s' * (len(both) != 1)})"])


def _short(name: str, known: bool) -> str:
    return name if name.startswith(("known", "new")) else f"{name} ({'known' if known else 'new'})"


def _mean(rows: np.ndarray) -> np.ndarray:
    tried = np.isfinite(rows)
    return np.where(tried, rows, 0).sum(0) / np.where(tried.any(0), tried.sum(0), np.nan)
