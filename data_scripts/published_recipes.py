"""Pre-training at its published scale: ``python -m data_scripts.published_recipes`` prints each method's setting and command.

One function a method, for ``fmlab.train --recipe``: the published network, its loss, and cubes of prepared scans that stay on
disk until their turn comes. Scans are those of ``data_scripts.prepare`` with --window none and --crop body, at the spacing that
SETTINGS names; whatever is prepared of the data sets that a method takes is used.

None of these was run to its end here. Where the loop or the data of the course differ from what was published, SETTINGS says so,
and a rate that stands in for SGD's or LAMB's is our choice, untried. Hardware and hours are as published, "not stated" where the
paper's code and documents, as far as read, do not tell. Facts: the papers' code, as named with each.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from data_scripts.one_case import Settings
from data_scripts.prepare import prepared
from fmlab import hub, randomise
from fmlab.cohorts import Cohort
from fmlab.errors import DataError, ModelError, SettingsError
from fmlab.pretraining import clip_driven as clip
from fmlab.pretraining import desd as self_distilled
from fmlab.pretraining import genesis as models_genesis
from fmlab.pretraining import hermes as context_prior
from fmlab.pretraining import mae as masked_autoencoder
from fmlab.pretraining import published, pyramid
from fmlab.pretraining import sparse_mae as sparse
from fmlab.pretraining import suprem as complete
from fmlab.pretraining import swin_ssl as swin
from fmlab.pretraining import unimiss as both_dimensions
from fmlab.pretraining.clip_driven_data import CLASSES, SPELLINGS
from fmlab.pretraining.distillation import Dino
from fmlab.pretraining.hermes_priors import NULL
from fmlab.pretraining.med3d import Med3D, branch_loss
from fmlab.pretraining.targets import targets
from fmlab.pretraining.text_embeddings import clip_from_transformers
from fmlab.pretraining.uniseg import UniSeg
from fmlab.pretraining.unlabelled import Unlabelled
from fmlab.schemes import ANNOTATED
from fmlab.settings import data_folder
from fmlab.templates import TEMPLATES, annotated_by, covers
from fmlab.training import TrainConfig
from fmlab.vocabulary import ID, region
from fmlab.volume import Volume
from fmlab.windows import SOFT_TISSUE, Window, window

Recipe = tuple[nn.Module, Callable[[nn.Module, dict], Tensor], Dataset]
Groups = Sequence[tuple[str, ...]]  # classes, each a union of structures; an empty one is not there
Triple = tuple[int, int, int]

MILD = replace(randomise.NONE, turn=6.0, size=0.12, offset=8.0)
"""How cubes of labelled scans are varied: about as much as the papers do, which each do it a little differently."""
CT = tuple(name for name in TEMPLATES if not name.endswith("_mr"))
"""What a method without labels may look at."""


def both(stem: str) -> tuple[str, ...]:
    """Left and right of a structure."""
    return f"{stem}_left", f"{stem}_right"


def union(word: str) -> tuple[str, ...]:
    """The structures of a word: "kidney*" stands for both sides, a hyphen for none."""
    return () if word == "-" else both(word[:-1]) if word.endswith("*") else (word,)


_CLASSES = """spleen kidney_right kidney_left gallbladder esophagus liver stomach aorta inferior_vena_cava
    portal_vein_and_splenic_vein pancreas adrenal_gland_right adrenal_gland_left duodenum hepatic_vessels lung_right lung_left
    colon small_bowel rectum urinary_bladder prostate femur_left femur_right celiac_trunk kidney_tumor* liver_tumor pancreas_tumor
    - lung_tumor* colon_tumor kidney_cyst*"""
OF_CLIP = {name: union(word) for name, word in zip(CLASSES, _CLASSES.split(), strict=True) if word != "-"}
"""Class of the CLIP-driven model -> its structures: 31, as the vocabulary has one tumour of the liver and they have two."""
OF_ATLAS = ("aorta", "gallbladder", *both("kidney"), "liver", "pancreas", "inferior_vena_cava", "spleen", "stomach")
"""The nine classes of AbdomenAtlas 1.0."""
_TUMOURS = {"lits": "liver liver_tumor", "msd_liver": "liver liver_tumor", "kits19": "kidney* kidney_tumor*",
            "kits": "kidney* kidney_tumor*", "msd_hepatic_vessel": "hepatic_vessels liver_tumor",
            "msd_pancreas": "pancreas pancreas_tumor", "msd_colon": "- colon_tumor", "msd_lung": "- lung_tumor*",
            "msd_spleen": "spleen -"}
TUMOURS: dict[str, Groups] = {name: tuple(map(union, words.split())) for name, words in _TUMOURS.items()}
"""Data set of MOTS -> organ and tumour. LiTS and MSD Liver have the same scans, KiTS21 those of KiTS19: prepare one of each."""
TASK = dict(zip(TUMOURS, (0, 0, 1, 1, 2, 3, 4, 5, 6)))
"""Data set -> number of its task, in the published order."""

_WHOLES = ("btcv", "amos22", "structseg_thorax")
OF_HERMES: dict[str, Groups] = {
    **{name: tuple((one,) for one in sorted(ANNOTATED[name], key=ID.get)) for name in _WHOLES},
    **{name: TUMOURS[name] for name in ("lits", "kits19")}}
"""CT data set of Hermes -> its tasks, all its own."""


def scans(spacing: float, names: Sequence[str], complete_for: Iterable[str] = ()) -> Cohort:
    """The prepared scans of the named data sets, read when asked for. complete_for: structures that each must annotate.

    Raises DataError, with the commands that change it, where none is prepared at this spacing.
    """
    place, tag = data_folder() / "prepared", Settings(spacing).tag
    names = [name for name in names if all(covers(annotated_by(name), structure) for structure in complete_for)]
    folders = [place / name / tag for name in names if any((place / name / tag).glob("[!.]*.npz"))]
    if not folders:
        raise DataError(
            f"No scan is prepared at {spacing:g} mm in {place}; run, for one of {', '.join(names)} or more of them (here "
            f"{names[0]}), python -m data_scripts.{names[0]}, then python -m data_scripts.prepare {names[0]} "
            f"FOLDER --spacing {spacing:g}. FMLAB_DATA says where.")
    found = [prepared(folder) for folder in folders]
    return Cohort(f"published, {spacing:g} mm", tuple(case for cohort in found for case in cohort.cases))


def dataset_of(name: str) -> str:
    """The data set of a prepared scan, "msd_spleen" of "msd_spleen-spleen_12"."""
    return name.partition("-")[0]


@dataclass(frozen=True)
class Cut:
    """What is cut of a scan. sides: voxels of the cube that the network gets. step: so many voxels of the scan are one of it,
    along each axis, so that slices may be thicker than pixels. window: HU to values. scored: then to mean 0 and deviation 1."""

    sides: Triple
    window: Window
    step: tuple[float, float, float] = (1, 1, 1)
    scored: bool = False

    @property
    def taken(self) -> Triple:
        """Voxels of the scan that become the cube."""
        return tuple(round(side * step) for side, step in zip(self.sides, self.step))

    def image(self, hu: Tensor) -> Tensor:
        """The cube (1, *sides) that the network gets of HU (*taken); a thick slice has the mean density of its thin ones."""
        cube = self.window(F.interpolate(hu[None, None], self.sides, mode="area")[0])
        return (cube - cube.mean()) / cube.std().clamp(min=1e-6) if self.scored else cube

    def labels(self, ids: Tensor) -> Tensor:
        """The cube (*sides) uint8 of ids (*taken)."""
        return F.interpolate(ids[None, None].float(), self.sides, mode="nearest")[0, 0].to(torch.uint8)


class Labelled(Dataset):
    """Random cubes of labelled scans on disk: item n reads scan n or, ``evenly``, a random one of a data set, each in its turn.

    told: (labels (X, Y, Z) of the cube, Volume) to what the loss wants besides the image. structures: two of three cubes are
    centred near one of them that is there.
    """

    def __init__(self, cohort: Cohort, cut: Cut, told: Callable[[Tensor, Volume], dict], structures: Sequence[str],
                 evenly: bool = False):
        self.cohort, self.cut, self.told, self.structures = cohort, cut, told, tuple(dict.fromkeys(structures))
        sets = [dataset_of(name) for name in cohort.names]
        of_each = [[n for n, name in enumerate(sets) if name == one] for one in dict.fromkeys(sets)]
        self.of_each = of_each if evenly else [[n] for n in range(len(cohort))]

    def __len__(self) -> int:
        return len(self.cohort)

    def __getitem__(self, index: int) -> dict:
        rng = np.random.default_rng(int(torch.randint(2**31, ())))
        volume = self.cohort[int(rng.choice(self.of_each[index % len(self.of_each)]))]
        image, ids = volume.image[0], volume.labels[0]
        image, ids = randomise.geometry(image, ids, self._centre(volume, rng), self.cut.taken, MILD, rng)
        image = image + float(rng.normal(0, MILD.offset))
        return {"image": self.cut.image(image), **self.told(self.cut.labels(ids), volume), "name": volume.name}

    def _centre(self, volume: Volume, rng: np.random.Generator) -> np.ndarray:
        """The voxel index (3,) about which the next cube is cut."""
        if rng.random() < 2 / 3:
            there = set(torch.unique(volume.labels).tolist())
            drawn = [name for name in self.structures if name in (volume.annotated or ()) and there & set(region(name))]
            if drawn:
                wanted = torch.tensor(region(drawn[rng.integers(len(drawn))]), dtype=torch.uint8)
                spots = torch.isin(volume.labels[0], wanted).nonzero()
                return spots[rng.integers(len(spots))].numpy() + rng.uniform(-0.25, 0.25, 3) * self.cut.taken
        return rng.uniform(0.2, 0.8, 3) * volume.shape


class Bare(Dataset):
    """Random cubes of scans on disk, without labels, as ``Unlabelled`` cuts them. pictures: with a projection of the scan from
    front to back, (1, 224, 224), as item "flat"."""

    def __init__(self, cohort: Cohort, cut: Cut, pictures: bool = False):
        self.cohort, self.cut, self.pictures = cohort, cut, pictures
        self.patients = tuple(sorted(set(cohort.patients)))

    def __len__(self) -> int:
        return len(self.cohort)

    def __getitem__(self, index: int) -> dict:
        one = Unlabelled(self.cohort[index:index + 1], self.cut.taken, _in_hu)
        item = one[0]
        item["image"] = self.cut.image(item["image"][0])
        if self.pictures:
            seen = self.cut.window(one.scans[0][1]).mean(1)  # rays from front to back, as a chest radiograph
            seen = (seen - seen.min()) / (seen.max() - seen.min()).clamp(min=1e-6)
            item["flat"] = F.interpolate(seen[None, None], (224, 224), mode="bilinear")[0]
        return item


def _in_hu(image: Tensor) -> Tensor:
    return image


def asked(labels: Tensor, annotated: Iterable[str] | None, groups: Groups) -> tuple[Tensor, Tensor]:
    """Y (K, X, Y, Z) and w (K,), uint8, of K classes that are unions of structures; an empty union has w = 0."""
    names = list(dict.fromkeys(name for group in groups for name in group))
    y, w = targets(labels, names, annotated)
    rows = [[names.index(name) for name in group] for group in groups]
    empty = torch.zeros_like(y[0]), torch.zeros_like(w[0])
    classes = [(y[row].amax(0), w[row].amin()) if row else empty for row in rows]
    return torch.stack([mask for mask, _ in classes]), torch.stack([known for _, known in classes])


def numbered(labels: Tensor, groups: Groups) -> Tensor:
    """Classes (1, X, Y, Z) uint8 that exclude each other: 0 is background, of two that overlap the later one counts."""
    number = torch.zeros(256, dtype=torch.uint8)
    for n, group in enumerate(groups, 1):
        for name in group:
            number[list(region(name))] = n
    return number[labels.int()][None]


class WithLoss(nn.Module):
    """A model whose ``forward`` is its loss, for losses that ask it for more than ``forward``: DistributedDataParallel averages
    only the gradients of what runs inside there. The model is its ``module``, so loaders drop the name as they drop DDP's."""

    def __init__(self, module: nn.Module, loss: Callable[[nn.Module, dict], Tensor]):
        super().__init__()
        self.module, self.loss = module, loss

    def forward(self, batch: dict) -> Tensor:
        return self.loss(self.module, batch)


