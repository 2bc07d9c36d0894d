"""The course's two small image-text models: one architecture, one budget, and two diets.

The specialist sees fundus photographs alone. The generalist sees as many pictures, of which ``SHARE`` are fundus photographs, and
the rest are slices of bodies and coloured shapes: a tenth is far more than in CLIP's or BiomedCLIP's pre-training, so that it has
met every word and every finding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from fmlab import hub
from fmlab.contrastive import words
from fmlab.contrastive.cameras import TRAINING
from fmlab.contrastive.conditions import ATTRIBUTES, CONDITIONS, KNOWN, TEMPLATE, caption, instance, report
from fmlab.contrastive.everything import COLOURS, NUMBERS, ORGANS, SHAPES, TEXTURES, WINDOWS, Picture, body_slices, shapes
from fmlab.contrastive.findings import AMOUNTS, PLACES
from fmlab.contrastive.fundus import SIZE, fundus
from fmlab.contrastive.pairing_loss import pairing_loss
from fmlab.phantom.visits import any_visit
from fmlab.templates import assembly
from fmlab.training import TrainConfig, train
from fmlab.training.order import seeded

SHARE = 0.1  # of the generalist's pictures that are of a fundus
SHARES = {"specialist": 1.0, "generalist": SHARE}
REPORTS = 0.4  # of fundus pictures that have a report instead of a condition
SPACING = 8.0  # mm of the bodies

WORDS = words.vocabulary((
    *(TEMPLATE.format(text) for name, one in CONDITIONS.items() for text in (name, *one.says)), *ATTRIBUTES, *AMOUNTS, *PLACES,
    *(place for places in PLACES.values() for place in places), "with without",
    "a picture of on ground CT slice axial coronal sagittal window showing and", *COLOURS, *TEXTURES, *SHAPES, *NUMBERS, *WINDOWS,
    *(name.replace("_", " ") for name in ORGANS)))
"""The vocabulary of both models: also words that neither meets in pre-training, such as names of novel conditions."""


@dataclass(frozen=True)
class Budget:
    """pictures: different ones in pre-training. steps, batch, lr: of the training. bodies: of each of three hospitals."""

    pictures: int = 1500
    steps: int = 300
    batch: int = 64
    lr: float = 2e-3
    bodies: int = 4


def fundus_pictures(count: int, seed: int, size: int = SIZE) -> list[Picture]:
    """Fundus photographs for pre-training: known conditions, and reports that list findings; no novel condition."""
    made: list[Picture] = []
    for k in range(count):
        rng = np.random.default_rng([seed, 11, k])
        if rng.random() < REPORTS:
            found, text = report(rng)
            category = " with ".join(sorted(map(str, found)))
        else:
            category = str(rng.choice(list(KNOWN)))
            found, text = instance(category, rng), ""
        made.append((fundus([seed, 12, k], found, str(rng.choice(TRAINING)), size), text, category))
    return made


def diet(share: float, budget: Budget, seed: int, size: int = SIZE) -> list[Picture]:
    """What one model is pre-trained on: this share of fundus photographs, the rest half slices of bodies, half shapes."""
    of_fundus = round(share * budget.pictures)
    others = budget.pictures - of_fundus
    made = fundus_pictures(of_fundus, seed, size)
    if others:
        rng = np.random.default_rng([seed, 13])
        people = assembly({centre: budget.bodies for centre in "ABC"}, SPACING, 1, 1, any_visit, partial=False)
        made += body_slices(people, rng, size, others // 2)
        made += [shapes(rng, size) for _ in range(others - others // 2)]
    return made


class Pairs(Dataset):
    """Pictures with captions for ``training.train``: mirrored and brightened at random; a condition's caption is drawn anew."""

    def __init__(self, pictures: Sequence[Picture]):
        self.pictures = [(torch.from_numpy(np.round(255 * image).astype(np.uint8)), text, category)
                         for image, text, category in pictures]
        self.categories = {name: k for k, name in enumerate(sorted({category for *_, category in self.pictures}))}

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> dict:
        image, text, category = self.pictures[index]
        rng = np.random.default_rng(int(torch.randint(2**31, ())))
        image = image.float() / 255
        if rng.random() < 0.5:
            image = image.flip(2)
        image = image * torch.from_numpy(rng.uniform(0.85, 1.15, (3, 1, 1)).astype(np.float32)) * rng.uniform(0.85, 1.15)
        text = text or caption(category, rng)
        return {"image": image.clamp(0, 1), "text": words.numbers([text], WORDS)[0], "category": self.categories[category]}


def loss(model: nn.Module, batch: dict) -> Tensor:
    """FLAIR's loss of a batch of ``Pairs``."""
    return pairing_loss(model(batch["image"], batch["text"]), batch["category"])


def trained(pictures: Sequence[Picture], seed: int, folder: Path, budget: Budget = Budget(), precision: str = "float32",
            progress: bool = True, name: str = "image_text") -> tuple[nn.Module, list[dict]]:
    """Pre-train a model on a diet; the model, in eval mode, and the log. name: under which ``hub`` will know it."""
    with seeded(seed):
        model = hub.build(name, words=list(WORDS))
    config = TrainConfig(budget.steps, lr=budget.lr, weight_decay=0.05, warmup=min(30, budget.steps // 2), batch=budget.batch,
                         seed=seed, precision=precision, every=100)
    log = train(model, loss, Pairs(pictures), config, folder, progress=progress).log
    return model.eval().cpu(), log


def examined(classes: Sequence[str], camera: str, each: int, seed: int, size: int = SIZE) -> tuple[Tensor, Tensor]:
    """Pictures (N, 3, size, size) for an examination, ``each`` of every class, and their class numbers (N,)."""
    made = []
    for k, name in enumerate(classes):
        for n in range(each):
            rng = np.random.default_rng([seed, 21, k, n, ord(camera)])
            made.append(torch.from_numpy(fundus([seed, 22, k, n, ord(camera)], instance(name, rng), camera, size)))
    return torch.stack(made), torch.arange(len(classes)).repeat_interleave(each)
