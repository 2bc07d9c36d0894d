"""Model cards of the in-context models: Dice over the size of the support and of the ensemble, on what they never trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from data_scripts import incontext_evaluation as found
from fmlab import hub
from fmlab.incontext import nano
from fmlab.incontext.tyche_is import inference_candidates

SEEN = ("liver", "spleen", "aorta", "vertebrae", "urinary_bladder", "lung_left")
CONVENTION = """\
Each number is the mean over tasks (a structure and an axis) of the mean Dice over queries; a missed structure is 0; in brackets
the 95 % interval over tasks. Examples and queries are of people that the training never saw; each query's support is drawn anew
and never of its own person. S: examples in a support set. M: support sets whose probabilities are averaged."""
REAL = """\
A real CT with examples of bodies asks much: another world in every pixel. The second row of it has some of its own slices drawn
by hand, with the queries between them."""
VOLUMES = """\
Whole bodies of people that the training never saw, on their own 6 mm grid; the structures of a group are asked in one pass,
with the mean tokens of one or of four people of the same hospitals as references. Mean over the bodies that show a structure; a
missed structure is 0."""
READERS = """\
Four simulated readers draw each query (`fmlab.incontext.readers`), S=16. Best: mean over readers of the Dice of the best
candidate. GED: squared generalised energy distance, lower is better. Mean over axial tasks that the training never met,
with the 95 % interval over tasks."""


def head(weights: Path, notes: Mapping[str, object], what: str) -> list[str]:
    """The lines that every card begins with."""
    return [f"# {weights.stem}", "", f"{what} For teaching, not for diagnosis.", "",
            f"- file: {weights.name}, {weights.stat().st_size / 1e6:.1f} MB, safetensors",
            *[f"- {key}: {value}" for key, value in notes.items()],
            "- licence: that of fmlab; trained on procedural bodies and synthetic shapes alone, no patient's scan was used"]


def table(columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> list[str]:
    """A Markdown table; the first column holds the rows' names."""
    return [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|",
            *[line for name, cells in rows.items() for line in table_row(name, cells)]]


def table_row(name: str, cells: Sequence[str]) -> list[str]:
    """One line of a table."""
    return [f"| {name} | {' | '.join(cells)} |"]


def cell(value: float | None) -> str:
    """A number of a table, "-" where nothing was scored."""
    return "-" if value is None else f"{value:.2f}"


def body_groups() -> dict[str, list[found.Task]]:
    """Held-out tasks on the hospitals of the training and on the two others."""
    return {"A-D": found.body_tasks("ABCD"), **{name: found.body_tasks(name, supports=18, queries=3) for name in "EF"}}


def parameters(model: nn.Module) -> str:
    """How many numbers were learned, in words."""
    return f"{sum(p.numel() for p in model.parameters()):,} parameters"


def universeg(weights: Path, notes: Mapping[str, object], model: nn.Module) -> str:
    """The card of the nano UniverSeg."""
    groups = body_groups()
    tumours = {"liver tumours, B": found.body_tasks("B", ("liver_tumor",), supports=40, queries=20)}  # few people have one
    both = groups | tumours | found.real_tasks()
    grids = {name: found.grid(model, tasks) for name, tasks in both.items()}
    seen = found.grid(model, found.body_tasks("ABCD", SEEN), (16,), (1,))[16, 1]
    structures = {name: found.by_structure(model, tasks) for name, tasks in both.items()}
    columns = [f"S={s}, M={m}" for s, m in grids["A-D"]]
    return "\n".join([
        *head(weights, notes, f"A small UniverSeg ({parameters(model)}, {nano.SIZE} x {nano.SIZE} pixels): one class from "
                              "examples, without training."),
        f"- Dice on structures that were never a task, hospitals A to D, S=16, M=1: {grids['A-D'][16, 1]}",
        f"- the same on tasks of the training ({', '.join(SEEN)}), new people: {seen}",
        f"- control, each support image with another task's mask: {found.control(model, groups['A-D'])}",
        "", "## Dice by size of support and ensemble", "", CONVENTION, "",
        *table(["examples and queries", "tasks", *columns],
               {name: [str(len(tasks)), *[e.format(2) for e in grids[name].values()]] for name, tasks in both.items()}),
        "", REAL, "", "## Dice by structure, S=16, M=1", "",
        *table(["structure", *both], {each: [f"{row[each]:.2f}" if each in row else "-" for row in structures.values()]
                                      for each in dict.fromkeys(key for row in structures.values() for key in row)}),
    ]) + "\n"