def own_loss(model: nn.Module, batch: dict) -> Tensor:
    """What a ``WithLoss`` says of a batch."""
    return model(batch)


def clip_driven() -> Recipe:
    """CLIP-driven universal model on Swin UNETR. With CLIP in the cache of transformers its classes get CLIP's rows, else random
    ones."""
    data = _masks("clip_driven", tuple(OF_CLIP.values()), evenly=True)
    model = hub.build("clip_driven", size="swin_unetr", classes=list(OF_CLIP), text="random")
    try:
        model.set_texts(clip_from_transformers(spellings=SPELLINGS)(list(OF_CLIP)))
    except ModelError as error:
        warnings.warn(f"The classes get random vectors, as CLIP's text tower is not here: {error}", stacklevel=2)
    return model, clip.objective, data


def suprem() -> Recipe:
    """SuPreM on Swin UNETR, over scans in which all nine classes are annotated."""
    data = _masks("suprem", [(name,) for name in OF_ATLAS])
    return hub.build("clip_driven", size="swin_unetr", classes=list(OF_ATLAS), text="random"), complete.fully_annotated, data


def dodnet() -> Recipe:
    """DoDNet on the seven tasks of MOTS, each of one organ, one tumour, or both."""

    def told(labels: Tensor, volume: Volume) -> dict:
        name = dataset_of(volume.name)
        target, w = asked(labels, volume.annotated, TUMOURS[name])
        return {"task": TASK[name], "target": target, "w": w}

    data = Flat(_labelled("dodnet", told, _parts(TUMOURS.values())))
    return hub.build("dodnet"), dodnet_loss, data


