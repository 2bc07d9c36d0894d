"""A cohort in which structures occur as words do: the r-th most frequent in f_1 / r^2 pictures, and a small CLIP that learns it.

    pictures (K, N, 256), captions (K, 384) -> two towers, trained on n_k pictures of each of K structures -> zero-shot accuracy

A picture is a region of an axial slice about a structure, its caption the structure's name as a frozen sentence encoder gives it.
Which structure is how frequent is drawn by lot and then turned round, so that each is frequent once and rare once: what is large
or easy to see is not what is frequent, as it may be on the web. Two controls have the same names: "balanced", where all are as
frequent, and "repeated", where a structure has as many pictures, and all of them are the same one.

Source: Udandarao et al. 2024, arXiv:2404.04125, for the question; Radford et al. 2021 (CLIP), arXiv:2103.00020, for the loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab import cohorts, phantom
from fmlab.pretraining.text_embeddings import SentenceTable
from fmlab.templates import SEEDS_APART
from fmlab.training.order import seeded
from fmlab.volume import Volume
from fmlab.windows import WIDE

CONCEPTS = ("liver", "spleen", "kidney_left", "kidney_right", "stomach", "pancreas", "urinary_bladder", "aorta", "lung_left",
            "lung_right", "heart", "colon", "vertebrae", "sacrum", "hip_left", "hip_right", "femur_left", "femur_right",
            "autochthon_left", "autochthon_right", "iliopsoas_left", "iliopsoas_right", "gluteus_maximus_left",
            "gluteus_maximus_right")
"""Structures that every person shows, from neck to thigh."""
Arm = Literal["zipf", "balanced", "repeated"]
ARMS: tuple[Arm, ...] = ("zipf", "balanced", "repeated")
SIDE = 16  # pixels of 8 mm
LEARNED, TESTED = "ABCD", "ABCDEF"  # hospitals; the last two had no part in training
UNSEEN = 7000  # seeds of people whom no training saw


@dataclass(frozen=True)
class Setting:
    """What a run costs. people, tested: of each hospital. top: pictures of the most frequent structure. turns: of the ranks.

    shown: test pictures of a structure and hospital. steps, batch: of each training.
    """

    people: int = 6
    tested: int = 2
    top: int = 1000
    exponent: float = 2.0
    turns: int = 6
    shown: int = 40
    steps: int = 400
    batch: int = 128
    spacing: float = 8.0
    concepts: tuple[str, ...] = CONCEPTS


def torso(seed: int, centre: str = "A", spacing: float = 8.0, partial: bool = False) -> Volume:
    """A body from neck to thigh, in the hospital's own contrast: a sampler for ``cohorts.phantoms``."""
    return phantom.sample(seed, centre, spacing, field_of_view="torso", partial=partial)


torso.VERSION = f"{phantom.VERSION}.1"


def people(count: int, hospital: str, spacing: float, first: int = 0, workers: int | None = None) -> list[Volume]:
    """So many people of a hospital; nobody is of two."""
    seed = first + SEEDS_APART * cohorts.CENTRES.index(hospital)
    return list(cohorts.phantoms(count, hospital, spacing, seed, workers, sampler=torso))


def counts(setting: Setting) -> np.ndarray:
    """(K,) int: pictures of the structure of each rank, the most frequent first; one at least."""
    ranks = np.arange(1, len(setting.concepts) + 1)
    return np.maximum(np.round(setting.top / ranks**setting.exponent), 1).astype(int)


