"""Everything at once: a grid of points asks for every object, and what is unsure, unstable or found twice is dropped.

Source: Kirillov et al. 2023, arXiv:2304.02643, section 5 and appendix B: 32 x 32 points, predicted IoU of 0.88 or more, stability
of 0.95 or more, boxes that overlap by more than 0.7 once; optionally again on overlapping crops, for small objects.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from fmlab.errors import ModelError
from fmlab.interactive.predictor import THRESHOLD, SamPredictor
from fmlab.interactive.preprocess_sam import postprocess


@dataclass(frozen=True)
class Settings:
    """points: of a side of the grid. batch: points of a decoder call. iou, stability: least that is kept. offset: of the logits'
    threshold, up and down, for the stability. overlap: of boxes, above which the less sure mask goes.

    layers: 0 for the whole image alone, 1 for 2 x 2 crops too, 2 for 4 x 4. apart: how far crops overlap, as a share of their
    side; fewer: by which the grid shrinks a layer. area: pixels; smaller holes are filled, smaller islands removed.
    """

    points: int = 32
    batch: int = 64
    iou: float = 0.88
    stability: float = 0.95
    offset: float = 1.0
    overlap: float = 0.7
    layers: int = 0
    apart: float = 512 / 1500
    fewer: int = 1
    area: int = 0


@dataclass(frozen=True, eq=False)
class Found:
    """What was found, the surest first. masks: (N, H, W) bool. iou: predicted, (N,). stability: (N,). points: (N, 2), (x, y),
    which click each came from."""

    masks: Tensor
    iou: Tensor
    stability: Tensor
    points: Tensor

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, chosen: Tensor) -> Found:
        return Found(self.masks[chosen], self.iou[chosen], self.stability[chosen], self.points[chosen])

    def labels(self) -> Tensor:
        """(H, W) int64: the number of the smallest mask at each pixel, 1 to N, and 0 where there is none."""
        picture = torch.zeros(self.masks.shape[1:], dtype=torch.int64)
        for number in self.masks.flatten(1).sum(1).argsort(descending=True).tolist():
            picture[self.masks[number]] = number + 1
        return picture


@torch.no_grad()
def everything(predictor: SamPredictor, image: np.ndarray, settings: Settings = Settings()) -> Found:
    """All objects of an image (H, W, 3) or (H, W) uint8. Leaves the predictor with another image, or a crop of it.

    Raises ModelError for settings that ask for nothing.
    """
    if settings.points < 1 or settings.batch < 1 or settings.layers < 0:
        raise ModelError(f"A grid of {settings.points} points in batches of {settings.batch} asks for nothing; give 1 or more.")
    image = np.asarray(image)
    parts = [_of_crop(predictor, image, crop, max(1, settings.points // settings.fewer**layer), settings)
             for layer, crop in crops(image.shape[:2], settings.layers, settings.apart)]
    found = Found(*[torch.cat([getattr(part, name) for part in parts]) for name in ("masks", "iou", "stability", "points")])
    found = found[suppressed(boxes_of(found.masks), found.iou, settings.overlap)]
    if settings.area:
        tidied = torch.stack([tidy(mask, settings.area) for mask in found.masks]) if len(found) else found.masks
        found = Found(tidied, found.iou, found.stability, found.points)[tidied.flatten(1).any(1)]
    return found


def _of_crop(predictor: SamPredictor, image: np.ndarray, crop: tuple[int, int, int, int], points: int, settings: Settings
             ) -> Found:
    """What a grid of points finds in a crop (x0, y0, x1, y1), on the whole image's pixels."""
    x0, y0, x1, y1 = crop
    predictor.set_image(image[y0:y1, x0:x1])
    grid = point_grid(points) * torch.tensor([x1 - x0, y1 - y0])
    kept = [_of_points(predictor, some, settings) for some in grid.split(settings.batch)]
    found = Found(*[torch.cat([getattr(part, name) for part in kept]) for name in ("masks", "iou", "stability", "points")])
    if (inner := (x0, y0, x1, y1)) != (0, 0, image.shape[1], image.shape[0]):  # what a crop cuts off is found in another
        found = found[~touching(boxes_of(found.masks), inner, image.shape[:2])]
    whole = torch.zeros(len(found), *image.shape[:2], dtype=torch.bool)
    whole[:, y0:y1, x0:x1] = found.masks
    return Found(whole, found.iou, found.stability, found.points + torch.tensor([x0, y0]))


def _of_points(predictor: SamPredictor, points: Tensor, settings: Settings) -> Found:
    """Three masks for each point (x, y) of the image that the predictor looks at; those that are sure and stable."""
    (height, width), (rows, columns) = predictor.frame.original, predictor.frame.inner
    seen = (points * torch.tensor([columns / width, rows / height]))[:, None].to(predictor.features)
    low, iou = predictor.model.decode(predictor.features, seen, torch.ones(seen.shape[:2], dtype=torch.int64, device=seen.device))
    asked = points[:, None].expand(-1, iou.shape[1], -1).flatten(0, 1)
    low, iou = low.flatten(0, 1), iou.flatten().cpu()
    sure = iou >= settings.iou
    logits = postprocess(low[sure.to(low.device)][:, None], predictor.frame)[:, 0].cpu()
    steady = stability(logits, settings.offset)
    stable = (steady >= settings.stability) & (logits > THRESHOLD).flatten(1).any(1)
    return Found(logits[stable] > THRESHOLD, iou[sure][stable], steady[stable], asked[sure][stable])