def uniseg() -> Recipe:
    """UniSeg on the seven of its eleven tasks that are CT with tumours or organs."""

    def told(labels: Tensor, volume: Volume) -> dict:
        name = dataset_of(volume.name)
        drawn = [group for group in TUMOURS[name] if group]
        return {"task": TASK[name], "labels": numbered(labels, drawn), "classes": 1 + len(drawn)}

    data = Flat(_labelled("uniseg", told, _parts(TUMOURS.values()), evenly=True))
    return WithLoss(hub.build("uniseg", tasks=1 + max(TASK.values()), inputs=(1,)), uniseg_loss), own_loss, data


def hermes() -> Recipe:
    """Hermes-R; every class of every data set is a task of its own, as published."""
    tasks = {name: len(OF_HERMES[name]) for name in OF_HERMES}
    first = {name: sum(list(tasks.values())[:n]) for n, name in enumerate(tasks)}
    most = max(tasks.values())

    def told(labels: Tensor, volume: Volume) -> dict:
        name = dataset_of(volume.name)
        target, w = asked(labels, volume.annotated, (*OF_HERMES[name], *[()] * (most - tasks[name])))
        ids = torch.full((most,), NULL)
        ids[:tasks[name]] = first[name] + torch.arange(tasks[name])
        return {"task": ids, "target": target, "w": w, "modality": 0}

    data = _labelled("hermes", told, _parts(OF_HERMES.values()))
    return WithLoss(hub.build("hermes", tasks=sum(tasks.values())), hermes_loss), own_loss, data


