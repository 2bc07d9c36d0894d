"""The other approach: a network for one task, trained on the very pairs that an in-context model would be given.

    min over theta_t  1/S sum_j L(y_j, f_theta_t(x_j))          (x_j, y_j) in S

A plain 2-D residual U-Net of MONAI, so that nothing is special about it; with one convolution a unit instead of two, one start in
three never left "nowhere". After the training it needs no support, and it knows one task.
"""

from __future__ import annotations

import tempfile

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from fmlab import metrics
from fmlab.incontext.augment import NANO, NONE, Augmentation, augmented
from fmlab.incontext.episodes import dice_and_entropy
from fmlab.incontext.examples import Examples
from fmlab.training import TrainConfig, train
from fmlab.training.order import seeded


class Pairs(Dataset):
    """The pairs of a support set, each at every call turned, bent and lit a little differently; flips would exchange left and
    right."""

    def __init__(self, examples: Examples):
        self.examples, self.ranges = examples, Augmentation(NONE.task, NANO.image)

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict:
        rng = np.random.default_rng(int(torch.randint(2**31, ())))
        image, mask = augmented(self.examples.images[index][None], self.examples.masks[index][None], self.ranges, rng)
        return {"image": image[0], "mask": mask[0]}


def task_net(examples: Examples, steps: int = 400, seed: int = 0, progress: bool = False) -> nn.Module:
    """A U-Net of 16, 32, 64 and 128 channels trained on these pairs: (B, 1, H, W) in [0, 1] to logits; in eval mode."""
    from monai.networks.nets import UNet  # takes seconds to import

    with seeded(seed):
        model = UNet(2, in_channels=1, out_channels=1, channels=(16, 32, 64, 128), strides=(2, 2, 2), num_res_units=2)
    config = TrainConfig(steps, lr=3e-3, weight_decay=1e-4, warmup=min(20, steps // 2), batch=8, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        train(model, _loss, Pairs(examples), config, folder, progress=progress)
    return model.eval()


@torch.no_grad()
def task_net_dices(model: nn.Module, queries: Examples) -> Tensor:
    """Dice (N,) of each query, float64, as ``evaluate.dices`` has it."""
    weight = next(model.parameters())
    found = torch.cat([model(x[None].to(weight)).cpu() for x in queries.images]) > 0
    return torch.tensor([metrics.dice(a[0], b[0] > 0) for a, b in zip(found, queries.masks)], dtype=torch.float64)


def _loss(model: nn.Module, batch: dict) -> Tensor:
    return dice_and_entropy(model(batch["image"]), batch["mask"]).mean()
