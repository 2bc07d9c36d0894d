"""For lesson 18: LoRA of several ranks, ARENA, and the controls that tell what of ARENA does the work; run, kept and read.

    found = recorded()                                  the runs that ship, made by data_scripts/record_ranks.py
    print(table(found, LORA_24))                        arm by arm: Dice with interval, difference to another arm, ranks
    best_ranks(found)                                   how often each rank comes out best when the people are drawn again
    fates({"colon": (start, end, taken_off(setting))})  what became of each gate
    alike(one, other)                                   whether two runs closed the same ones
    seen(1.57, deviation=5, people=5)                   how often an experiment of that size sees such a gain
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from fmlab.adaptation import Adapter, arena, attach, fewshot
from fmlab.adaptation.adalora import SVDLinear
from fmlab.adaptation.adapting import DECODER_RATE, RATES, Budget, adapt, objective
from fmlab.adaptation.added import added
from fmlab.adaptation.arena import Gated
from fmlab.adaptation.fewshot import Protocol
from fmlab.adaptation.lora import LoRALinear
from fmlab.adaptation.report import effective_ranks
from fmlab.adaptation.results import Result, append, by_case, estimate
from fmlab.adaptation.sampling import support
from fmlab.adaptation.shots import Shots
from fmlab.cohorts import Cohort
from fmlab.errors import LessonError
from fmlab.hardware import hardware
from fmlab.lessons.stored import stored
from fmlab.metrics.bootstrap import Estimate, estimates
from fmlab.training import TrainConfig, learning_rate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STORED = Path(__file__).parent / "recordings" / "18_arena.jsonl"
ORGANS = ("colon", "aorta", "gluteus_maximus_right")
NEW = ORGANS[2:]  # which the base model has never seen labelled; there the decoder is tuned too, in all arms
RANKS = (1, 2, 4, 8)  # as FSEFT counts; R is three times as much
STEPS, SHOTS = 100, 5
LORA_12, LORA_24, ARENA, RANDOM = "LoRA, R = 12", "LoRA, R = 24", "ARENA", "lambda = 0, then closed at random"
NONE = "no adapter"

ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    NONE: ("decoder", {}),
    **{f"LoRA, R = {3 * rank}": ("lora", {"rank": rank}) for rank in RANKS},
    ARENA: ("arena", {}),
    "lambda = 0": ("arena", {"step": "none"}),
    "gates frozen as drawn": ("arena", {"gates": "frozen"}),
    "SoRA": ("sora", {}),
    "AdaLoRA": ("adalora", {"steps": STEPS}),
}
"""Arm -> method and options. NONE is the base model as it is, and for a new organ the decoder alone. With gates that are all 1
ARENA is LoRA of R = 24, number for number, so that arm need not be run. RANDOM is made of "lambda = 0": after its training as
many gates are closed as in ARENA's run, whichever they are."""
ONCE = ("SoRA", "AdaLoRA")  # of the first draw only, in the runs that ship: they are slow, and not what the lesson is about


@dataclass(frozen=True)
class Arm:
    """One adaptation. name: of ARMS, or RANDOM. base: hash of the weights that were adapted. result: as ``fewshot`` has it.

    ranks, left: of all layers together, in the beginning, and those that are not closed in the end. effective: rank of the
    update, mean over layers. start, end: gates in the beginning and in the end, () for a method without.
    """

    name: str
    base: str
    result: Result
    ranks: int
    left: int
    effective: float
    start: tuple[float, ...] = ()
    end: tuple[float, ...] = ()

    @property
    def organ(self) -> str:
        """What was to be segmented."""
        return self.result.task["structures"][0]

    @property
    def draw(self) -> int:
        """The seed: of the five people, of the gates and of the order."""
        return self.result.task["seed"]


def protocol(organ: str, steps: int = STEPS, tested: int = 5) -> Protocol:
    """One organ, five shots, one cube a step. At the course's rate a hundred steps have as much threshold in them as the
    published schedule for five shots. tested: people, by default as many as the papers test an organ on."""
    return Protocol((organ,), shots=(SHOTS,), pool=8, tested=tested, cubes=12, budget=Budget(steps, batch=1, marks=1))


def support_of(setting: Protocol, seed: int) -> Shots:
    """Cubes of the people whom the seed draws."""
    pool, _ = fewshot.people(setting)
    drawn = support(pool.patients, setting.shots[0], seed)
    cohort = Cohort(f"{len(drawn)} of {pool.name}", tuple(pool.cases[i] for i in drawn))
    return Shots(cohort, setting.structures, setting.cubes, setting.side, seed)


