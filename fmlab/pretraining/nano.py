"""The course's own small pre-trained models: seven methods, the same bodies, cubes of one size and (UniSeg apart) one budget.
With more steps there is "fseft" beside them, the base model of ``fmlab.adaptation``.

160 people of four hospitals, each of which annotates some of 16 structures by its own rules; the self-supervised methods see the
same scans without a label.
Cubes of 32 voxels of 8 mm, half a person wide, so that a laptop repeats any of it in minutes. Where one only wants a good
segmentation, ``universal`` is the model to take: at 4 mm, with thirty times the voxels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils.data import Dataset

from fmlab import hub, randomise
from fmlab.cohorts import Cohort
from fmlab.errors import ModelError
from fmlab.phantom.visits import any_visit
from fmlab.pretraining import clip_driven, genesis, mae, swin_ssl, universal
from fmlab.pretraining.hospitals import (
    ASKED,
    HOSPITALS,
    MOST,
    STRUCTURES,
    TaskPatches,
    dodnet_objective,
    hermes_objective,
    uniseg_objective,
)
from fmlab.pretraining.patches import Patches
from fmlab.pretraining.unlabelled import Unlabelled
from fmlab.templates import assembly
from fmlab.training import TrainConfig, train
from fmlab.training.order import seeded

COUNTS = dict.fromkeys(HOSPITALS, 40)  # bodies per hospital
SPACING, SIDE = 8.0, 32  # mm, voxels of a cube
STEPS, LR = 800, 3e-3
MILD = randomise.Ranges(turn=6, size=0.08, shape=0.04, warp=0.6, organ=6, contrast=0.08, offset=4, shading=3, gut=0.25,
                        gamma=0.06, blur=0.5, thick=1.0, noise=15, cut=0.2)
"""About half of what ``universal`` is trained with: in so few steps there is no time for more."""

NOVEL = ("gluteus_maximus_left", "gluteus_maximus_right", "heart_ventricle_left", "lung_upper_lobe_right", "sternum")
"""None of the 16 that the supervised methods are asked for: what transfer to new structures is tried on."""
EXCHANGED = ("liver", "spleen", "kidney_left", "stomach", "aorta")
SWAPPED = (*(name for name in STRUCTURES if name not in EXCHANGED), *NOVEL)
"""As many again, with NOVEL in the place of EXCHANGED: what one base model knows the other does not, so that one can tell whether
a structure is hard to adapt to because it is new, or because it is that structure."""


@dataclass(frozen=True)
class Method:
    """How one of them is built, what it is fed of a cohort, its loss on a batch of that, its highest learning rate and its steps.

    With 1e-2 U-Nets with a plain head learn faster, and dynamic heads die: their ReLUs give 0 for good. UniSeg's softmax says
    "background" for longer than the others' sigmoids say "nothing", so it gets more steps than the budget has; "fseft" gets more,
    as it is there to be adapted, not compared, and float32: on a CPU, bf16 now and then gives NaN for the gradient of a
    convolution over 2 x 2 x 2 voxels.
    """

    config: Mapping[str, Any]
    data: Callable[[Cohort], Dataset]
    objective: Callable[[nn.Module, dict], Tensor]
    lr: float = LR
    steps: int = STEPS
    precision: str | None = None  # None: as the caller says


def patches(cohort: Cohort) -> Patches:
    """Cubes with the 16 structures and w."""
    return Patches(cohort, STRUCTURES, SIDE, MILD)


def swapped_patches(cohort: Cohort) -> Patches:
    """Cubes with the SWAPPED structures and w."""
    return Patches(cohort, SWAPPED, SIDE, MILD)


def questions(cohort: Cohort) -> TaskPatches:
    """Cubes with the question of each hospital."""
    return TaskPatches(cohort, SIDE, MILD)


def unlabelled(cohort: Cohort) -> Unlabelled:
    """Cubes alone."""
    return Unlabelled(cohort, SIDE)


METHODS: dict[str, Method] = {
    "clip_driven": Method({"size": "nano", "text": "sentence", "classes": STRUCTURES}, patches, clip_driven.objective),
    "dodnet": Method({"size": "nano", "tasks": len(HOSPITALS), "outputs": MOST}, questions, dodnet_objective),
    "uniseg": Method({"size": "nano", "tasks": len(HOSPITALS), "classes": 1 + MOST, "patch": (SIDE,) * 3}, questions,
                     uniseg_objective, 1e-2, 2000),
    "hermes": Method({"size": "nano", "tasks": sum(map(len, ASKED.values())), "modalities": 1}, questions, hermes_objective),
    "fseft": Method({"size": "nano"}, patches, universal.masked, steps=3000, precision="float32"),
    "mae": Method({}, unlabelled, mae.loss),
    "genesis": Method({}, unlabelled, genesis.loss),
    "swin_ssl": Method({}, unlabelled, swin_ssl.loss),
}
FSEFT_SWAPPED = replace(METHODS["fseft"], config={"size": "nano", "structures": SWAPPED}, data=swapped_patches)
"""The base model's twin; its weights are ``hub.load("fseft", "swapped")``."""
SUPERVISED = ("clip_driven", "dodnet", "uniseg", "hermes", "fseft")


def bodies(counts: Mapping[str, int] = COUNTS, first_seed: int = 0, workers: int | None = None) -> Cohort:
    """The partially labelled assembly; a seed is a person."""
    return assembly(counts, SPACING, first_seed, workers, sampler=any_visit)


def trained(name: str, seed: int, folder: Path, steps: int | None = None, precision: str = "bf16", cohort: Cohort | None = None,
            progress: bool = True, method: Method | None = None) -> tuple[nn.Module, list[dict]]:
    """A model of METHODS after ``steps`` steps (by default the method's), in eval mode, and its log; stopped, it goes on from
    ``folder``.

    cohort: by default ``bodies()``. method: by default that of METHODS. ModelError for another name.
    """
    if name not in METHODS:
        raise ModelError(f"No method of the course is called {name!r}; choose one of {', '.join(METHODS)}.")
    method = method or METHODS[name]
    with seeded(seed):
        model = hub.build(name, **method.config)
    data = method.data(bodies() if cohort is None else cohort)
    settings = budget(steps or method.steps, seed, method.precision or precision, method.lr)
    log = train(model, method.objective, data, settings, folder, progress=progress).log
    return model.eval(), log


def budget(steps: int, seed: int, precision: str, lr: float = LR) -> TrainConfig:
    """What every training with these bodies gets, pre-training and fine-tuning alike."""
    return TrainConfig(steps, lr=lr, weight_decay=1e-4, warmup=min(50, steps // 4), batch=2, seed=seed, precision=precision)
