"""Model cards of the in-context models: Dice over the size of the support and of the ensemble, on what they never trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from data_scripts import incontext_evaluation as found
from fmlab import hub
from fmlab.incontext import nano
from fmlab.incontext.tyche_is import inference_candidates

CONVENTION = (
    "Each number is the mean over tasks (a structure and an axis) of the mean Dice over queries; a missed structure is 0; in "
    "brackets "
    "the 95 % interval over tasks. Examples and queries are of people that the training never saw, each query's support is "
    "drawn anew "
    "and never of its own person. S: examples in a support set. M: support sets whose probabilities are averaged.")
OF_LICENCE = "that of fmlab; trained on procedural bodies and synthetic shapes alone, no patient's scan was used"


def head(weights: Path, notes: Mapping[str, object], what: str) -> list[str]:
    """The lines that every card begins with."""
    return [f"# {weights.stem}", "", f"{what} For teaching, not for diagnosis.", "",
            f"- file: {weights.name}, {weights.stat().st_size / 1e6:.1f} MB, safetensors",
            *[f"- {key}: {value}" for key, value in notes.items()], f"- licence: {OF_LICENCE}", ""]


def universeg(weights: Path, notes: Mapping[str, object], model: nn.Module) -> str:
    """The card of the nano UniverSeg."""
    groups = {"A-D": found.body_tasks("ABCD"), "E": found.body_tasks("E", supports=18, queries=6),
              "F": found.body_tasks("F", supports=18, queries=6)}
    seen = found.body_tasks("ABCD", ("liver", "spleen", "aorta", "vertebrae", "urinary_bladder", "lung_left"))
    real = found.real_tasks()
    tables = {name: found.grid(model, tasks) for name, tasks in (groups | real).items()}
    plain, wrong = tables["A-D"][16, 1], found.control(model, groups["A-D"])
    lines = head(weights, notes, f"A small UniverSeg ({parameters(model):,} parameters, {nano.SIZE} x {nano.SIZE} pixels): one "
                                 "class "
                                 "from examples, without training.")
    lines += [f"- structures never met as a task, hospitals A to D, S=16, M=1: {plain}; tasks of the training: "
              f"{found.grid(model, seen, (16,), (1,))[16, 1]}",
              "- control, every support image with another task's mask: "
              f"{wrong}", "", "## Dice by size of support and ensemble", "",
              CONVENTION, "", f"| examples and queries | tasks | {' | '.join(f'S={s}, M={m}' for s, m in tables['A-D'])} |",
              "|---|---|" + "---|" * len(tables["A-D"])]
    for name, tasks in (groups | real).items():
        cells = [estimate.format(2) for estimate in tables[name].values()]
        lines.append(f"| {name} | {len(tasks)} | {' | '.join(cells)} |")
    lines += ["", "A real CT with examples of bodies asks much: another world in every pixel. With some of its own slices drawn by "
              "hand (the neighbours of the query, at least two slices away) the same model does better.", "",
              "## Dice by structure, S=16, M=1", "", f"| structure | {' | '.join(groups | real)} |",
              "|---|" + "---|" * len(groups | real)]
    rows = {name: found.by_structure(model, tasks) for name, tasks in (groups | real).items()}
    for structure in dict.fromkeys(key for row in rows.values() for key in row):
        cells = [f"{row[structure]:.2f}" if structure in row else "-" for row in rows.values()]
        lines.append(f"| {structure} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def tyche(weights: Path, notes: Mapping[str, object], model: nn.Module) -> str:
    """The card of the nano Tyche: its candidates beside those of Tyche-IS, and beside one answer."""
    groups = {"A-D": found.body_tasks("ABCD"), "E": found.body_tasks("E", supports=18, queries=6),
              "F": found.body_tasks("F", supports=18, queries=6)}
    one = hub.load("universeg", "nano")
    ways: dict[str, Callable] = {
        "Tyche-TS, K=1": by_network(model, 1), "Tyche-TS, K=4": by_network(model, 4), "Tyche-TS, K=8": by_network(model, 8),
        "Tyche-IS on universeg-nano, K=8": by_changes(one, 8), "universeg-nano, one answer": by_changes(one, 1)}
    lines = head(weights, notes, f"A small Tyche-TS ({parameters(model):,} parameters, {nano.SIZE} x {nano.SIZE} pixels): "
                                 "several "
                                 "candidates from examples, for several readers.")
    lines += ["## Candidates and "
              "readers", "", "Four simulated readers draw each query (`fmlab.incontext.readers`), S=16. Best: mean "
              "over readers of the Dice of the best candidate. GED: squared generalised energy distance, lower is better. Mean "
              "over "
              "tasks that the training never met, with the 95 % interval over tasks.", "",
              f"| candidates | {' | '.join(f'best, {g} | GED, {g}' for g in groups)} |", "|---|" + "---|" * 2 * len(groups)]
    for name, make in ways.items():
        spreads = [found.spread(make, tasks) for tasks in groups.values()]
        lines.append(f"| {name} | {' | '.join(f'{s.best.format(2)} | {s.ged.format(2)}' for s in spreads)} |")
    return "\n".join(lines) + "\n"


def by_network(model: nn.Module, candidates: int) -> Callable:
    """Candidates (K, H, W) of Tyche-TS for ``spread``."""
    def make(task: found.Task, query: int, seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        support = task.support.draw(16, generator)
        with torch.no_grad():
            logits = model(task.queries.images[query][None], support.images[None], support.masks[None], candidates,
                           generator=generator)
        return (logits[0] > 0).float()
    return make


def by_changes(model: nn.Module, candidates: int) -> Callable:
    """Candidates (K, H, W) of Tyche-IS for ``spread``; with one candidate, the model's plain answer."""
    def make(task: found.Task, query: int, seed: int) -> torch.Tensor:
        support = task.support.draw(16, torch.Generator().manual_seed(seed))
        answers = inference_candidates(model, task.queries.images[query], support.images, support.masks, candidates, seed)
        return (answers > 0.5).float()
    return make


def parameters(model: nn.Module) -> int:
    """How many numbers were learned."""
    return sum(p.numel() for p in model.parameters())


CARDS: dict[str, Callable[[Path, Mapping[str, object], nn.Module], str]] = {"universeg": universeg, "tyche": tyche}
