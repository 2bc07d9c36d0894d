"""Transfer curves: what pre-training is worth on new structures, by method and by the number of labelled cases (C11, C12).

    arm -> theta_f at the start -> the same fine-tuning on n labelled people -> Dice on people whom nobody trained on

New structures are those of ``pretraining.nano.NOVEL``, drawn by hospital F, which no pre-training saw. All arms have one network,
one budget and one set of rates (``pretraining.transfer``, points 3 and 4), and the head begins at random; the seed draws who is
labelled, the head and the order; theta_f is that of the weights that ship, trained once. Cubes are not randomised: with
randomisation so few steps end wherever they happen to be, 0.1 of Dice apart from one seed to the next.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
from torch import nn

from fmlab import cohorts, hub, metrics, randomise
from fmlab.cohorts import Cohort
from fmlab.errors import ModelError
from fmlab.inference import segment
from fmlab.lessons import claims
from fmlab.lessons.files import write_json
from fmlab.phantom.visits import any_visit
from fmlab.pretraining import clip_driven, genesis, mae, nano, swin_ssl, universal
from fmlab.pretraining.patches import Patches
from fmlab.pretraining.transfer import COURSE, Transfers, transfer
from fmlab.training import train
from fmlab.training.order import seeded

CENTRE, LABELLED_SEED, UNSEEN_SEED = "F", 50_000, 58_000
FEW = 3  # bodies per hospital of "supervised on few": 12 in all, where the others have 160

SOURCES: dict[str, tuple[str, Transfers, str]] = {
    "supervised": ("clip_driven", clip_driven.TRANSFERS, "encoder+decoder"),
    "supervised on few": ("clip_driven", clip_driven.TRANSFERS, "encoder+decoder"),
    "mae": ("mae", mae.TRANSFERS, "encoder+decoder"),
    "genesis": ("genesis", genesis.TRANSFERS, "encoder+decoder"),
    "swin_ssl": ("swin_ssl", swin_ssl.TRANSFERS, "encoder"),
}
"""Arm -> method, what it hands on, and which parts of it; "scratch" is an arm without a source."""
SELF_SUPERVISED = ("mae", "genesis", "swin_ssl")
FOLDER = "transfer_curves"  # of the trainings, which C11 and C12 share in part
Curves = dict[str, dict[int, dict[str, float]]]  # arm -> number of labelled people -> person -> Dice


@dataclass(frozen=True)
class Setting:
    """What a run costs. steps: of each fine-tuning. pool: labelled people at most. unseen: people who are scored. pre_steps: of
    the pre-training on few scans, which does not ship."""

    steps: int = 400
    pool: int = 100
    unseen: int = 6
    pre_steps: int = nano.STEPS
    precision: str = "bf16"


@cache
def people(setting: Setting, workers: int | None = None) -> tuple[Cohort, Cohort]:
    """Those who may be labelled, and those who are scored, all of hospital F."""
    make = [(setting.pool, LABELLED_SEED), (setting.unseen, UNSEEN_SEED)]
    pool, unseen = (cohorts.phantoms(count, CENTRE, nano.SPACING, first, workers, True, any_visit) for count, first in make)
    return pool, unseen


def source(arm: str, setting: Setting, folder: Path, workers: int | None = None) -> nn.Module | None:
    """The pre-trained model of an arm; None for "scratch". The one on few scans is trained here, once."""
    if arm == "scratch":
        return None
    if arm not in SOURCES:
        raise ModelError(f"There is no arm {arm!r}; choose scratch, {', '.join(SOURCES)}.")
    name = SOURCES[arm][0]
    if arm == "supervised on few":
        few = nano.bodies(dict.fromkeys(nano.HOSPITALS, FEW), workers=workers)
        return nano.trained(name, 0, folder / f"few-{FEW}-{setting.pre_steps}", setting.pre_steps, setting.precision, few)[0]
    return hub.load(name, "nano")


def begun(arm: str, seed: int, pretrained: nn.Module | None, pool: Sequence[str], tested: Sequence[str]) -> nn.Module:
    """A nano U-Net with a new head for NOVEL, its backbone taken over as the arm has it."""
    with seeded(seed):
        model = hub.build("universal", structures=nano.NOVEL)
    if pretrained is not None:
        _, of, parts = SOURCES[arm]
        transfer(model, pretrained, of, arm=parts, fed=COURSE, pool=pool, tested=tested)
    return model


def fine_tuned(model: nn.Module, labelled: Cohort, seed: int, setting: Setting, folder: Path, progress: bool = True,
               lr: float = nano.LR) -> nn.Module:
    """The model after ``setting.steps`` steps on these people, in eval mode. lr: the highest."""
    cubes = Patches(labelled, nano.NOVEL, nano.SIDE, randomise.NONE)
    train(model, universal.masked, cubes, nano.budget(setting.steps, seed, setting.precision, lr), folder, progress=progress)
    return model.eval()


def scored(model: nn.Module, unseen: Cohort) -> dict[str, float]:
    """Person -> mean Dice over the new structures that the scan shows."""
    found = {}
    for body in unseen:
        cut = segment(model, body, spacing=nano.SPACING, side=nano.SIDE, overlap=0.25)
        scores = [s.dice for s in metrics.evaluate(cut, body, nano.NOVEL) if s.volume_ml > 0]
        if scores:
            found[body.name] = float(np.mean(scores))
    return found


def curve(arm: str, counts: Sequence[int], seed: int, setting: Setting, folder: Path, progress: bool = True,
          workers: int | None = None) -> dict[int, dict[str, float]]:
    """Number of labelled people -> person -> Dice, for one arm. With one seed all arms are given the same people.

    Everything is kept in ``folder``, so another claim's curve of the same arm costs nothing. ModelError for an unknown arm.
    """
    pool, unseen = people(setting, workers)
    pretrained, found = source(arm, setting, folder, workers), {}
    order = np.random.default_rng(seed).permutation(len(pool))
    for count in counts:
        kept = folder / f"{arm.replace(' ', '_')}-{count}-seed{seed}-{setting.steps}"
        done = kept / "dice.json"
        if not done.is_file():
            labelled = Cohort(f"{count} of {pool.name}", tuple(pool.cases[i] for i in order[:count]))
            model = begun(arm, seed, pretrained, labelled.patients, unseen.patients)
            write_json(done, scored(fine_tuned(model, labelled, seed, setting, kept, progress), unseen))
        found[count] = json.loads(done.read_text(encoding="utf-8"))
        print(f"seed {seed}, {arm}, {count} labelled: mean Dice {np.mean(list(found[count].values())):.3f}")
    return found


def run(claim: str, arms: Sequence[str], counts: Sequence[int], effects: Callable[[Curves], dict[str, float]], seed: int,
        setting: Setting | None, folder: Path | None, progress: bool, command: str, workers: int | None) -> claims.Run:
    """The curves of these arms with one seed, as a claim's run for the ledger; effects: of person, from the curves."""
    setting = setting or Setting()
    with tempfile.TemporaryDirectory() as temporary:
        where = Path(folder or temporary)
        found = {arm: curve(arm, counts, seed, setting, where, progress, workers) for arm in arms}
    details = {"mean": means(found), "setting": asdict(setting)}
    return claims.Run.now(claim, seed, effects(found), command=command, details=details)


def means(curves: Curves) -> dict[str, dict[str, float]]:
    """Arm -> number of labelled people -> mean Dice, for the ledger."""
    return {arm: {str(count): float(np.mean(list(dice.values()))) for count, dice in found.items()}
            for arm, found in curves.items()}
