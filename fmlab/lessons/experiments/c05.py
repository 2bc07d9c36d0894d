"""C05: unmasked losses punish structures that a data set did not annotate. Three losses, everything else the same.

A nano U-Net is trained from scratch on a partially labelled assembly, once with each loss, with the same first weights, patches
and order; then all structures are scored on unseen bodies with every structure drawn. At 6 mm, so that a laptop repeats it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from torch import nn

from fmlab import cohorts, hub, metrics
from fmlab.inference import segment
from fmlab.lessons import claims
from fmlab.pretraining import universal as course
from fmlab.pretraining.hospitals import STRUCTURES
from fmlab.pretraining.patches import Patches
from fmlab.templates import SEEDS_APART, assembly, template_matrix
from fmlab.training import TrainConfig, train
from fmlab.training.order import seeded

Dices = dict[str, dict[str, float]]  # case -> structure -> Dice


@dataclass(frozen=True)
class Setting:
    """What a run costs. bodies, held_out: for training and for scoring, per hospital. spacing: mm. side: of a patch, voxels."""

    steps: int = 600
    bodies: int = 24
    held_out: int = 2
    spacing: float = 6.0
    side: int = 32
    precision: str = "bf16"


def trained(loss: str, seed: int, setting: Setting, data: Patches, folder: Path, progress: bool = True) -> nn.Module:
    """A model trained with one of ``universal.LOSSES``, in eval mode; all losses start alike and see the same patches."""
    with seeded(seed):
        model = hub.build("universal", structures=STRUCTURES, exclusive=loss == "softmax")
    config = TrainConfig(setting.steps, lr=2e-3, weight_decay=1e-4, warmup=min(50, setting.steps // 4), seed=seed,
                         precision=setting.precision)
    train(model, course.LOSSES[loss], data, config, folder / f"{loss}-seed{seed}-{setting.steps}", progress=progress)
    return model.eval()


def training_patches(setting: Setting, workers: int | None = None) -> Patches:
    """Patches of ``bodies`` people of each of A to D, each hospital annotating its own structures."""
    counts = dict.fromkeys("ABCD", setting.bodies)
    bodies = assembly(counts, setting.spacing, 0, workers, sampler=course.any_visit)
    return Patches(bodies, STRUCTURES, setting.side)


def scored(model: nn.Module, setting: Setting, workers: int | None = None) -> Dices:
    """Dice per unseen body and structure; a missed structure is 0, one that is not in the scan is left out."""
    found = {}
    for centre in "ABCD":
        first = 5000 + SEEDS_APART * cohorts.CENTRES.index(centre)
        for body in cohorts.phantoms(setting.held_out, centre, setting.spacing, first, workers):
            segmented = segment(model, body, spacing=setting.spacing, side=setting.side)
            scores = metrics.evaluate(segmented, body, STRUCTURES)
            found[body.name] = {score.structure: score.dice for score in scores if score.volume_ml > 0}
    return found


def compare(seed: int, setting: Setting, folder: Path | None = None, progress: bool = True, workers: int | None = None,
            tell: Callable[[str], None] = print) -> dict[str, Dices]:
    """Loss -> case -> structure -> Dice, for the three losses. folder: keeps the trainings, which then can be resumed."""
    with tempfile.TemporaryDirectory() as temporary:
        data, results = training_patches(setting, workers), {}
        for loss in course.LOSSES:
            model = trained(loss, seed, setting, data, Path(folder or temporary), progress)
            results[loss] = scored(model, setting, workers)
            tell(f"seed {seed}, {loss}: mean Dice {mean(results[loss]):.3f}")
    return results


def run(seed: int, setting: Setting | None = None, folder: Path | None = None, progress: bool = True, command: str = "",
        workers: int | None = None) -> claims.Run:
    """The experiment with one seed, as a run for the ledger: ``claims.record(c05.run(seed=0))`` keeps it in your own."""
    setting = setting or Setting()
    results = compare(seed, setting, folder, progress, workers)
    details = {"by_share": by_share(results), "mean": {loss: mean(found) for loss, found in results.items()},
               "setting": asdict(setting)}
    return claims.Run.now("C05", seed, effects(results), command=command, details=details)


def effects(results: Mapping[str, Dices]) -> dict[str, float]:
    """Case -> mean over its structures of Dice(masked) - the better of Dice(unmasked sigmoid) and Dice(softmax).

    Positive supports the claim. The better of the two is taken per structure, which is hard on the claim.
    """
    masked, others = results["masked"], [results[loss] for loss in results if loss != "masked"]
    return {case: float(np.mean([dice - max(other[case][name] for other in others) for name, dice in found.items()]))
            for case, found in masked.items()}


def by_share(results: Mapping[str, Dices]) -> dict[str, dict[str, float]]:
    """How many of the four hospitals annotate a structure -> loss -> mean Dice over those structures."""
    known = template_matrix(list("ABCD"), STRUCTURES).sum(0)
    share = dict(zip(STRUCTURES, known.tolist(), strict=True))
    return {str(number): {loss: mean(found, [name for name in share if share[name] == number]) for loss, found in results.items()}
            for number in sorted(set(share.values()))}


def mean(found: Dices, structures: list[str] | None = None) -> float:
    """Mean Dice over cases and structures."""
    values = [dice for case in found.values() for name, dice in case.items() if structures is None or name in structures]
    return float(np.mean(values)) if values else float("nan")