def med3d() -> Recipe:
    """Med3D, a ResNet-50 with a branch for every data set that is prepared."""
    setting = SETTINGS["med3d"]
    names = dict.fromkeys(dataset_of(name) for name in setting.cohort().names)
    groups = {name: [(one,) for one in sorted(annotated_by(name), key=ID.get)] for name in names}  # parts after their wholes

    def told(labels: Tensor, volume: Volume) -> dict:
        name = dataset_of(volume.name)
        return {"labels": numbered(labels, groups[name]), "dataset": name}

    model = Med3D(50, {name: 1 + len(classes) for name, classes in groups.items()})
    return WithLoss(model, med3d_loss), own_loss, Flat(_labelled("med3d", told, _parts(groups.values())))


def mae() -> Recipe:
    """Dense masked autoencoder, blocks of 16^3, on Swin UNETR."""
    data = _bare("mae")
    return hub.build("swin_unetr", classes=1), mae_loss, data


def sparse_mae() -> Recipe:
    """Sparse masked autoencoder, blocks of 16^3, on a nano U-Net of twice the width."""
    data = _bare("sparse_mae")
    return hub.build("sparse_mae", width=32), sparse_mae_loss, data


def genesis() -> Recipe:
    """Models Genesis on its own U-Net."""
    data = _bare("genesis")
    return hub.build("genesis", backbone="suprem_unet"), models_genesis.loss, data


def swin_ssl() -> Recipe:
    """Swin UNETR's three pretexts on its encoder."""
    data = _bare("swin_ssl")
    return hub.build("swin_ssl", backbone="swin_unetr"), swin.loss, data


def unimiss() -> Recipe:
    """UniMiSS, small, on volumes and on projections of scans in the place of radiographs; turns of two epochs."""
    data, epoch = _bare("unimiss", pictures=True), 625  # steps: 120,000 sub-volumes in batches of 192
    model = hub.build("unimiss", outputs=65_536, hidden=2048, bottleneck=256, interval=2 * epoch,
                      dino={"passes": SETTINGS["unimiss"].config.steps, "frozen": epoch}, **pyramid.SMALL)
    return model, both_dimensions.loss, data


