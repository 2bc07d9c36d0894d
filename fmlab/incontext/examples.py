"""Examples of a class, what support sets S = {(x_j, y_j)} are drawn from: pictures with masks, of labelled volumes or by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fmlab.errors import DataError, ModelError
from fmlab.incontext.episode import check_masks, check_values
from fmlab.incontext.material import axis_number, masks, pictures
from fmlab.volume import Volume
from fmlab.windows import SOFT_TISSUE, Window


@dataclass(frozen=True, eq=False)
class Examples:
    """N examples of one class. images: (N, 1, H, W) in [0, 1]. masks: (N, 1, H, W), 0 or 1. names: whose each is.

    Raises ModelError for none, for shapes or names that do not fit each other, and for values out of range.
    """

    images: Tensor
    masks: Tensor
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.shape[1] != 1 or self.masks.shape != self.images.shape:
            raise ModelError(f"Images {tuple(self.images.shape)} and masks {tuple(self.masks.shape)} are no examples; give "
                             "(N, 1, H, W) twice.")
        if not len(self.images):
            raise ModelError("There is no example, and without one there is no task; give one image with its mask or more.")
        if self.names and len(self.names) != len(self.images):
            raise ModelError(f"{len(self.images)} examples have {len(self.names)} names; give one for each, or none.")
        check_values(self.images, "examples' images")
        check_masks(self.masks, "examples' masks")
        object.__setattr__(self, "masks", self.masks.to(self.images.dtype))
        object.__setattr__(self, "names", tuple(self.names))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, chosen: slice | Sequence[int]) -> Examples:
        names = self.names[chosen] if isinstance(chosen, slice) else [self.names[i] for i in chosen] if self.names else ()
        return Examples(self.images[chosen], self.masks[chosen], tuple(names))

    def draw(self, size: int, generator: torch.Generator | None = None) -> Examples:
        """``size`` of them at random, none twice; all of them where there are not more."""
        return self[torch.randperm(len(self), generator=generator)[:size].tolist()]


def examples_of(volumes: Iterable[Volume], structure: str, axis: str = "axial", size: int = 64,
                window: Window | None = SOFT_TISSUE, per_volume: int = 1) -> Examples:
    """The slices that show most of a structure, ``per_volume`` of each volume that shows it, a tenth of the structure apart.

    window: HU to [0, 1]; None for what is no CT. Raises DataError where no volume shows the structure.
    """
    images, drawn, names = [], [], []
    for volume in volumes:
        if indices := best_slices(volume, structure, axis, per_volume):
            images.append(pictures(volume, axis, indices, size, window))
            drawn.append(masks(volume, [structure], axis, indices, size))
            names += [volume.name] * len(indices)
    if not images:
        raise DataError(f"None of these volumes shows {structure!r}, so there are no examples of it; give others.")
    return Examples(torch.cat(images), torch.cat(drawn), tuple(names))


def best_slices(volume: Volume, structure: str, axis: str = "axial", count: int = 1) -> list[int]:
    """Numbers of the slices with the largest area of a structure, neighbours left out; [] where there is none."""
    number = axis_number(axis)
    area = volume.mask(structure).sum([i for i in range(3) if i != number])
    apart, found = max(1, int((area > 0).sum()) // 10), []
    while len(found) < count and bool(area.max() > 0):
        found.append(int(area.argmax()))
        area[max(0, found[-1] - apart) : found[-1] + apart + 1] = 0
    return found
