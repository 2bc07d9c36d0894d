"""C01: pre-training on one field beats generalist pre-training, zero-shot and under a linear probe. FLAIR's question, made small.

Two image-text models of one architecture and one budget. The specialist's pictures are all of a fundus; a tenth of the
generalist's are, and the rest are slices of bodies and coloured shapes. They are examined on sets that neither has seen the like
of: known conditions through other cameras, and conditions that were kept from both; by their expert descriptions (zero-shot) and
by a linear probe on a few labelled pictures of the set. A third model asks why: it has the generalist's fundus pictures, and
nothing else.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from fmlab import hub
from fmlab.contrastive import nano, probe, zero_shot
from fmlab.contrastive.conditions import KNOWN, NOVEL
from fmlab.lessons import claims
from fmlab.training.order import seeded

FOLDER = "c01"
SETS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "known conditions, camera D": (tuple(KNOWN), "D"), "known conditions, camera E": (tuple(KNOWN), "E"),
    "novel conditions, camera A": (tuple(NOVEL), "A"), "novel conditions, camera D": (tuple(NOVEL), "D"),
    "novel conditions, camera E": (tuple(NOVEL), "E"),
}
"""Examination -> classes and camera. A to C are the cameras of pre-training; each set is a case, as a data set is in FLAIR's
tables."""

Scores = dict[str, float]  # examination -> balanced accuracy


@dataclass(frozen=True)
class Setting:
    """What a run costs. pictures: of a class in an examination, of which ``shots`` train the probe. share: of fundus pictures."""

    budget: nano.Budget = field(default_factory=nano.Budget)
    share: float = nano.SHARE
    pictures: int = 24
    shots: int = 8
    precision: str = "float32"


def diets(setting: Setting, seed: int) -> dict[str, list[nano.Picture]]:
    """Arm -> what it is pre-trained on."""
    generalist = nano.diet(setting.share, setting.budget, seed)
    few = generalist[: round(setting.share * len(generalist))]
    return {"specialist": nano.diet(1.0, setting.budget, seed), "generalist": generalist, "few fundus pictures": few}


def run(seed: int, setting: Setting | None = None, folder: Path | None = None, progress: bool = True, command: str = "",
        ) -> claims.Run:
    """The experiment with one seed, as a run for the ledger. folder: where trainings are kept, to go on from."""
    setting = setting or Setting()
    if folder is None:
        with tempfile.TemporaryDirectory() as kept:
            return run(seed, setting, Path(kept), progress, command)
    models: dict[str, nn.Module] = {}
    for arm, pictures in diets(setting, seed).items():
        place = folder / f"{arm.replace(' ', '-')}-seed{seed}-{setting.budget.steps}"
        models[arm] = nano.trained(pictures, seed, place, setting.budget, setting.precision, progress)[0]
    with seeded(seed):
        models["untrained"] = hub.build("image_text", words=list(nano.WORDS)).eval()
    found = {arm: {} for arm in models}
    for name, (classes, camera) in SETS.items():
        pictures, truth = nano.examined(classes, camera, setting.pictures, 1000 + seed)
        for arm, model in models.items():
            found[arm][name] = scores(model, pictures, truth, classes, setting.shots)
    details = {"accuracy": found, "chance": {name: 1 / len(classes) for name, (classes, _) in SETS.items()},
               "setting": asdict(setting)}
    return claims.Run.now("C01", seed, effects(found), command=command, details=details)


def scores(model: nn.Module, pictures: Tensor, truth: Tensor, classes: tuple[str, ...], shots: int) -> Scores:
    """Way of asking -> balanced accuracy. The probe's training pictures, the first of each class, are nowhere counted."""
    place = torch.arange(len(truth)) % (len(truth) // len(classes))
    learnt, asked = place < shots, place >= shots
    seen = zero_shot.embedded(model, pictures[asked])
    features = zero_shot.embedded(model, pictures, projected=False)
    fitted = probe.fitted(features[learnt], truth[learnt])
    by_names, by_knowledge = zero_shot.names_only(classes), zero_shot.with_knowledge(classes)
    guesses = {"names": seen @ zero_shot.class_embeddings(model, by_names).T,
               "knowledge": seen @ zero_shot.class_embeddings(model, by_knowledge).T,
               "knowledge, not normalised": seen @ zero_shot.class_embeddings(model, by_knowledge, normalise=False).T,
               "linear probe": fitted(features[asked])}
    return {way: zero_shot.balanced_accuracy(logits.argmax(1), truth[asked]) for way, logits in guesses.items()}


def effects(found: Mapping[str, Mapping[str, Scores]]) -> dict[str, float]:
    """Examination -> the smaller of two differences, specialist less generalist: zero-shot with knowledge, linear probe."""
    return {name: min(one[way] - found["generalist"][name][way] for way in ("knowledge", "linear probe"))
            for name, one in found["specialist"].items()}