def point_grid(points: int) -> Tensor:
    """(points^2, 2) places (x, y) in [0, 1], evenly, half a step from the edges."""
    places = (torch.arange(points) + 0.5) / points
    y, x = torch.meshgrid(places, places, indexing="ij")
    return torch.stack([x, y], dim=-1).flatten(0, 1)


def crops(size: tuple[int, int], layers: int, apart: float) -> Iterator[tuple[int, tuple[int, int, int, int]]]:
    """Layer and crop (x0, y0, x1, y1): the image, then 2^l x 2^l overlapping crops of each layer l."""
    height, width = size
    yield 0, (0, 0, width, height)
    for layer in range(1, layers + 1):
        count = 2**layer
        shared = int(apart * min(height, width) * 2 / count)
        wide, high = (int(np.ceil((shared * (count - 1) + n) / count)) for n in (width, height))
        for j in range(count):
            for i in range(count):
                x0, y0 = (wide - shared) * i, (high - shared) * j
                yield layer, (x0, y0, min(x0 + wide, width), min(y0 + high, height))


def stability(logits: Tensor, offset: float = 1.0) -> Tensor:
    """IoU of the masks at thresholds above and below by ``offset``: (..., H, W) to (...). Nothing below: 0."""
    inner = (logits > THRESHOLD + offset).flatten(-2).sum(-1)
    outer = (logits > THRESHOLD - offset).flatten(-2).sum(-1)
    return torch.where(outer > 0, inner / outer.clamp(min=1), 0.0)


def boxes_of(masks: Tensor) -> Tensor:
    """First and last pixels (N, 4), x0 y0 x1 y1, of masks (N, H, W) bool; zeros of an empty one."""
    rows, columns = masks.any(2), masks.any(1)
    (y0, y1), (x0, x1) = (_first_and_last(line) for line in (rows, columns))
    return torch.stack([x0, y0, x1, y1], dim=1) * masks.flatten(1).any(1)[:, None]


def _first_and_last(lines: Tensor) -> tuple[Tensor, Tensor]:
    """Of (N, L) bool: the number of the first and of the last that is true."""
    numbers = lines.to(torch.uint8)
    return numbers.argmax(1), lines.shape[1] - 1 - numbers.flip(1).argmax(1)


def suppressed(boxes: Tensor, scores: Tensor, most: float) -> Tensor:
    """Numbers of the boxes (N, 4) that stay, the surest first: none overlaps a surer one by an IoU above ``most``."""
    order, kept = scores.argsort(descending=True, stable=True).tolist(), []
    overlap = box_iou(boxes)
    for number in order:
        if not kept or float(overlap[number, kept].max()) <= most:
            kept.append(number)
    return torch.tensor(kept, dtype=torch.int64)


def box_iou(boxes: Tensor) -> Tensor:
    """(N, N) of boxes (N, 4), whose corners are taken as edges."""
    corners = boxes.float()
    low = torch.maximum(corners[:, None, :2], corners[None, :, :2])
    high = torch.minimum(corners[:, None, 2:], corners[None, :, 2:])
    common = (high - low).clamp(min=0).prod(2)
    area = (corners[:, 2:] - corners[:, :2]).clamp(min=0).prod(1)
    return common / (area[:, None] + area[None] - common).clamp(min=1e-6)


def touching(boxes: Tensor, crop: tuple[int, int, int, int], size: tuple[int, int], within: int = 20) -> Tensor:
    """Whether each box (N, 4) of a crop comes near an edge of the crop that is none of the image."""
    edges = torch.tensor(crop)
    whole = torch.tensor([0, 0, size[1], size[0]])
    placed = boxes + edges[[0, 1, 0, 1]]
    return (((placed - edges).abs() <= within) & ((placed - whole).abs() > within)).any(1)


def tidy(mask: Tensor, area: int) -> Tensor:
    """A mask (H, W) bool without holes and islands of fewer than ``area`` pixels; the largest island always stays."""
    array = mask.numpy()
    holes, count = ndimage.label(~array, np.ones((3, 3)))
    sizes = np.bincount(holes.ravel(), minlength=count + 1)
    array = array | ((holes > 0) & (sizes < area)[holes])
    islands, count = ndimage.label(array, np.ones((3, 3)))
    sizes = np.bincount(islands.ravel(), minlength=count + 1)
    large = sizes >= area
    if count:
        large[1 + sizes[1:].argmax()] = True
    return torch.from_numpy((islands > 0) & large[islands])
