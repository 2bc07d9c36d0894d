"""Four hospitals as four tasks: how the prompt-driven models of the course are asked, trained, and made to answer everything.

    task t = a hospital that annotates K_t structures; its prompt asks for these, and for nothing else

So w_nk never comes up: what a hospital did not draw is never asked of its scans. DoDNet says the task by a one-hot code before
the last layers, UniSeg by a learned map before the decoder, Hermes by one learned token for each structure of each hospital.
Several hospitals draw a liver, each by its own rules: whose prompt is one to use at inference? ``Prompted`` takes the answer as a
table.

Source: Zhang et al. 2021, arXiv:2011.10217; Ye et al. 2023, arXiv:2304.03493; Gao et al. 2024, arXiv:2306.02416, whose tasks are
data sets and their structures, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab import randomise
from fmlab.cohorts import Cohort
from fmlab.errors import DataError, ModelError
from fmlab.pretraining import hermes, published
from fmlab.pretraining.dodnet import DoDNet
from fmlab.pretraining.hermes_priors import NULL
from fmlab.pretraining.hermes_resunet import HermesR
from fmlab.pretraining.patches import Patches
from fmlab.pretraining.uniseg import UniSeg
from fmlab.templates import template_matrix

HOSPITALS = ("A", "B", "C", "D")
STRUCTURES = ("vertebrae", "ribs", "hip_left", "hip_right", "lung_left", "lung_right", "heart", "aorta", "liver", "spleen",
              "kidney_left", "kidney_right", "stomach", "colon", "autochthon_left", "autochthon_right")
"""The sixteen largest that one, two or three of the four hospitals draw; none is drawn by all."""
ASKED: dict[str, tuple[str, ...]] = {
    hospital: tuple(name for name, drawn in zip(STRUCTURES, row) if drawn)
    for hospital, row in zip(HOSPITALS, template_matrix(HOSPITALS, STRUCTURES))}
"""Hospital -> what its prompt asks for, in the order of the channels."""
MOST = max(map(len, ASKED.values()))  # channels of a model that answers any of them
TOKENS: dict[str, range] = {}  # hospital -> numbers of its tokens, for Hermes
for _hospital, _asked in ASKED.items():
    _first = sum(map(len, TOKENS.values()))
    TOKENS[_hospital] = range(_first, _first + len(_asked))


class TaskPatches(Patches):
    """``Patches`` of phantoms of HOSPITALS, each with its hospital's own question.

    An item: image (1, S, S, S), task: number of the hospital, target (MOST, S, S, S) and w (MOST,) uint8: the hospital's
    structures in the order of ASKED, then zeros. Raises DataError for a scan of no such hospital.
    """

    def __init__(self, cohort: Cohort, side: int = 64, ranges: randomise.Ranges = randomise.STRONG):
        super().__init__(cohort, STRUCTURES, side, ranges)
        if strange := [scan.name for scan in self.scans if scan.centre not in HOSPITALS]:
            raise DataError(f"{strange[0]!r} is of none of the hospitals {', '.join(HOSPITALS)}, so no prompt asks about it; "
                            "leave it out.")
        self.channels = {name: [STRUCTURES.index(k) for k in asked] for name, asked in ASKED.items()}

    def __getitem__(self, index: int) -> dict:
        item, centre = super().__getitem__(index), self.scans[index].centre
        own = self.channels[centre]
        padding = MOST - len(own)
        target, w = F.pad(item["target"][own], (0, 0, 0, 0, 0, 0, 0, padding)), F.pad(item["w"][own], (0, padding))
        return {"image": item["image"], "task": HOSPITALS.index(centre), "target": target, "w": w, "name": item["name"]}


def dodnet_objective(model: DoDNet, batch: dict) -> Tensor:
    """``published.dodnet`` of a batch of ``TaskPatches``: MOST channels a task instead of organ and tumour."""
    return published.dodnet(model(batch["image"], batch["task"]), batch["target"], batch["w"])


def uniseg_objective(model: UniSeg, batch: dict) -> Tensor:
    """``published.uniseg`` of each sample of a batch of ``TaskPatches``, which may be of different tasks; mean over samples.

    Channel 0 is background, channel 1 + i the task's structure i. Weights of the scales: 1, 1/2, 1/4, ... of their sum.
    """
    scales = model.scales(batch["image"], batch["task"])
    weights = [0.5 ** i / (2 - 0.5 ** (len(scales) - 1)) for i in range(len(scales))]
    number = torch.arange(1, MOST + 1, device=scales[0].device)[:, None, None, None]
    losses = []
    for n, task in enumerate(batch["task"].tolist()):
        labels = (batch["target"][n] * number).amax(0)[None, None].float()
        levels = [F.interpolate(labels, size=z.shape[2:], mode="nearest") for z in scales]
        losses.append(published.uniseg([z[n:n + 1] for z in scales], levels, 1 + len(ASKED[HOSPITALS[task]]), weights))
    return torch.stack(losses).mean()


def hermes_objective(model: HermesR, batch: dict) -> Tensor:
    """``hermes.objective`` of a batch of ``TaskPatches``: each scan is asked with all tokens of its hospital; all are CT."""
    rows = [[*(numbers := TOKENS[HOSPITALS[task]]), *[NULL] * (MOST - len(numbers))] for task in batch["task"].tolist()]
    answer = model.answer(batch["image"], torch.tensor(rows))
    ct = torch.zeros(len(rows), dtype=torch.long, device=batch["w"].device)
    return hermes.objective(answer, batch["target"], batch["w"], ct)


def asks(first: Sequence[str] = HOSPITALS) -> dict[str, str]:
    """Structure -> hospital whose prompt asks for it: the first of ``first`` that annotates it, then of the others.

    ModelError for a hospital that there is not.
    """
    if strange := [name for name in first if name not in HOSPITALS]:
        raise ModelError(f"No prompt is called {strange[0]!r}; the hospitals are {', '.join(HOSPITALS)}.")
    order = [*first, *(name for name in HOSPITALS if name not in first)]
    return {structure: next(name for name in order if structure in ASKED[name]) for structure in STRUCTURES}


class Prompted(nn.Module):
    """A DoDNet, UniSeg or Hermes that answers with one logit a structure, each by the prompt of one hospital, as
    ``inference.segment`` wants it. asked: as ``asks`` gives it. The network runs once (UniSeg's decoder once a task).

    A softmax gives p_k, whose logit log(p_k / (1 - p_k)) is above 0 where the structure is likelier than all else of its task.
    """

    def __init__(self, model: DoDNet | UniSeg | HermesR, asked: Mapping[str, str] | None = None):
        super().__init__()
        asked = asks() if asked is None else asked
        for structure, name in asked.items():
            if structure not in ASKED.get(name, ()):
                raise ModelError(f"Hospital {name!r} does not annotate {structure!r}, so its prompt cannot ask for it; see "
                                 "hospitals.ASKED.")
        self.model, self.structures, self.crumb_ml = model, tuple(asked), 10.0
        self.tasks = [HOSPITALS.index(name) for name in asked.values()]
        self.channels = [ASKED[name].index(structure) for structure, name in asked.items()]

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K, X, Y, Z) of x (B, 1, X, Y, Z)."""
        if isinstance(self.model, HermesR):
            names = [HOSPITALS[task] for task in self.tasks]
            return self.model(x, [TOKENS[name][channel] for name, channel in zip(names, self.channels)])
        every = self.model.every_task(x)
        if isinstance(self.model, UniSeg):
            every = torch.stack([_as_sigmoid(z, 1 + len(ASKED[name])) for name, z in zip(HOSPITALS, every.unbind(1))], 1)
        return every[:, self.tasks, self.channels]


def _as_sigmoid(logits: Tensor, classes: int) -> Tensor:
    """log(p / (1 - p)) of the structures (B, MOST, ...) of a softmax over the first ``classes`` channels, 0 being background."""
    p = logits[:, :classes].softmax(1)[:, 1:].clamp(1e-6, 1 - 1e-6)
    return F.pad(p.logit(), (0, 0, 0, 0, 0, 0, 0, MOST + 1 - classes))
