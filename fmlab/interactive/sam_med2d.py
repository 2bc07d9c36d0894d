"""SAM-Med2D: SAM at 256 pixels, with an adapter beside the MLP of every block, and trained by clicks on medical pictures.

    n = norm(x)          x + MLP(n) + Adapter(n)          Adapter(n) = norm( n + up(down( n * gate(mean n) )) )

Source: Cheng et al. 2023, arXiv:2308.16184, section 3, figure 3, and its released code, whose names are kept. All else is SAM's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.errors import ModelError
from fmlab.hub.models import LoadReport
from fmlab.interactive import sam as plain
from fmlab.interactive.boxes import translated_box
from fmlab.interactive.clicks import Clicks, Mask, random_error, random_foreground
from fmlab.interactive.image_encoder import Block
from fmlab.interactive.mask_prompts import best_logits, mask_only_passes, previous_probabilities
from fmlab.interactive.prompts import Box, First
from fmlab.interactive.sam import Sam
from fmlab.interactive.tuning import take_over, train_only
from fmlab.interactive.windows import in_windows

SIZES = {"vit_b": plain.SIZES["vit_b"] | dict(size=256), "nano": plain.SIZES["nano"]}
"""Settings of ``Sam`` by name; the first is published."""

NEW = ("*.Adapter.*", *(f"mask_decoder.{part}.*" for part in ("mask_tokens", "output_hypernetworks_mlps", "iou_prediction_head")))
"""What SAM-Med2D begins anew: its adapters, and the part of SAM's decoder that is about natural images."""


class Adapter(nn.Module):
    """Tokens (B, H, W, C) to the same shape; H and W are even. Weighs channels, then mixes neighbours at half the grid."""

    def __init__(self, channels: int):
        super().__init__()
        less = channels // 4
        self.norm = nn.LayerNorm(channels)
        self.channel = nn.Sequential(nn.Linear(channels, less, bias=False), nn.ReLU(), nn.Linear(less, channels, bias=False),
                                     nn.Sigmoid())
        self.spatial = nn.Sequential(
            nn.Conv2d(channels, channels, kernel_size=3, stride=2, padding=1, bias=False), nn.ReLU(),
            nn.ConvTranspose2d(channels, channels, kernel_size=4, stride=2, padding=1, bias=False), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        gated = x * self.channel(x.mean((1, 2)))[:, None, None]
        return self.norm(x + self.spatial(gated.movedim(-1, 1)).movedim(1, -1))


class AdapterBlock(nn.Module):
    """SAM's block, with an adapter beside the MLP."""

    def __init__(self, channels: int, heads: int, grid: Sequence[int], window: int = 0):
        super().__init__()
        if any(n % 2 for n in grid):
            raise ModelError(f"SAM-Med2D's adapter halves the grid, and {tuple(grid)} is not even; choose another size or patch.")
        block = Block(channels, heads, grid, window)
        self.norm1, self.attn, self.norm2, self.mlp = block.norm1, block.attn, block.norm2, block.mlp
        self.Adapter, self.window = Adapter(channels), window

    def forward(self, x: Tensor) -> Tensor:
        x = x + in_windows(self.attn, self.norm1(x), self.window)
        normed = self.norm2(x)
        return x + self.mlp(normed) + self.Adapter(normed)


def sam_med2d(size: str = "vit_b", **changes) -> Sam:
    """SAM-Med2D by the name of its size: one of SIZES; changes: settings of ``Sam`` that differ from it."""
    if size not in SIZES:
        raise ModelError(f"There is no SAM-Med2D of size {size!r}; choose one of {', '.join(SIZES)}.")
    return Sam(**(SIZES[size] | changes), block=AdapterBlock)


def load_sam(model: Sam, sam: Mapping[str, Tensor]) -> LoadReport:
    """Begin with the weights of a SAM, as SAM-Med2D did: its positions resized to the smaller grid, without what NEW names."""
    return take_over(model, sam, new=NEW)


def trainable(model: Sam) -> list[nn.Parameter]:
    """What the paper trains: adapters, prompt encoder and mask decoder. SAM's own image encoder is frozen."""
    return train_only(model, lambda name: ".Adapter." in name or not name.startswith("image_encoder."))


def error_or_ignored(prediction: Mask, truth: Mask, rng: np.random.Generator, n: int) -> Clicks:
    """n clicks in what is wrong, label -1 where nothing is: SAM-Med2D's policy."""
    return random_error(prediction, truth, rng, n, otherwise="ignored")


Corrections = Callable[[Mask, Mask, np.random.Generator, int], Clicks]


class Pass(NamedTuple):
    """Of N prompts: logits (N, 1, size/4, size/4) of that mask of three which the model trusts most, and its IoU (N, 1)."""

    logits: Tensor
    iou: Tensor


def passes(model: Sam, images: Tensor, truth: Tensor, rng: np.random.Generator, image_of: Tensor | None = None,
           iterations: int = 8, counts: Sequence[int] = (1, 3, 5, 9),
           box: Box = translated_box, point: First = random_foreground, corrections: Corrections = error_or_ignored
           ) -> Iterator[Pass]:
    """One training example as SAM-Med2D sees it: 1 + ``iterations`` passes, and an optimiser step of the caller's after each.

    First a box or a point, by a coin for all. Then each pass gets clicks in what is still wrong, their number drawn from
    ``counts``, older ones forgotten, and the sigmoid of the last logits as a mask prompt; one pass at random and the last get the
    mask alone. Only the first carries gradients into the image encoder.

    images (B, 3, size, size), preprocessed; truth (N, size, size) bool, none empty; image_of (N,): which image each is of, as in
    ``Sam.decode``. box, point, corrections: policies. Raises PromptError where a truth is empty.
    """
    features = model.image_encoder(images)
    device, objects = images.device, [one.cpu().numpy().astype(bool) for one in truth]
    if rng.random() < 0.5:
        prompt = {"boxes": torch.stack([box(one, rng) for one in objects]).to(device)}
    else:
        prompt = stacked([point(one, rng) for one in objects], device)
    alone, masks = mask_only_passes(iterations, rng, first=1), None
    for number in range(1 + iterations):
        logits, iou = model.decode(features, **prompt, masks=masks, image_of=image_of)
        logits, iou = best_logits(logits, iou), iou.amax(1, keepdim=True)
        yield Pass(logits, iou)
        features, masks, prompt = features.detach(), previous_probabilities(logits), {}
        if number not in alone and number < iterations:
            found = F.interpolate(logits.detach(), truth.shape[-2:], mode="bilinear", align_corners=False)[:, 0] > 0
            n = int(rng.choice(counts))
            prompt = stacked([corrections(guess, one, rng, n) for guess, one in zip(found.cpu().numpy(), objects)], device)


def stacked(clicks: Sequence[Clicks], device: torch.device) -> dict[str, Tensor]:
    """Clicks of N prompts, as many each, in the words of ``Sam.decode``."""
    points, labels = (torch.stack(column).to(device) for column in zip(*clicks))
    return {"points": points, "labels": labels}
