"""Two-dimensional material: slices of volumes as square pictures, and pictures back on the volume's own grid.

As UniverSeg's data was made (facts: clip, bring to [0, 1], pad to a square, smooth, zoom): a slice is padded to the square of the
volume's longest in-plane side, so that millimetres stay round, averaged where it shrinks, and masks are read to the nearest.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from fmlab.errors import ScanError
from fmlab.volume import Volume
from fmlab.windows import SOFT_TISSUE, Window

AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
"""What is cut across: the voxel axis that a slice is perpendicular to. Sagittal and coronal pictures have the head at the top."""


def axis_number(axis: str) -> int:
    """0, 1 or 2; ScanError for a name that is not of AXES."""
    if axis not in AXES:
        raise ScanError(f"There is no axis {axis!r} to cut along; choose one of {', '.join(AXES)}.")
    return AXES[axis]


def picture(volume: Volume, values: Tensor, axis: str, index: int, size: int, labels: bool = False) -> Tensor:
    """One slice of values (X, Y, Z) on the volume's grid as a picture (size, size), upright.

    Rows run from front to back (axial) or from head to foot, columns towards the patient's right (sagittal: towards the front).
    labels: read to the nearest, with 0 beside the scan; else averaged, with the least value beside it. Any dtype. Raises
    ScanError for an axis or a slice that is not there.
    """
    number = axis_number(axis)
    if not -values.shape[number] <= index < values.shape[number]:
        raise ScanError(f"{volume.name or 'The scan'} has {values.shape[number]} {axis} slices, so none of number {index}.")
    flat = upright(values.select(number, index))
    return squared(flat, _mm(volume, number), size, labels)


def pictures(volume: Volume, axis: str = "axial", indices: Sequence[int] | None = None, size: int = 64,
             window: Window | None = SOFT_TISSUE) -> Tensor:
    """Slices of the image as pictures (N, 1, size, size) in [0, 1]. indices: by default all. window: None for what is no CT in
    HU: then each slice is brought to [0, 1] by the volume's 0.5 and 99.5 percentiles."""
    image = volume.image[0]
    if window is None:
        window = _percentiles(image)
    chosen = range(image.shape[axis_number(axis)]) if indices is None else indices
    return torch.stack([window(picture(volume, image, axis, i, size).float()).clamp(0, 1)[None] for i in chosen])


def masks(volume: Volume, structures: Sequence[str], axis: str = "axial", indices: Sequence[int] | None = None,
          size: int = 64) -> Tensor:
    """Masks of K structures as pictures (N, K, size, size), 0 or 1. Raises ScanError without labels."""
    regions = [volume.mask(name) for name in structures]
    chosen = range(regions[0].shape[axis_number(axis)]) if indices is None else indices
    return torch.stack([torch.stack([picture(volume, region, axis, i, size, labels=True).float() for region in regions])
                        for i in chosen])


def back(volume: Volume, found: Tensor, axis: str) -> Tensor:
    """Pictures (K, size, size) back as a slice (K, rows, columns) of the volume's grid, not upright any more; read linearly."""
    number = axis_number(axis)
    flat = upright(volume.image[0].select(number, 0))
    heights, widths = _extent(flat, _mm(volume, number))
    side, size = max(heights, widths), found.shape[-1]
    rows, columns = (_centres(n, extent, side, size) for n, extent in zip(flat.shape, (heights, widths)))
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], dim=-1)[None]
    slices = F.grid_sample(found[None].float(), grid, mode="bilinear", padding_mode="border", align_corners=False)[0]
    return slices.flip(-2).transpose(-1, -2)  # undoes ``upright``


def upright(flat: Tensor) -> Tensor:
    """A slice (first axis, second axis) of a RAS volume as rows and columns of a picture: second axis upwards, first to the
    right."""
    return flat.transpose(-1, -2).flip(-2)


def squared(flat: Tensor, mm: tuple[float, float], size: int, labels: bool) -> Tensor:
    """A slice (rows, columns) with pixels of (height, width) mm in the middle of a square picture (size, size)."""
    heights, widths = _extent(flat, mm)
    side = max(heights, widths)
    rows, columns = (max(1, round(size * extent / side)) for extent in (heights, widths))
    shape = (rows, columns)
    values = flat[None, None].float()
    if labels:
        small = F.interpolate(values, size=shape, mode="nearest-exact")
    elif rows <= flat.shape[0] and columns <= flat.shape[1]:
        small = F.interpolate(values, size=shape, mode="area")
    else:
        small = F.interpolate(values, size=shape, mode="bilinear", align_corners=False, antialias=True)
    fill = 0.0 if labels else float(values.min())
    top, left = (size - rows) // 2, (size - columns) // 2
    return F.pad(small, (left, size - columns - left, top, size - rows - top), value=fill)[0, 0]


def _mm(volume: Volume, number: int) -> tuple[float, float]:
    """Height and width of an upright picture's pixel before it is made square."""
    first, second = [step for axis, step in enumerate(volume.spacing) if axis != number]
    return second, first


def _extent(flat: Tensor, mm: tuple[float, float]) -> tuple[float, float]:
    return flat.shape[0] * mm[0], flat.shape[1] * mm[1]


def _centres(count: int, extent: float, side: float, size: int) -> Tensor:
    """Where the centres of a slice's pixels lie in the square picture, in grid_sample's units of -1 to 1."""
    shown = max(1, round(size * extent / side))
    start = (size - shown) // 2
    return (start + (torch.arange(count) + 0.5) / count * shown) / size * 2 - 1


def _percentiles(image: Tensor) -> Window:
    sample = image.flatten()[:: max(1, image.numel() // 1_000_000)]
    low, high = (float(torch.quantile(sample, q)) for q in (0.005, 0.995))
    return Window(((low, 0.0), (max(high, low + 1e-6), 1.0)))
