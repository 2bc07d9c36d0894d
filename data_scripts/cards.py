"""Model cards: what a weight file is, how it was made, and how good it is, as measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from data_scripts.course_evaluation import Evaluation

AIMS = {"liver": 0.80, "lung_left": 0.85, "lung_right": 0.85, "spleen": 0.60, "kidney_left": 0.60, "kidney_right": 0.60,
        "urinary_bladder": 0.60}


def card(weights: Path, notes: Mapping[str, object], found: Evaluation) -> str:
    """The Markdown text of a card. notes: those stored in the file (command, seed, data ...)."""
    lines = [
        f"# {weights.stem}", "",
        "A small 3-D U-Net (nano, 1.25 million parameters) that marks 30 structures in a CT. For teaching, not for diagnosis.",
        "", f"- file: {weights.name}, {weights.stat().st_size / 1e6:.1f} MB, safetensors",
        *[f"- {key}: {value}" for key, value in notes.items()],
        "- licence: that of fmlab; trained on procedural bodies alone, no patient's scan was used", *dice_table(found, AIMS)]
    return "\n".join(lines) + "\n"


def dice_table(found: Evaluation, aims: Mapping[str, float] | None = None) -> list[str]:
    """Means over the 20 largest structures, then Dice per structure; aims: what was to be reached on the real CT."""
    means = {group: found.mean(group) for group in found.groups}
    aim = " | aim" if aims else ""
    lines = [
        f"- mean Dice over the {len(found.largest)} largest structures (marked *): {means['A-D']:.3f} on unseen bodies of the "
        f"hospitals A to D, {means['E']:.3f} on hospital E, {means['F']:.3f} on hospital F, neither of which it trained on",
        "- conventions: a missed structure, and one found where there is none, count as Dice 0 (see fmlab.metrics)", "",
        "## Dice per structure", "",
        "Mean and 95 % interval over bodies. The real CT, never trained on, is TotalSegmentator's example; its reference labels "
        "are a model's output too." + (" Aim: what this model was to reach there." if aims else ""), "",
        f"| structure | A-D | E | F | real CT{aim} |", "|---" * (6 if aims else 5) + "|",
    ]
    rows = {group: {row.structure: row.dice for row in summary.rows} for group, summary in found.groups.items()}
    for name in dict.fromkeys(n for group in rows.values() for n in group):
        cells = [_interval(rows[group].get(name)) for group in found.groups]
        star = " *" if name in found.largest else ""
        real = found.real.get(name)
        last = [f"{aims.get(name) or ''}"] if aims else []
        lines.append(f"| {' | '.join([name + star, *cells, '-' if real is None else f'{real:.2f}', *last])} |")
    return lines


def _interval(dice) -> str:
    if dice is None:
        return "-"
    return f"{dice.mean:.2f}" + (f" [{dice.low:.2f}, {dice.high:.2f}]" if dice.has_interval else "")