def run(setting: Protocol, seed: int, names: Sequence[str] = tuple(ARMS)) -> Iterator[Arm]:
    """These arms of one organ and seed, one after the other; RANDOM where both ARENA and "lambda = 0" are among them."""
    organ, left, shots = setting.structures[0], None, support_of(setting, seed)
    for name in names:
        method, options = ARMS[name]
        steps = 0 if name == NONE and organ not in NEW else setting.budget.steps
        adapter = attach(fewshot.base(setting.base), method, setting.structures, organ in NEW, seed, **options)
        start, seconds = gates_of(adapter.model), adapt(adapter, shots, setting.budget, seed).seconds if steps else 0.0
        said = {"structures": list(setting.structures), "method": method, "options": options, "shots": setting.shots[0],
                "steps": steps, "seed": seed, "decoder": organ in NEW}
        made = Result(said, {}, adapter.count if steps else 0, seconds, steps, hardware())
        yield (done := _arm(name, adapter, made, setting, start))
        left = done.left if name == ARENA else left
        if name == "lambda = 0" and left is not None:
            arena.prune_at_random(adapter.model, left, torch.Generator().manual_seed(seed))
            yield _arm(RANDOM, adapter, made, setting, start)


def taken_off(setting: Protocol) -> float:
    """lambda x the sum of ARENA's rates over the steps of a protocol: all that the threshold can take off a gate in it."""
    steps = setting.budget.steps
    rate = DECODER_RATE if setting.structures[0] in NEW else RATES["arena"]
    config = TrainConfig(steps, lr=setting.budget.rate * rate, warmup=max(1, steps // 20))  # as ``adapt`` trains
    return arena.LAMBDA * sum(learning_rate(config, step) for step in range(steps))


def slopes(model: nn.Module, shots: Shots, loss: str = "bce_dice", every: int = 4) -> Tensor:
    """The gradient of the loss on each gate, cube by cube, (cubes, ranks), with every ``every``-th cube of the support."""
    gates = [layer.v for layer in arena.gated(model)]
    found = []
    for item in shots.items[::every]:
        batch = {name: item[name][None].to(gates[0].device) for name in ("image", "target", "w")}
        found.append(torch.cat(torch.autograd.grad(objective(model, batch, loss), gates)))
    return torch.stack(found)


def _arm(name: str, adapter: Adapter, made: Result, setting: Protocol, start: Tensor) -> Arm:
    """The arm as its model is now, tested."""
    model = adapter.model
    dice = fewshot.scored(model, setting, fewshot.people(setting)[1])
    ranks, left = ranks_of(model)
    effective = float(np.mean(list(effective_ranks(model).values()) or [0]))
    gates = [tuple(round(float(value), 5) for value in values) for values in (start, gates_of(model))]
    return Arm(name, adapter.base_hash, replace(made, dice=dice), ranks, left, effective, *gates)


def gates_of(model: nn.Module) -> Tensor:
    """All gates of a model, layer after layer, (ranks,); none for a method without gates."""
    found = [layer.v.detach().cpu().clone() for layer in model.modules() if isinstance(layer, Gated)]
    return torch.cat(found) if found else torch.empty(0)


def ranks_of(model: nn.Module) -> tuple[int, int]:
    """Ranks of all updates together, and those that add something: whose gate, or AdaLoRA's E, is not 0."""
    ranks = [layer.v if isinstance(layer, Gated) else layer.E if isinstance(layer, SVDLinear) else torch.ones(len(layer.A))
             for _, layer in added(model) if isinstance(layer, Gated | SVDLinear | LoRALinear)]
    return sum(each.numel() for each in ranks), sum(int((each != 0).sum()) for each in ranks)


def record(arm: Arm, path: Path = STORED) -> None:
    """Add a run to a file, a line each."""
    append(arm, path)


def recorded(path: Path = STORED) -> list[Arm]:
    """The runs of a file, by default those that ship. LessonError where it cannot be read."""
    def arm(**row: Any) -> Arm:
        return Arm(**{**row, "result": Result(**row["result"]), "start": tuple(row["start"]), "end": tuple(row["end"])})

    return stored(path, arm, "python -m data_scripts.record_ranks")


def named(arms: Sequence[Arm], name: str, organ: str | None = None) -> list[Arm]:
    """The arms of a name, of all organs or of one. LessonError where there are none."""
    found = [arm for arm in arms if arm.name == name and organ in (None, arm.organ)]
    if not found:
        raise LessonError(f"There is no run of {name!r}{f' on the {organ}' if organ else ''}; there are: "
                          f"{', '.join(dict.fromkeys(arm.name for arm in arms)) or 'none'}.")
    return found


def difference(arms: Sequence[Arm], name: str, against: str) -> Estimate:
    """Mean Dice of an arm, less that of another in the same organs and seeds, with its 95% interval over people."""
    one, other = (paired(arms, each) for each in (name, against))
    return estimate(*[[arm.result for key, arm in each.items() if key in one.keys() & other.keys()] for each in (one, other)])


def paired(arms: Sequence[Arm], name: str) -> dict[tuple[str, int], Arm]:
    """(organ, seed) -> the arm of that name."""
    return {(arm.organ, arm.draw): arm for arm in named(arms, name)}


def table(arms: Sequence[Arm], against: str) -> str:
    """A row an arm: runs, numbers trained (where the decoder is not), ranks left of those it began with, effective rank, Dice,
    and its difference to ``against`` in the same runs, both with 95% intervals over people."""
    rows = [("arm", "runs", "trained", "ranks left", "effective", "Dice [95%]", f"less {against} [95%]")]
    for name in dict.fromkeys(arm.name for arm in arms):
        own = named(arms, name)
        left, ranks, effective = (np.mean([getattr(arm, each) for arm in own]) for each in ("left", "ranks", "effective"))
        less = "" if name == against else difference(arms, name, against).format(3)
        rows.append((name, str(len(own)), f"{min(arm.result.count for arm in own):,}", f"{left:.0f} of {ranks:.0f}",
                     f"{effective:.1f}", estimate([arm.result for arm in own]).format(3), less))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.rjust(w) if 0 < i < 5 else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths)))
                     .rstrip() for row in rows)


