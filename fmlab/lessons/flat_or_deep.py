"""For lesson 03: one pool of labelled cubes, spent on slices, on stacks of slices and on volumes.

    pool = Pool.of(people(6))                      the data budget: cubes of 24 voxels of 8 mm
    net = trained("3-D", pool, steps=300)          an arm of ARMS
    scored(net, test_body)                         Dice and jaggedness, on slices as thin as in training and three times as thick

All arms see each voxel of the pool as often ("voxels", and three times that, "longer"), or take as many multiply-adds as the 3-D
arm does ("compute"). Networks: ``flat_nets.UNet`` of the same width, so that the 2-D ones have a third of the parameters.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from fmlab.backbones.counting import multiply_adds
from fmlab.cohorts import Cohort
from fmlab.errors import LessonError
from fmlab.lessons.flat_nets import STRIDE, UNet
from fmlab.phantom.visits import any_visit
from fmlab.pretraining.inflation import inflate
from fmlab.pretraining.nano import MILD, SPACING
from fmlab.pretraining.patches import Patches
from fmlab.slice_inference import slices_of, voted
from fmlab.templates import assembly
from fmlab.training import TrainConfig, train
from fmlab.training.order import seeded
from fmlab.vocabulary import region
from fmlab.volume import Volume
from fmlab.windows import WIDE

LARGE = ("lung_right", "liver", "heart", "spleen")
LONG = ("aorta", "inferior_vena_cava", "colon", "ribs")
"""Tubes and plates, a few voxels of 8 mm across."""
STRUCTURES = (*LARGE, *LONG)
SIDE, CUBES, BATCH, STACK, WIDTH = 24, 256, 2, 3, 10  # voxels, cubes of a pool, cubes a step, slices, channels of the first level
STEPS, RATE, TUNED = 300, 1.2e-2, 2e-3  # steps, highest learning rate, and that of weights that know something already
THICK = 3  # thin slices to a thick one
BUDGETS = {"voxels": 1, "longer": 3, "compute": 1}  # times the voxels of the 3-D arm, or its multiply-adds
INFLATED = {"3-D, inflated by mean": "mean", "3-D, inflated at centre": "centre"}
TOGETHER = "2-D, whole cubes"
"""A control: the slices of a step are those of the very cubes that the 3-D arm sees in it, and not from all over the pool."""
ARMS = ("2-D", TOGETHER, "2-D, three axes", "2.5-D", "3-D", *INFLATED)
_AXES = {"2-D, three axes": (0, 1, 2)}


def people(each: int = 6, first_seed: int = 0, hospitals: str = "ABCD", workers: int | None = 1) -> Cohort:
    """Fully labelled bodies of 8 mm, ``each`` of every hospital."""
    return assembly(dict.fromkeys(hospitals, each), SPACING, first_seed, workers, any_visit, partial=False)


def classes(labels: Tensor) -> Tensor:
    """Labels of the vocabulary, any shape, as 0 for background and 1 + k for structure k."""
    table = torch.zeros(256, dtype=torch.long)
    for k, name in enumerate(STRUCTURES, start=1):
        table[list(region(name))] = k
    return table[labels.long()]


@dataclass(frozen=True, eq=False)
class Pool:
    """images: (N, S, S, S) in [0, 1]. labels: (N, S, S, S) int64, as ``classes``."""

    images: Tensor
    labels: Tensor

    @classmethod
    def of(cls, bodies: Cohort, count: int = CUBES, seed: int = 0) -> Pool:
        """``count`` cubes, from one body after the other, randomised once."""
        patches = Patches(bodies, STRUCTURES, SIDE, MILD)
        with seeded(seed):
            items = [patches[number % len(patches)] for number in range(count)]
        targets = torch.stack([item["target"] for item in items])
        background = 1 - targets.amax(1, keepdim=True)
        return cls(torch.stack([item["image"][0] for item in items]).float(), torch.cat([background, targets], 1).argmax(1))

    @property
    def weights(self) -> Tensor:
        """(1 + K,): what a voxel of each class counts in the cross-entropy, by the root of how rare it is; 1 on average."""
        counts = torch.bincount(self.labels.flatten(), minlength=1 + len(STRUCTURES)).float()
        rare = counts.clamp(min=1).rsqrt()
        return rare * counts.sum() / (rare * counts).sum()


class Spent(Dataset):
    """A pool as an arm sees it: cubes (1, S, S, S), or slices (stack, S, S) across some axes. together: all the slices of a cube
    in one item, (S, 1, S, S)."""

    def __init__(self, pool: Pool, dims: int, stack: int = 1, axes: tuple[int, ...] = (2,), together: bool = False):
        self.pool, self.dims, self.stack, self.axes, self.together = pool, dims, stack, axes, together
        self.side = pool.images.shape[-1]

    def __len__(self) -> int:
        return len(self.pool.images) * (1 if self.dims == 3 or self.together else self.side * len(self.axes))

    def __getitem__(self, index: int) -> dict:
        if self.dims == 3:
            return {"image": self.pool.images[index][None], "labels": self.pool.labels[index]}
        if self.together:
            image, labels = (each[index].movedim(2, 0) for each in (self.pool.images, self.pool.labels))
            return {"image": image[:, None], "labels": labels}
        rest, axis = divmod(index, len(self.axes))
        cube, place = divmod(rest, self.side)
        image, labels = (each[cube].movedim(self.axes[axis], 0) for each in (self.pool.images, self.pool.labels))
        near = (torch.arange(self.stack) + place - self.stack // 2).clamp(0, self.side - 1)
        return {"image": image[near], "labels": labels[place]}


def objective(model: nn.Module, batch: dict, weights: Tensor) -> Tensor:
    """Weighted cross-entropy, and 1 - soft Dice over the whole batch of each structure that it shows; of slices or of volumes."""
    image, labels = batch["image"], batch["labels"]
    if image.ndim == 5 and model.dims == 2:  # cubes as slices
        image, labels = image.flatten(0, 1), labels.flatten(0, 1)
    logits = model(image).float()
    p = logits.softmax(1).transpose(0, 1).flatten(1)[1:]
    y = F.one_hot(labels, logits.shape[1]).movedim(-1, 0).flatten(1)[1:].to(p)
    dice, shown = (2 * (p * y).sum(1) + 1) / ((p + y).sum(1) + 1), y.amax(1)
    return F.cross_entropy(logits, labels, weights.to(logits)) + ((1 - dice) * shown).sum() / shown.sum().clamp(min=1)


@dataclass(frozen=True, eq=False)
class Net:
    """A trained network, and how a volume is put to it."""

    arm: str
    model: UNet

    @torch.no_grad()
    def probabilities(self, values: Tensor) -> Tensor:
        """(1 + K, X, Y, Z) of what the network reads (X, Y, Z), of any size."""
        self.model.eval()
        if self.model.dims == 2:
            return voted(slices_of(self.model, self.model.channels, STRIDE), values, _AXES.get(self.arm, (2,)))
        x, y, z = values.shape
        padded = F.pad(values, (0, -z % STRIDE, 0, -y % STRIDE, 0, -x % STRIDE))
        return self.model(padded[None, None])[0, :, :x, :y, :z].softmax(0)

    def segment(self, values: Tensor) -> Tensor:
        """Classes (X, Y, Z) of what the network reads (X, Y, Z)."""
        return self.probabilities(values).argmax(0)


def network(arm: str, seed: int = 0) -> UNet:
    """The arm's network, untrained. LessonError for an arm that is none."""
    if arm not in ARMS:
        raise LessonError(f"No arm is called {arm!r}; choose one of {', '.join(ARMS)}.")
    with seeded(seed):
        return UNet(2 if arm.startswith("2") else 3, 1 + len(STRUCTURES), STACK if arm == "2.5-D" else 1, WIDTH)