def desd() -> Recipe:
    """DeSD on a 3-D ResNet-50, with a head on each of its four stages."""
    data, epoch = _bare("desd"), 651  # steps: 125,000 sub-volumes in batches of 192
    dino = Dino(teacher=0.07, warm=0.04, warmup=20 * epoch, passes=SETTINGS["desd"].config.steps)
    model = self_distilled.DeSD(ResNet50(), (256, 512, 1024, 2048), (0, 1, 2, 3), dino, outputs=60_000, hidden=2048,
                                bottleneck=256, batch_norm=True)
    return model, self_distilled.loss, data


class ResNet50(Med3D):
    """Med3D's ResNet-50 without a head, whose ``encode`` gives all four stages: 256 to 2048 channels, 1/4 and three times 1/8."""

    def __init__(self):
        super().__init__(50, None)

    def encode(self, x: Tensor) -> list[Tensor]:
        h, levels = F.max_pool3d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1), []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            h = layer(h)
            levels.append(h)
        return levels


class Flat(Dataset):
    """The same items as their authors' arrays have them, (1, Z, Y, X) instead of (1, X, Y, Z): slices first, few and thick."""

    def __init__(self, data: Dataset):
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> dict:
        item = self.data[index]
        turned = {key: item[key].transpose(1, 3).contiguous() for key in ("image", "target", "labels") if key in item}
        return {**item, **turned}


def dodnet_loss(model: nn.Module, batch: dict) -> Tensor:
    """``published.dodnet`` of organ and tumour of each sample's own task."""
    return published.dodnet(model(batch["image"], batch["task"]), batch["target"], batch["w"])


def uniseg_loss(model: UniSeg, batch: dict) -> Tensor:
    """``published.uniseg`` of each sample, which may be of different tasks; mean over samples. The coarsest scale is left out and
    the others weigh 1, 1/2, 1/4, ... of their sum."""
    scales = model.scales(batch["image"], batch["task"])
    weights = [0.5**n for n in range(len(scales) - 1)] or [1.0]
    weights = [weight / sum(weights) for weight in weights]
    levels = [F.interpolate(batch["labels"].float(), size=z.shape[2:], mode="nearest") for z in scales[:len(weights)]]
    losses = [published.uniseg([z[n:n + 1] for z in scales[:len(weights)]], [y[n:n + 1] for y in levels], classes, weights)
              for n, classes in enumerate(batch["classes"].tolist())]
    return torch.stack(losses).mean()


def hermes_loss(model: nn.Module, batch: dict) -> Tensor:
    """Hermes's objective, of the tasks that each sample's data set has."""
    answer = model.answer(batch["image"], batch["task"], batch["modality"])
    return context_prior.objective(answer, batch["target"], batch["w"], batch["modality"])


def med3d_loss(model: Med3D, batch: dict) -> Tensor:
    """``branch_loss`` of a batch of several data sets."""
    return branch_loss(model, batch["image"], batch["labels"], batch["dataset"])


mae_loss = partial(masked_autoencoder.loss, block=16)
sparse_mae_loss = partial(sparse.loss, block=16)


def _masks(method: str, groups: Groups, evenly: bool = False) -> Labelled:
    """Cubes with target and w of classes that all data sets are asked for."""

    def told(labels: Tensor, volume: Volume) -> dict:
        target, w = asked(labels, volume.annotated, groups)
        return {"target": target, "w": w}

    return _labelled(method, told, _parts([groups]), evenly)


def _labelled(method: str, told: Callable[[Tensor, Volume], dict], structures: Sequence[str], evenly: bool = False) -> Labelled:
    return Labelled(SETTINGS[method].cohort(), SETTINGS[method].cut, told, structures, evenly)


def _bare(method: str, pictures: bool = False) -> Bare:
    return Bare(SETTINGS[method].cohort(), SETTINGS[method].cut, pictures)


def _parts(several: Iterable[Groups]) -> list[str]:
    return [name for groups in several for group in groups for name in group]