def tyche(weights: Path, notes: Mapping[str, object], model: nn.Module) -> str:
    """The card of the nano Tyche: its candidates beside those of Tyche-IS, and beside one answer."""
    groups = {name: [task for task in tasks if task.name.endswith("axial")] for name, tasks in body_groups().items()}
    one = hub.load("universeg", "nano")
    ways = {**{f"Tyche-TS, K={k}": by_network(model, k) for k in (1, 4, 8)},
            "Tyche-IS on universeg-nano, K=8": by_changes(one, 8), "universeg-nano, its one answer": by_changes(one, 1)}
    spreads = {name: [found.spread(make, tasks) for tasks in groups.values()] for name, make in ways.items()}
    return "\n".join([
        *head(weights, notes, f"A small Tyche-TS ({parameters(model)}, {nano.SIZE} x {nano.SIZE} pixels): several candidates "
                              "from examples, for several readers."),
        "", "## Candidates and readers", "", READERS, "",
        *table(["candidates", *[f"{what}, {group}" for group in groups for what in ("best", "GED")]],
               {name: [e.format(2) for s in row for e in (s.best, s.ged)] for name, row in spreads.items()}),
    ]) + "\n"


def by_network(model: nn.Module, candidates: int) -> found.Candidates:
    """Candidates (K, H, W) of Tyche-TS for ``spread``."""
    def make(task: found.Task, query: int, seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        support = task.support.draw(16, generator)
        with torch.no_grad():
            logits = model(task.queries.images[query][None], support.images[None], support.masks[None], candidates,
                           generator=generator)
        return (logits[0] > 0).float()
    return make


def by_changes(model: nn.Module, candidates: int) -> found.Candidates:
    """Candidates (K, H, W) of Tyche-IS for ``spread``; with one candidate, the model's plain answer."""
    def make(task: found.Task, query: int, seed: int) -> torch.Tensor:
        support = task.support.draw(16, torch.Generator().manual_seed(seed))
        answers = inference_candidates(model, task.queries.images[query], support.images, support.masks, candidates, seed)
        return (answers > 0.5).float()
    return make


def iris(weights: Path, notes: Mapping[str, object], model: nn.Module) -> str:
    """The card of the nano Iris: Dice in 3-D by structure, from one reference and from four."""
    seen = found.volume_dice(model, SEEN)
    held = {group: found.volume_dice(model, nano.HELD_OUT, group) for group in ("ABCD", "E", "F")}
    columns = [f"{group}, {r} reference{'s' * (r > 1)}" for group in ("A-D", "E", "F") for r in found.REFERENCES]
    rows = {name: [cell(scores[r].get(name)) for scores in held.values() for r in found.REFERENCES] for name in nano.HELD_OUT}
    means = {group: {r: found.mean_dice(scores[r]) for r in found.REFERENCES} for group, scores in held.items()}
    return "\n".join([
        *head(weights, notes, f"A small Iris ({parameters(model)}, windows of 48 x 32 x 32 voxels of 8 mm): all classes of a "
                              "volume "
                              "in one pass, from tokens of labelled volumes."),
        f"- mean Dice on structures that were never a task, hospitals A to D, four references: {means['ABCD'][4]:.3f}; "
        f"from one: {means['ABCD'][1]:.3f}",
        f"- the same on tasks of the training ({', '.join(SEEN)}), new people, four references: {found.mean_dice(seen[4]):.3f}",
        "", "## Dice in 3-D by structure", "", VOLUMES, "", *table(["structure", *columns], rows),
        *table_row("mean", [f"{each[r]:.2f}" for each in means.values() for r in found.REFERENCES]),
    ]) + "\n"


CARDS: dict[str, Callable[[Path, Mapping[str, object], nn.Module], str]] = {"universeg": universeg, "tyche": tyche, "iris": iris}
