"""Model cards of the in-context models: Dice over the size of the support and of the ensemble, on what they never trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from data_scripts import incontext_evaluation as found
from data_scripts import iris_evaluation as volumes
from data_scripts import tyche_evaluation as sets
from fmlab import hub
from fmlab.incontext import nano

SEEN = ("liver", "spleen", "aorta", "vertebrae", "urinary_bladder", "lung_left")
CONVENTION = """\
Each number is the mean over tasks (a structure and an axis) of the mean Dice over queries; a missed structure is 0; in brackets
the 95 % interval over tasks. Examples and queries are of people that the training never saw; each query's support is drawn anew
and never of its own person. S: examples in a support set. M: support sets whose probabilities are averaged."""
REAL = """\
A real CT with examples of bodies asks much: another world in every pixel. The second row of it has some of its own slices drawn
by hand, with the queries between them."""
ANSWERS = """\
Axial tasks only, and at most two queries of each. K candidates, K noise images: all M support sets meet the same ones, so
candidate k is a mean over M answers. The best of four is chosen with the truth in hand: it says what the candidates cover, not
what a user gets. The mean of the four candidates' probabilities, above one half, is what one gets who wants one answer."""
VOLUMES = """\
Dice in 3-D on whole scans of people that the training never saw, bodies on a 6 mm grid, two of each hospital; all structures
that were never a task are asked in one pass; a missed structure is 0. The mean over structures with the 95 % interval over
structures. S: references, other people of the same hospitals, whose tokens are averaged (fewer where fewer show a structure). M
has no meaning of its own here: to average tokens is Iris' ensemble, and it costs a query nothing. The real CT is asked with the
references of A-D. Tuned: from the one reference of S=1, T after `iris_tuning.tune_on` with its defaults on that same labelled
scan; no weight changes (not for hospital F, so that the card is made in minutes). Each T is tuned alone, and all compete when
they are asked together: some lose to a neighbour, as the right ventricle does."""
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
    """The card of the nano Tyche: its candidates beside Tyche-IS' and one answer, and over the size of the support."""
    groups = {name: flat(tasks) for name, tasks in body_groups().items()}
    one = hub.load("universeg", "nano")
    ways = {**{f"Tyche-TS, K={k}": sets.by_network(model, k) for k in (1, 4, 8)},
            "Tyche-IS on universeg-nano, K=8": sets.by_changes(one, 8), "universeg-nano, its one answer": sets.by_changes(one, 1)}
    spreads = {name: [sets.spread(make, tasks) for tasks in groups.values()] for name, make in ways.items()}
    both = groups | {name: flat(tasks) for name, tasks in found.real_tasks().items()}
    grids = {name: sets.grid(model, [few(task) for task in tasks]) for name, tasks in both.items()}
    columns = ["examples and queries", "tasks", *[f"S={s}, M={m}" for s, m in grids["A-D"]]]
    best, mean = ({name: [str(len(both[name])), *[getattr(each, what).format(2) for each in row.values()]]
                   for name, row in grids.items()} for what in ("best", "one"))
    return "\n".join([
        *head(weights, notes, f"A small Tyche-TS ({parameters(model)}, {nano.SIZE} x {nano.SIZE} pixels): several candidates "
                              "from examples, for several readers."),
        "", "## Candidates and readers", "", READERS, "",
        *table(["candidates", *[f"{what}, {group}" for group in groups for what in ("best", "GED")]],
               {name: [e.format(2) for s in row for e in (s.best, s.ged)] for name, row in spreads.items()}),
        "", "## Dice by size of support and ensemble, K=4", "", CONVENTION, ANSWERS, "",
        "### The best of four candidates", "", *table(columns, best), "",
        "### The mean of their probabilities, as one answer", "", *table(columns, mean), "", REAL,
    ]) + "\n"


def flat(tasks: Sequence[found.Task]) -> list[found.Task]:
    """All but the coronal tasks."""
    return [task for task in tasks if not task.name.endswith("coronal")]


def few(task: found.Task, most: int = 2) -> found.Task:
    """The task with ``most`` of its queries, evenly chosen."""
    count = len(task.queries)
    return task if count <= most else replace(task, queries=task.queries[[i * count // most for i in range(most)]])


def iris(weights: Path, notes: Mapping[str, object], model: nn.Module) -> str:
    """The card of the nano Iris: Dice in 3-D over the number of references, and after tuning on one of them."""
    groups = {"A-D": "ABCD", "E": "E", "F": "F"}
    given = {group: volumes.references(model, volumes.supports(hospitals)) for group, hospitals in groups.items()}
    tasks = {group: {f"S={s}": each.tasks(s) for s in found.SHOTS} for group, each in given.items()}
    for group in ("A-D", "E"):
        tasks[group]["S=1, tuned"] = volumes.tuned(model, given[group])
    tasks["real CT"] = tasks["A-D"]
    scans = {group: volumes.queries(hospitals) for group, hospitals in groups.items()} | {"real CT": volumes.real_scans()}
    dice = {group: {way: volumes.volume_dice(model, task, asked) for way, task in tasks[group].items()}
            for group, asked in scans.items() if asked}
    learned = volumes.references(model, volumes.supports("ABCD"), SEEN).tasks(16)
    seen = found.mean_of([*volumes.volume_dice(model, learned, scans["A-D"]).values()])
    ways = [*tasks["A-D"]]
    mean = {group: {way: found.mean_of([*each.values()]) for way, each in row.items()} for group, row in dice.items()}
    columns = [(group, way) for group, row in dice.items() for way in ("S=1", "S=16", "S=1, tuned") if way in row]
    return "\n".join([
        *head(weights, notes, f"A small Iris ({parameters(model)}, windows of 48 x 32 x 32 voxels of 8 mm): all classes of a "
                              "volume in one pass, from tokens of labelled volumes."),
        f"- mean Dice on structures that were never a task, hospitals A to D, S=16: {mean['A-D']['S=16']}; S=1: "
        f"{mean['A-D']['S=1']}; S=1, T tuned on that one: {mean['A-D']['S=1, tuned']}",
        f"- the same on tasks of the training ({', '.join(SEEN)}), new people, S=16: {seen}",
        "", "## Dice in 3-D by number of references", "", VOLUMES, "",
        *table(["scans", "structures", *ways],
               {group: [str(len(dice[group]["S=1"])), *[row[way].format(2) if way in row else "-" for way in ways]]
                for group, row in mean.items()}),
        "", "## Dice in 3-D by structure", "",
        *table(["structure", *[f"{group}, {way}" for group, way in columns]],
               {name: [cell(dice[group][way].get(name)) for group, way in columns] for name in nano.HELD_OUT}),
    ]) + "\n"


CARDS: dict[str, Callable[[Path, Mapping[str, object], nn.Module], str]] = {"universeg": universeg, "tyche": tyche, "iris": iris}