@dataclass(frozen=True)
class Setting:
    """A method's published setting, in words, and how it is run here.

    cut, spacing (mm, of the prepared scans), names (data sets that are taken), complete_for: what the network is fed. patch to
    source: as published. differs: where a run of ``config`` on ``gpus`` is another one.
    """

    cut: Cut
    spacing: float
    names: tuple[str, ...]
    patch: str
    batch: str
    steps: str
    rate: str
    hardware: str
    hours: str
    source: str
    differs: str
    gpus: int
    config: TrainConfig
    complete_for: tuple[str, ...] = ()

    def cohort(self) -> Cohort:
        """The scans that are prepared for it; DataError if there are none."""
        return scans(self.spacing, self.names, self.complete_for)

    @property
    def options(self) -> str:
        """Rate, batch and those fields of ``config`` that are not ``TrainConfig``'s own, as options of ``fmlab.train``."""
        chosen = {field.name: getattr(self.config, field.name) for field in fields(TrainConfig)
                  if field.name in ("lr", "batch") or getattr(self.config, field.name) != field.default}
        return " ".join(f"--{name.replace('_', '-')} {'none' if value is None else value}" for name, value in chosen.items())


def command(method: str, launcher: str = "") -> str:
    """What starts a method: under torchrun on one node, or with the options of another launcher, as docs/train.sbatch."""
    setting = SETTINGS[method]
    launcher = launcher or f"torchrun --standalone --nproc-per-node={setting.gpus} -m fmlab.train"
    return f"{launcher} runs/{method} --recipe data_scripts.published_recipes:{method} {setting.options}"


def slurm(method: str) -> str:
    """The same under SLURM; options before the file's name replace those in it."""
    gpus = SETTINGS[method].gpus
    return command(method, f"sbatch --job-name={method} --gpus-per-node={gpus} --cpus-per-task={8 * gpus} --mem={32 * gpus}G "
                           "docs/train.sbatch")


COLUMNS = ("patch", "batch", "steps", "rate", "hardware", "hours", "source", "differs")


def table(methods: Sequence[str]) -> str:
    """Setting and commands of methods, a paragraph each."""
    paragraphs = []
    for method in methods:
        setting = SETTINGS[method]
        rows = {word: getattr(setting, word) for word in COLUMNS}
        rows["data"] = f"prepared at {setting.spacing:g} mm: {', '.join(_usable(setting))}"
        rows |= {"run": command(method), "slurm": slurm(method)}
        paragraphs.append("\n".join([method, *(f"  {word:9} {text}" for word, text in rows.items())]))
    return "\n\n".join(paragraphs)


def _usable(setting: Setting) -> list[str]:
    return [name for name in setting.names if all(covers(annotated_by(name), one) for one in setting.complete_for)]


_CHEST, _BODY = window(-1000, 1000), window(-1024, 1024)
_MOTS = Window(((-325, -1.0), (325, 1.0)))
_RUN = TrainConfig(steps=1, clip=None, every=1000, workers=8)
_NO_SGD = "AdamW instead of SGD, its rate our choice"