def frequencies(setting: Setting, seed: int) -> np.ndarray:
    """(turns, K) int: how many pictures each structure has, by turn; a turn moves all ranks on by the same number of places."""
    size = len(setting.concepts)
    ranks = np.random.default_rng(seed).permutation(size)
    return np.stack([counts(setting)[(ranks + turn * size // setting.turns) % size] for turn in range(setting.turns)])


def pictures(bodies: Sequence[Volume], number: int, rng: np.random.Generator, concepts: Sequence[str] = CONCEPTS) -> Tensor:
    """(K, number, SIDE * SIDE) float32 of [0, 1]: regions about each structure, of any body and slice, up to 2 pixels off."""
    images = [np.pad(WIDE(body.image[0]).numpy(), [(SIDE, SIDE), (SIDE, SIDE), (0, 0)]) for body in bodies]
    found = np.empty((len(concepts), number, SIDE * SIDE), np.float32)
    for k, name in enumerate(concepts):
        places = [(body, z, *centre) for body, volume in enumerate(bodies) for z, centre in middles(volume.mask(name).numpy())]
        for n, chosen in enumerate(rng.integers(len(places), size=number)):
            body, z, x, y = places[chosen]
            x, y = (round(at) + SIDE // 2 + int(rng.integers(-2, 3)) for at in (x, y))
            found[k, n] = images[body][x:x + SIDE, y:y + SIDE, z].ravel()
    return torch.from_numpy(found)


def middles(mask: np.ndarray, least: int = 3) -> Iterable[tuple[int, tuple[float, float]]]:
    """Slice and centre (x, y) in pixels of a mask (X, Y, Z), in each slice that shows at least so many pixels of it."""
    for z in range(mask.shape[2]):
        xs, ys = np.nonzero(mask[:, :, z])
        if len(xs) >= least:
            yield z, (float(xs.mean()), float(ys.mean()))


def training_set(pool: Tensor, numbers: np.ndarray, arm: Arm) -> tuple[Tensor, Tensor]:
    """Pictures (M, 256) and whose each is (M,), of a pool (K, N, 256); numbers: (K,), how many of each structure."""
    if arm == "balanced":
        numbers = np.full(len(numbers), round(numbers.mean()))
    rows = [own[:1].expand(int(n), -1) if arm == "repeated" else own[:int(n)] for own, n in zip(pool, numbers)]
    return torch.cat(rows), torch.repeat_interleave(torch.arange(len(numbers)), torch.tensor([len(row) for row in rows]))


class Towers(nn.Module):
    """Pictures (B, 256) and captions (K, 384) to cosines (B, K) times a learned scale."""

    def __init__(self, captions: Tensor, width: int = 128, channels: int = 32):
        super().__init__()
        self.register_buffer("captions", F.normalize(captions, dim=1))
        self.image = nn.Sequential(nn.Linear(SIDE * SIDE, width), nn.ReLU(), nn.Linear(width, channels))
        self.text = nn.Linear(captions.shape[1], channels, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(10.0).log())

    def forward(self, pictures: Tensor) -> Tensor:
        images, texts = F.normalize(self.image(pictures - 0.5), dim=1), F.normalize(self.text(self.captions), dim=1)
        return self.log_scale.exp().clamp(max=100) * images @ texts.T


def contrast(logits: Tensor, whose: Tensor) -> Tensor:
    """CLIP's loss of a batch: logits (B, K) of pictures and captions, whose (B,). Pairs with one caption share their mass."""
    pairs = logits[:, whose]
    same = (whose[:, None] == whose).float()
    target = same / same.sum(1, keepdim=True)
    return (F.cross_entropy(pairs, target) + F.cross_entropy(pairs.T, target)) / 2


def trained(data: Tensor, whose: Tensor, captions: Tensor, seed: int, setting: Setting) -> Towers:
    """Two towers after ``steps`` steps on pictures (M, 256), in eval mode."""
    with seeded(seed):
        model = Towers(captions)
        order = torch.randint(len(data), (setting.steps, setting.batch))
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, setting.steps)
    for batch in order:
        optimiser.zero_grad()
        contrast(model(data[batch]), whose[batch]).backward()
        optimiser.step()
        rate.step()
    return model.eval()


@torch.no_grad()
def accuracy(model: Towers, shown: Tensor) -> np.ndarray:
    """(K,) percent of the pictures (K, N, 256) of each structure whose own caption is the nearest of all."""
    found = model(shown.flatten(0, 1)).argmax(1).reshape(shown.shape[:2])
    return 100 * (found == torch.arange(len(shown))[:, None]).float().mean(1).numpy()


def captions(concepts: Sequence[str]) -> Tensor:
    """(K, 384) of the structures' names, by the sentence encoder."""
    return SentenceTable()(list(concepts))