def trained(arm: str, pool: Pool, steps: int = STEPS, seed: int = 0, before: UNet | None = None) -> Net:
    """An arm of so many steps, each of BATCH cubes or of as many slices. An inflated arm spends the first half of them in 2-D,
    unless the flat network ``before`` is given, and the others at the rate TUNED."""
    model = network(arm, seed)
    if how := INFLATED.get(arm):
        if before is None:
            before, steps = trained("2-D", pool, steps // 2, seed).model, steps - steps // 2
        inflate(before, model, how)
    fit(model, Spent(pool, model.dims, model.channels, _AXES.get(arm, (2,)), arm == TOGETHER), steps, seed,
        TUNED if how else RATE)
    return Net(arm, model.eval())


def fit(model: UNet, data: Spent, steps: int, seed: int = 0, rate: float = RATE) -> list[dict]:
    """Train in place; the log, a line a step."""
    config = TrainConfig(steps, lr=rate, weight_decay=1e-3, warmup=min(20, steps // 4), batch=per_step(data), seed=seed,
                         precision="float32", every=steps)  # bf16 gives NaN now and then on a CPU; see pretraining.nano
    with tempfile.TemporaryDirectory() as folder:
        return train(model, partial(objective, weights=data.pool.weights), data, config, folder, progress=False).log


def per_step(data: Spent) -> int:
    """Items a step: the same number of voxels."""
    return BATCH * (1 if data.dims == 3 or data.together else data.side)


def cost_of_a_step(arm: str) -> int:
    """Multiply-adds of a forward pass of one step."""
    model = network(arm)
    shape = (BATCH, 1, *[SIDE] * 3) if model.dims == 3 else (BATCH * SIDE, model.channels, SIDE, SIDE)
    return multiply_adds(model.eval(), shape)


def steps_of(arm: str, budget: str, steps: int = STEPS) -> int:
    """How many steps an arm gets: those of all ("voxels"), three times these ("longer"), or as many as cost what the 3-D arm's
    cost ("compute"). LessonError for another budget."""
    if budget not in BUDGETS:
        raise LessonError(f"There is no budget {budget!r}; choose one of {', '.join(BUDGETS)}.")
    if budget != "compute":
        return BUDGETS[budget] * steps
    return round(steps * cost_of_a_step("3-D") / cost_of_a_step(arm))


def thick(values: Tensor, labels: Tensor, times: int = THICK) -> tuple[Tensor, Tensor]:
    """A body (X, Y, Z) in slices ``times`` as thick: mean values, and of the classes that which has most of the voxel."""
    z = values.shape[2] // times * times
    parts = F.one_hot(labels[:, :, :z].unflatten(2, (-1, times)), 1 + len(STRUCTURES)).sum(3)
    return values[:, :, :z].unflatten(2, (-1, times)).mean(3), parts.argmax(3)


def through_thin(net: Net, values: Tensor, times: int = THICK) -> Tensor:
    """Classes (X, Y, Z) of thick slices that were first resampled to thin ones; the probabilities are averaged back."""
    x, y, z = values.shape
    thin = F.interpolate(values[None, None], size=(x, y, z * times), mode="trilinear", align_corners=False)[0, 0]
    return net.probabilities(thin).unflatten(3, (z, times)).mean(4).argmax(0)


def jaggedness(found: Tensor, truth: Tensor, axis: int = 2) -> float:
    """How much rougher a mask (X, Y, Z) bool is across slices than within them, by the measure of the truth; 1 is as smooth.

    Faces between a voxel in and one out, across ``axis`` over those across the two others, divided by the same of the truth.
    NaN where either mask has no faces to compare.
    """
    def ratio(mask: Tensor) -> float:
        faces = [int(mask.diff(dim=k).sum()) for k in range(3)]  # of bools, diff says where they differ
        within = sum(faces) - faces[axis]
        return faces[axis] / within if within else float("nan")

    anatomy = ratio(truth)
    return ratio(found) / anatomy if anatomy else float("nan")


@dataclass(frozen=True)
class Score:
    """Of one body: structure -> Dice on thin slices, on thick ones, on thick ones that were resampled; and jaggedness."""

    thin: dict[str, float]
    thick: dict[str, float]
    resampled: dict[str, float]
    jagged: dict[str, float]


def read(body: Volume) -> tuple[Tensor, Tensor]:
    """What a network reads (X, Y, Z), and the classes (X, Y, Z)."""
    return WIDE(body.image[0]), classes(body.labels[0])


def scored(net: Net, body: Volume) -> Score:
    """All the numbers of one net on one body."""
    values, truth = read(body)
    found = net.segment(values)
    wide, coarse = thick(values, truth)
    names = {name: k for k, name in enumerate(STRUCTURES, start=1) if bool((truth == k).any())}
    return Score(dice(found, truth), dice(net.segment(wide), coarse), dice(through_thin(net, wide), coarse),
                 {name: jaggedness(found == k, truth == k) for name, k in names.items() if bool((found == k).any())})


def dice(found: Tensor, truth: Tensor) -> dict[str, float]:
    """Structure -> Dice of two maps of classes, of those that the truth has."""
    both = {name: (found == k, truth == k) for k, name in enumerate(STRUCTURES, start=1)}
    return {name: float(2 * (p & r).sum() / (p.sum() + r.sum())) for name, (p, r) in both.items() if bool(r.any())}
