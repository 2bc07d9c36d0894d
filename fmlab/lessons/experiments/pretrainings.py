"""The course's seven pre-trainings side by side, three seeds each: the same bodies, one budget, one test.

    seed -> pre-training -> Dice with no further training (supervised methods): new people of the hospitals A to D, the unseen
                            hospitals E and F, the real CT
                         -> the same fine-tuning on ten people for structures that are new -> Dice on others

The seed draws the network's first weights and the order of its bodies, and in the fine-tuning who is labelled. UniSeg is there
twice: it took 2000 steps where the others took 800, and "uniseg, 800 steps" is what the common budget makes of it. Each method
has the learning rate of its pre-training in the fine-tuning too: UniSeg 1e-2, the others 3e-3. "scratch" begins the fine-tuning
at random; the networks of the three prompt-driven methods differ from the U-Net of the others.

    found = recorded()                what ships, made by data_scripts/compare_pretrainings.py
    print(table(found)); compared(found)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, nn

from fmlab import hub
from fmlab.adaptation.results import append
from fmlab.cohorts import Cohort
from fmlab.errors import ModelError
from fmlab.hardware import hardware
from fmlab.lessons.experiments import transfer_curves as curves
from fmlab.lessons.stored import stored
from fmlab.pretraining import nano, uniseg
from fmlab.pretraining.transfer import LEAST
from fmlab.training.order import seeded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STORED = Path(__file__).parents[1] / "recordings" / "pretrainings.jsonl"
LABELLED = 10
SHORT = "uniseg, 800 steps"
U_NETS = {"scratch": "scratch", "clip_driven": "supervised", "mae": "mae", "genesis": "genesis", "swin_ssl": "swin_ssl"}
"""Those of one network, and which arm of ``transfer_curves`` each is."""
NEW_TASK = {  # how a prompt-driven network is built for one new task, and what it is asked then
    "dodnet": ({"size": "nano", "tasks": 1, "outputs": len(nano.NOVEL)}, (0,)),
    "uniseg": ({"size": "nano", "tasks": 0, "classes": len(nano.NOVEL), "patch": (nano.SIDE,) * 3}, ()),
    "hermes": ({"size": "nano", "tasks": len(nano.NOVEL), "modalities": 1}, (list(range(len(nano.NOVEL))),)),
}
NAMES = ("clip_driven", "dodnet", "uniseg", SHORT, "hermes", "mae", "genesis", "swin_ssl", "scratch")
PLACES = ("A-D", "E", "F", "real CT")
COLUMNS = (*PLACES, "new structures")


@dataclass(frozen=True)
class Compared:
    """One pre-training. zero_shot: where -> mean Dice over the 16 structures; empty for the self-supervised. novel: person ->
    mean Dice over new structures after the fine-tuning."""

    method: str
    seed: int
    steps: int
    zero_shot: dict[str, float]
    novel: dict[str, float]
    hardware: str


class NewTask(nn.Module):
    """A prompt-driven network that is asked one thing always, so that it maps x (B, 1, X, Y, Z) to logits (B, K, X, Y, Z)."""

    structures = nano.NOVEL

    def __init__(self, network: nn.Module, asked: tuple):
        super().__init__()
        self.network, self.asked = network, asked

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x, *self.asked)


def begun(method: str, seed: int, pretrained: nn.Module | None, pool: Sequence[str], tested: Sequence[str]) -> nn.Module:
    """The network of a method for NOVEL, with what the pre-trained one hands on; prompt, tokens, controller or head are new.

    ModelError where less than 95 % of its tensors arrive.
    """
    if method in U_NETS:
        return curves.begun(U_NETS[method], seed, pretrained, pool, tested)
    config, asked = NEW_TASK[method]
    with seeded(seed):
        network = hub.build(method, **config)
    state, theirs = network.state_dict(), pretrained.state_dict()
    theirs = uniseg.downstream(theirs) if method == "uniseg" else theirs
    kept = {key: value for key, value in theirs.items() if key in state and state[key].shape == value.shape}
    outputs = sum(key.startswith(("seg_outputs.", "controller.")) or "task_prior" in key for key in state)
    if len(kept) < LEAST * (len(state) - outputs):
        raise ModelError(f"Only {len(kept)} of {len(state)} tensors of {method} match those of the pre-trained model; give "
                         "weights of the same size.")
    network.load_state_dict(kept, strict=False)
    return NewTask(network, asked)


def novel(method: str, seed: int, pretrained: nn.Module | None, setting: curves.Setting, folder: Path) -> dict[str, float]:
    """Person -> mean Dice over the new structures after fine-tuning on LABELLED people, drawn by the seed.

    pretrained: None for "scratch", and for weights that ship, of which C11 and C12 have the same fine-tuning: it is done once.
    """
    if pretrained is None:
        return curves.curve(U_NETS[method], (LABELLED,), seed, setting, folder / curves.FOLDER, False, None)[LABELLED]
    pool, unseen = curves.people(setting)
    order = np.random.default_rng(seed).permutation(len(pool))
    labelled = Cohort(f"{LABELLED} of {pool.name}", tuple(pool.cases[i] for i in order[:LABELLED]))
    model = begun(method, seed, pretrained, labelled.patients, unseen.patients)
    kept = folder / "pretrainings" / f"{method}-seed{seed}-{setting.steps}"
    return curves.scored(curves.fine_tuned(model, labelled, seed, setting, kept, False, nano.METHODS[method].lr), unseen)


def compared_with(method: str, seed: int, steps: int, zero_shot: Mapping[str, float], dice: Mapping[str, float]) -> Compared:
    """A line of the record, rounded."""
    return Compared(method, seed, steps, *({key: round(float(value), 4) for key, value in found.items()}
                                           for found in (zero_shot, dice)), hardware())


def record(line: Compared, path: Path = STORED) -> None:
    """Add a line to what ships."""
    append(line, path)


def recorded(path: Path = STORED) -> list[Compared]:
    """All lines, by method and seed. LessonError where there are none, or a line is none of ours."""
    return stored(path, Compared, "data_scripts/compare_pretrainings.py", lambda line: (NAMES.index(line.method), line.seed))


def rows(found: Sequence[Compared]) -> dict[str, dict[str, list[float]]]:
    """Method -> place, or "new structures" -> mean Dice of each seed."""
    result: dict[str, dict[str, list[float]]] = {}
    for line in found:
        row = result.setdefault(line.method, {})
        for place, dice in line.zero_shot.items():
            row.setdefault(place, []).append(dice)
        row.setdefault("new structures", []).append(float(np.mean(list(line.novel.values()))))
    return result


def table(found: Sequence[Compared]) -> str:
    """Mean Dice over seeds and, in brackets, the lowest and the highest, a line a method."""
    lines = [f"{'':18s}" + "".join(f"{column:>18s}" for column in COLUMNS)]
    for method, row in rows(found).items():
        cells = [spread(row.get(column, ())) for column in COLUMNS]
        lines.append(f"{method:18s}" + "".join(f"{cell:>18s}" for cell in cells))
    return "\n".join(lines)


def spread(values: Sequence[float]) -> str:
    """Mean, lowest and highest: "0.60 [0.50, 0.70]"; "-" of nothing."""
    return f"{np.mean(values):.2f} [{min(values):.2f}, {max(values):.2f}]" if values else "-"


def compared(found: Sequence[Compared]) -> tuple[Figure, str]:
    """A mark a seed: without further training on unseen hospitals, and after fine-tuning to new structures; and it in words."""
    from matplotlib.figure import Figure  # takes a while to import; and no pyplot, so that nothing is shown twice

    every = rows(found)
    fig = Figure(figsize=(8, 0.36 * len(every) + 1.1), layout="constrained")
    left, right = fig.subplots(1, 2, sharey=True)
    words = []
    for title, ax in (("unseen hospitals, as it is", left), ("new structures, fine-tuned", right)):
        for y, (method, row) in enumerate(every.items()):
            values = row["new structures"] if ax is right else [np.mean(pair) for pair in zip(row.get("E", ()), row.get("F", ()))]
            colour = "#0072B2" if row.get("E") else "#D55E00" if method != "scratch" else "#666666"
            ax.plot(values, [y] * len(values), "o", color=colour, markersize=5, alpha=0.8)
            if values:
                ax.plot([np.mean(values)], [y], "|", color="black", markersize=14)
                words.append(f"{method}, {title}: {np.mean(values):.2f}")
        ax.set(title=title, xlabel="mean Dice, a mark a seed", xlim=(0, 1))
        ax.grid(axis="x", alpha=0.3)
    left.set_yticks(range(len(every)), list(every))
    left.invert_yaxis()
    return fig, "Mean Dice of the course's pre-trainings over seeds. " + "; ".join(words) + "."