SETTINGS: dict[str, Setting] = {
    "clip_driven": Setting(
        Cut((96, 96, 96), SOFT_TISSUE), 1.5, tuple(name for name, one in TEMPLATES.items() if one.cases),
        "96 x 96 x 96 at 1.5 mm, -175 to 250 HU to [0, 1]", "8 GPUs x 1 scan x 4 cubes, data sets in turn",
        "2,000 epochs of 3,410 scans, so some 852,500", "AdamW 1e-4, decay 1e-5, 100 epochs of warm-up, cosine; float32",
        "8 GPUs (2 cubes fit 24 GB)", "not stated", "arXiv:2301.00785; its README and train.py",
        "bf16; 32 cubes of 32 scans; from random weights, not the published Swin's; Dice over the volume, as meant; 31 classes; "
        "no 3D-IRCADb and FELIX; whole femurs; a rate that changes every step", 8,
        replace(_RUN, steps=852_500, lr=1e-4, weight_decay=1e-5, warmup=42_625, batch=32)),
    "suprem": Setting(
        Cut((96, 96, 96), SOFT_TISSUE), 1.5, CT,
        "96 x 96 x 96 at 1.5 mm, -175 to 250 HU to [0, 1]", "8 GPUs x 8", "800 epochs of a cache of 300 scans, so some 30,400",
        "AdamW 1e-3 (1e-4 in code), 20 epochs of warm-up, cosine", "8 A100", "more than 7 days (168 hours)",
        "arXiv:2501.11253; its README", "AbdomenAtlas has no script here: scans of any set that is complete for its nine classes "
        "of version 1.0; random class vectors; weight decay 1e-5 as of the CLIP-driven model", 8,
        replace(_RUN, steps=30_400, lr=1e-3, weight_decay=1e-5, warmup=760, batch=64), OF_ATLAS),
    "dodnet": Setting(
        Cut((192, 192, 64), _MOTS, (1, 1, 1.5 / 0.8)), 0.8, tuple(TUMOURS),
        "64 x 192 x 192 at 1.5 x 0.8 x 0.8 mm, -325 to 325 HU to [-1, 1]", "2 GPUs x 2", "1,000 epochs of 250, 250,000",
        "SGD 0.01, Nesterov 0.99, poly 0.9", "2 GPUs", "not stated", "arXiv:2011.10217; its README",
        f"{_NO_SGD}; no mirroring", 2,
        replace(_RUN, steps=250_000, lr=3e-4, weight_decay=1e-5, schedule="poly", warmup=500, batch=4)),
    "uniseg": Setting(
        Cut((192, 192, 64), window(-325, 325), (1, 1, 2)), 1.5, tuple(TUMOURS),
        "64 x 192 x 192, CT at 3 x 1.5 x 1.5 mm, -325 to 325 HU to [0, 1]", "2, both of one task",
        "1,000 epochs of 50 a task, 550,000", "SGD 0.01, poly 0.9, clip 12; fp16",
        "10 GB of a GPU", "58 (210 s an epoch)", "arXiv:2304.03493; its README",
        f"{_NO_SGD}; 7 of the 11 tasks (not vertebrae, MR and PET), so 350,000 steps; bf16; a batch may be of two tasks", 1,
        replace(_RUN, steps=350_000, lr=3e-4, weight_decay=3e-5, schedule="poly", warmup=500, batch=2, clip=12.0,
                unused_parameters=True)),
    "hermes": Setting(
        Cut((128, 128, 128), window(-991, 500), scored=True), 1.5, tuple(OF_HERMES),
        "128 x 128 x 128 at 1.5 mm, -991 to 500 HU, z-scored", "16", "200 epochs of 400, 80,000",
        "LAMB 0.002, decay 1e-5, 5 epochs of warm-up, poly 0.9; averaged weights (0.99)", "not stated", "not stated",
        "arXiv:2306.02416; its code",
        "AdamW instead of LAMB, its rate our choice; no averaged weights; the cube is z-scored, not the scan; CT only, 5 of the "
        "11 data sets; an organ includes its tumours", 8,
        replace(_RUN, steps=80_000, lr=5e-4, weight_decay=1e-5, schedule="poly", warmup=2000, batch=16)),
    "med3d": Setting(
        Cut((448, 448, 56), _CHEST, (1, 1, 3), scored=True), 1.0, CT,
        "56 x 448 x 448, z-scored", "not stated", "not stated",
        "not stated; of the released fine-tuning SGD 1e-3, new layers 0.1, decay 1e-3", "not stated", "not stated",
        "arXiv:1904.00625; Tencent/MedicalNet",
        f"{_NO_SGD}; steps, batch and spacing (3 x 1 x 1 mm) our choice too; their eight or 23 data sets were never listed in "
        "full; no MR", 8,
        replace(_RUN, steps=100_000, lr=3e-4, weight_decay=1e-3, warmup=500, batch=8, unused_parameters=True)),
    "mae": Setting(
        Cut((160, 160, 160), _CHEST), 1.0, CT,
        "160 x 160 x 160 at 1 mm, z-scored; 750 of 1,000 blocks of 16^3 hidden", "8", "1,000 epochs of 250, 250,000",
        "SGD 0.01, Nesterov 0.99, decay 3e-5, poly 0.9, clip 12", "not stated", "not stated", "arXiv:2410.23132; MIC-DKFZ/nnssl",
        f"{_NO_SGD}; Swin UNETR (62 M) instead of ResEnc-L; CT instead of 39,000 MR; no rotation and mirroring", 8,
        replace(_RUN, steps=250_000, lr=1e-4, weight_decay=3e-5, schedule="poly", warmup=1000, batch=8, clip=12.0)),
    "sparse_mae": Setting(
        Cut((160, 160, 160), _CHEST), 1.0, CT,
        "160 x 160 x 160 at 1 mm, z-scored; 750 of 1,000 blocks of 16^3 hidden", "8", "1,000 epochs of 250, 250,000",
        "SGD 0.01, Nesterov 0.99, decay 3e-5, poly 0.9, clip 12", "not stated", "not stated",
        "arXiv:2410.23132 (S3D); MIC-DKFZ/nnssl",
        f"{_NO_SGD}; a U-Net of 32 to 256 channels (5 M) instead of ResEnc-L; CT instead of MR; no rotation and mirroring", 8,
        replace(_RUN, steps=250_000, lr=3e-4, weight_decay=3e-5, schedule="poly", warmup=1000, batch=8, clip=12.0)),
    "genesis": Setting(
        Cut((64, 64, 32), _CHEST), 1.0, CT,
        "64 x 64 x 32 of LUNA16 at its own spacing, -1000 to 1000 HU to [0, 1]", "6",
        "until 50 epochs of 32 cubes a scan bring nothing", "SGD 1.0, momentum 0.9, halved every 40 epochs",
        "not stated", "not stated", "doi:10.1016/j.media.2020.101840; its code",
        f"{_NO_SGD}, and so the number of steps; a cosine; scans of 1 mm; cubes of more than 85 % air are drawn again", 1,
        replace(_RUN, steps=400_000, lr=3e-4, weight_decay=0.0, warmup=500, batch=6)),
    "swin_ssl": Setting(
        Cut((96, 96, 96), _CHEST), 1.5, CT,
        "96 x 96 x 96 of 5,050 CTs at their own spacing, -1000 to 1000 HU to [0, 1]", "32 GPUs x 1 scan x 2 cubes", "100,000",
        "AdamW 4e-4 (6e-6 in the README), decay 0.1, 500 steps of warm-up, cosine",
        "8 V100 in the README, 4 nodes of 8 GPUs by the author (#73)", "not stated",
        "doi:10.1109/CVPR52688.2022.02007; research-contributions",
        "scans of 1.5 mm; contrast within the 8 cubes of a GPU, not 2", 8,
        replace(_RUN, steps=100_000, lr=4e-4, weight_decay=0.1, warmup=500, batch=64)),
    "unimiss": Setting(
        Cut((96, 96, 16), _BODY, (1, 1, 3)), 1.0, CT,
        "16 x 96 x 96 at 3 x 1 x 1 mm, HU / 1024, and radiographs of 224 x 224", "8 GPUs x 24",
        "200 epochs of 120,000 sub-volumes, 125,000",
        "AdamW 8e-4 x batch / 256, decay 0.04 to 0.4, clip 0.3", "8 GPUs", "not stated", "arXiv:2112.09356; its code",
        "projections of the scans in the place of ChestX-ray8; decay stays 0.04; 10 epochs of warm-up; no drop path", 8,
        replace(_RUN, steps=125_000, lr=6e-4, weight_decay=0.04, warmup=6250, batch=192, clip=0.3, unused_parameters=True)),
    "desd": Setting(
        Cut((96, 96, 16), _BODY, (1, 1, 3)), 1.0, CT,
        "16 x 96 x 96 of DeepLesion, HU / 1024", "6 GPUs x 32", "300 epochs of 125,000 sub-volumes, 195,300",
        "SGD 0.3 x batch / 256, to 0.048, decay 1e-6, no clipping", "6 GPUs", "not stated",
        "doi:10.1007/978-3-031-16440-8_52; run_ssl.sh",
        f"{_NO_SGD}; Med3D's form of the ResNet-50, and scans of 3 x 1 x 1 mm", 6,
        replace(_RUN, steps=195_300, lr=3e-4, weight_decay=1e-6, warmup=6510, batch=192)),
}
METHODS: dict[str, Callable[[], Recipe]] = {recipe.__name__: recipe for recipe in (
    clip_driven, suprem, dodnet, uniseg, hermes, med3d, mae, sparse_mae, genesis, swin_ssl, unimiss, desd)}
"""Method -> its recipe."""


def main(arguments: list[str] | None = None) -> int:
    """Print the table; 0, or 1 for a method that there is not."""
    parser = argparse.ArgumentParser(prog="python -m data_scripts.published_recipes", description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=f"of {', '.join(SETTINGS)}; default: all")
    methods = parser.parse_args(arguments).methods or list(SETTINGS)
    if strange := [name for name in methods if name not in SETTINGS]:
        print(SettingsError(f"There is no recipe {strange[0]!r}; choose of {', '.join(SETTINGS)}."), file=sys.stderr)
        return 1
    print(table(methods))
    return 0


if __name__ == "__main__":
    sys.exit(main())