def best_ranks(arms: Sequence[Arm], redraws: int = 2000, seed: int = 0) -> dict[str, dict[str, tuple[float, float]]]:
    """Organ and draw of shots -> arm of LoRA -> its mean Dice, and the share of redraws of the tested people in which it is the
    best."""
    names = [name for name in dict.fromkeys(arm.name for arm in arms) if name.startswith("LoRA")]
    found = {}
    for organ, draw in dict.fromkeys((arm.organ, arm.draw) for arm in arms):
        own = [paired(arms, name)[organ, draw].result.dice for name in names]
        dice = np.array([[each[person] for person in own[0]] for each in own])
        drawn = np.random.default_rng(seed).integers(dice.shape[1], size=(redraws, dice.shape[1]))
        first = dice[:, drawn].mean(-1).argmax(0)  # (arms, redraws) -> the best arm of each redraw
        found[f"{organ}, draw {draw + 1}"] = {name: (float(dice[row].mean()), float((first == row).mean()))
                                              for row, name in enumerate(names)}
    return found


def agree_by_chance(ranks: int, tasks: int) -> float:
    """How likely all tasks have one best rank if ranks make no difference, and noise alone says which is the best."""
    return ranks ** (1 - tasks)


def alike(one: Sequence[float], other: Sequence[float]) -> tuple[int, float]:
    """Of two runs' gates at their ends: how many are closed in both, and how many would be if each closed its own at random."""
    a, b = (np.asarray(each) == 0 for each in (one, other))
    return int((a & b).sum()), float(a.sum() * b.sum() / len(a))


def seen(gain: float, deviation: float, people: int, experiments: int = 2000, seed: int = 0) -> float:
    """The share of experiments whose 95% interval, by bootstrap over people, lies above 0.

    In each, ``people`` people's paired differences are drawn from a normal distribution of mean ``gain`` and this standard
    deviation, which are in points of Dice or whatever else.
    """
    values = np.random.default_rng(seed).normal(gain, deviation, (people, experiments))
    each, _ = estimates(values, np.ones_like(values))
    return float(np.mean([found.low > 0 for found in each]))


def deviations(arms: Sequence[Arm], name: str = ARENA, against: str = LORA_24) -> dict[str, float]:
    """Organ -> standard deviation over people of the paired difference of two arms, in points of Dice."""
    found = {}
    for organ in dict.fromkeys(arm.organ for arm in arms):
        one, other = (by_case([arm.result for arm in named(arms, each, organ)]) for each in (name, against))
        found[organ] = 100 * float(np.std([one[case] - other[case] for case in one], ddof=1))
    return found


def fates(runs: Mapping[str, tuple[Sequence[float], Sequence[float], float]]) -> tuple[Figure, str]:
    """Gates at the end over their size when drawn, a panel a run: gates before, gates after, and what the threshold takes off in
    all. Left of that, dotted, are those that would be closed without any gradient. And the same in words."""
    from matplotlib.figure import Figure  # takes a while to import; and no pyplot, so that nothing is shown twice

    fig, told = Figure(figsize=(3.2 * len(runs), 3.2), layout="constrained"), []
    for ax, (name, (start, end, most)) in zip(np.atleast_1d(fig.subplots(1, len(runs), sharey=True)), runs.items()):
        size, end = np.abs(np.asarray(start)), np.abs(np.asarray(end))
        shut, near = end == 0, size <= most
        ax.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
        for chosen, mark, colour, label in ((~shut, "o", "#0072B2", "open"), (shut, "x", "#D55E00", "closed")):
            ax.plot(size[chosen], end[chosen], mark, color=colour, markersize=4, label=f"{int(chosen.sum())} {label}")
        ax.axvline(most, color="#595959", linestyle=":", linewidth=1)
        ax.set_title(name, fontsize=10)
        ax.set_xlabel("|v| when drawn")
        ax.legend(frameon=False, fontsize=8, loc="upper left")
        told.append(f"{name}: {int(shut.sum())} of {len(end)} closed, {int((shut & near).sum())} of them among the "
                    f"{int(near.sum())} that began below {most:.2f}")
    fig.axes[0].set_ylabel("|v| after training")
    return fig, f"Size of each gate after training over its size when drawn. {'; '.join(told)}."
