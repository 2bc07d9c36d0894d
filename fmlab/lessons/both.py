"""For lesson 17: new structures are learnt, and the old ones are asked for as well, with the base model's own answers as labels.

    L = L_SEG(Y_new, Yhat_new) + weight * mean over old k and voxels of BCE(P_k, Yhat_k),      P = what the base model says

    found = recorded()                the runs that ship, made by data_scripts/record_both.py
    trade_off(found)                  what is kept of the old over what is learnt of the new
    one(weight=3)                     a run of your own

Source: Li and Hoiem 2016 (learning without forgetting), arXiv:1606.09282; sigmoids in place of a softmax with temperature.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from fmlab.adaptation import attach, fewshot
from fmlab.adaptation.adapting import DECODER_RATE
from fmlab.adaptation.results import append
from fmlab.adaptation.shots import Shots
from fmlab.backbones.caching import weights_hash
from fmlab.backbones.segmenter import Segmenter
from fmlab.hardware import hardware
from fmlab.lessons.new_organs import drawn, mean_dice, scores
from fmlab.lessons.stored import stored
from fmlab.pretraining.masked import masked_bce_dice
from fmlab.pretraining.nano import NOVEL
from fmlab.training import TrainConfig, train

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STORED = Path(__file__).parent / "recordings" / "17_both.jsonl"
WEIGHTS = (0.0, 0.3, 1.0, 3.0, 10.0)
STEPS, SHOTS, CUBES = 200, 5, 16
OLD, NEW = "#0072B2", "#D55E00"  # Okabe-Ito


@dataclass(frozen=True)
class Point:
    """One run. base: hash of the weights that were adapted. before: structure -> mean Dice of the base model over the tested
    people; old, new: of the adapted one."""

    weight: float
    steps: int
    seed: int
    base: str
    before: dict[str, float]
    old: dict[str, float]
    new: dict[str, float]
    hardware: str

    @property
    def means(self) -> tuple[float, float, float]:
        """Mean Dice over the old structures before and after, and over the new ones."""
        before, old, new = (float(np.mean(list(dice.values()))) for dice in (self.before, self.old, self.new))
        return before, old, new


class Told(Dataset):
    """``Shots``, and under "old" what the base model says of each cube: probabilities (K_old, S, S, S)."""

    def __init__(self, shots: Shots, base: Segmenter):
        self.shots = shots
        with torch.no_grad():
            self.old = [base(item["image"][None])[0].sigmoid() for item in shots.items]

    def __len__(self) -> int:
        return len(self.shots)

    def __getitem__(self, index: int) -> dict:
        return self.shots[index] | {"old": self.old[index]}


def objective(model: nn.Module, batch: dict, weight: float) -> Tensor:
    """The loss of both: the old structures are the first channels of the model, the new ones the others."""
    logits, old = model(batch["image"]), batch["old"]
    count = old.shape[1]
    new = masked_bce_dice(logits[:, count:], batch["target"], batch["w"])
    return new + weight * F.binary_cross_entropy_with_logits(logits[:, :count], old)


def one(weight: float, seed: int = 0, steps: int = STEPS, tested: int = 4) -> Point:
    """Decoder and head are tuned for old and new structures at once, and tested; about a minute on one core."""
    people, strangers = fewshot.people(fewshot.Protocol(NOVEL, tested=tested))
    base = fewshot.base().eval()
    adapter = attach(fewshot.base(), "decoder", (*base.structures, *NOVEL), seed=seed)
    data = Told(Shots(drawn(people, SHOTS, seed), NOVEL, CUBES, seed=seed), base)
    config = TrainConfig(steps, lr=DECODER_RATE, weight_decay=0, warmup=max(1, steps // 20), batch=2, seed=seed,
                         precision="float32", clip=1.0, every=steps)
    with tempfile.TemporaryDirectory() as folder:
        train(adapter.model, partial(objective, weight=weight), data, config, folder, progress=False)
    before, dice = (mean_dice(scores(model, strangers)) for model in (base, adapter.model.eval()))
    known, old, new = ({name: round(found[name], 4) for name in names}
                       for found, names in ((before, base.structures), (dice, base.structures), (dice, NOVEL)))
    return Point(weight, steps, seed, weights_hash(base.backbone), known, old, new, hardware())


def record(point: Point, path: Path = STORED) -> None:
    """Add a run to those that ship."""
    append(point, path)


def recorded(path: Path = STORED) -> list[Point]:
    """The runs that were kept, by weight and seed. LessonError where there are none, or a line is no run."""
    return stored(path, Point, "data_scripts/record_both.py", lambda point: (point.weight, point.seed))


def trade_off(points: Sequence[Point]) -> tuple[Figure, str]:
    """Mean Dice of old and of new structures over the weight, and what the old ones had before; and the same in words."""
    from matplotlib.figure import Figure  # takes a while to import; and no pyplot, so that nothing is shown twice

    weights = sorted({point.weight for point in points})
    means = np.array([np.mean([point.means for point in points if point.weight == weight], 0) for weight in weights])
    fig = Figure(figsize=(5.5, 3), layout="constrained")
    ax = fig.add_subplot()
    before = float(means[:, 0].mean())
    ax.axhline(before, color=OLD, linestyle=":", linewidth=1, label="old structures before")
    for column, (what, marker, colour) in enumerate((("old structures", "o-", OLD), ("new structures", "s-", NEW)), start=1):
        ax.plot(range(len(weights)), means[:, column], marker, color=colour, label=what)
    ax.set_xticks(range(len(weights)), [f"{weight:g}" for weight in weights])
    ax.set(xlabel="weight of the old structures in the loss", ylabel="mean Dice on new people", ylim=(0, 1))
    ax.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    told = "; ".join(f"weight {weight:g}: old {old:.2f}, new {new:.2f}" for weight, (_, old, new) in zip(weights, means))
    return fig, f"Mean Dice of old and new structures; the old ones had {before:.2f} before. {told}."
