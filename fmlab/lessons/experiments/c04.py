"""C04: a frozen text branch adds little. One CLIP-driven network, three tables of class codes, everything else the same.

The nano model is trained from scratch as the shipped one is (``pretraining.nano``; fewer bodies and steps): with one-hot codes,
with random ones, and with the sentence encoder's embeddings of the structures' names. First weights, patches and order are the
same but for the layer that reads the codes, whose size follows theirs. Then all structures are scored on unseen bodies. It asks
about sentence embeddings; those of CLIP, which do not ship, can be put in their place (``text_embeddings``).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import nn

from fmlab import hub
from fmlab.lessons import claims
from fmlab.lessons.experiments import c05
from fmlab.lessons.experiments.c05 import STRUCTURES, Dices
from fmlab.phantom.visits import any_visit
from fmlab.pretraining import clip_driven, nano
from fmlab.pretraining.hospitals import HOSPITALS
from fmlab.pretraining.patches import Patches
from fmlab.templates import assembly
from fmlab.training import train
from fmlab.training.order import seeded

TEXTS = ("one_hot", "random", "sentence")


@dataclass(frozen=True)
class Setting(c05.Setting):
    """As C05's, on the protocol of ``pretraining.nano``."""

    steps: int = 500
    spacing: float = nano.SPACING
    side: int = nano.SIDE


def trained(text: str, seed: int, setting: Setting, data: Patches, folder: Path, progress: bool = True) -> nn.Module:
    """A CLIP-driven nano model with one of TEXTS, in eval mode."""
    with seeded(seed):
        model = hub.build("clip_driven", size="nano", text=text, classes=STRUCTURES)
    train(model, clip_driven.objective, data, nano.budget(setting.steps, seed, setting.precision, nano.METHODS["clip_driven"].lr),
          folder / f"{text}-seed{seed}-{setting.steps}", progress=progress)
    return model.eval()


def run(seed: int, setting: Setting | None = None, folder: Path | None = None, progress: bool = True, command: str = "",
        workers: int | None = None) -> claims.Run:
    """The experiment with one seed, as a run for the ledger. folder: keeps the trainings, which then can be resumed."""
    setting, results = setting or Setting(), {}
    with tempfile.TemporaryDirectory() as temporary:
        bodies = assembly(dict.fromkeys(HOSPITALS, setting.bodies), setting.spacing, 0, workers, sampler=any_visit)
        data = Patches(bodies, STRUCTURES, setting.side, nano.MILD)
        for text in TEXTS:
            model = trained(text, seed, setting, data, Path(folder or temporary), progress)
            results[text] = c05.scored(model, setting, workers)
            print(f"seed {seed}, {text}: mean Dice {c05.mean(results[text]):.3f}")
    details = {"mean": {text: c05.mean(found) for text, found in results.items()}, "setting": asdict(setting)}
    return claims.Run.now("C04", seed, effects(results), command=command, details=details)


def effects(results: Mapping[str, Dices]) -> dict[str, float]:
    """Case -> the better mean Dice of one-hot and random codes, less that of text embeddings; positive supports the claim.

    The better code is chosen over all cases, once a seed, not case by case, which would add up luck.
    """
    better = max(("one_hot", "random"), key=lambda text: c05.mean(results[text]))
    return {case: c05.mean({case: results[better][case]}) - c05.mean({case: found})
            for case, found in results["sentence"].items()}
