"""A whole scan through a network that reads cubes: resample, slide, put the cubes together, bring the labels back.

Memory is bounded by the scan itself: the network works at its own voxel size, where a scan of 512x512x1000 voxels is some
90x90x250, and the labels are brought back to the scan's own grid slab by slab.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.errors import ModelError, ScanError
from fmlab.vocabulary import ID, structure
from fmlab.volume import Volume
from fmlab.windows import WIDE, Window

SLAB = 16  # slices of the scan's own grid that are finished at a time
CRUMB_ML = 1.0  # pieces below this, or below a tenth of their structure's largest piece, are dropped


def sliding_logits(model: nn.Module, values: Tensor, side: int = 64, overlap: float = 0.5, progress: bool = False) -> Tensor:
    """Logits (K, X, Y, Z), on the CPU, of what the network reads (1, X, Y, Z): MONAI's sliding window, Gaussian weights.

    side: of the cubes, a multiple of the backbone's stride. overlap: of neighbouring cubes, 0 to below 1. The model's device is
    used and it is put into eval mode for the while. Raises ModelError for an overlap out of range.
    """
    from monai.inferers import sliding_window_inference  # takes seconds to import

    if not 0 <= overlap < 1:
        raise ModelError(f"An overlap of {overlap} cannot be; give a share from 0 to below 1, such as 0.5.")
    device, training = next(model.parameters()).device, model.training
    model.eval()
    try:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = sliding_window_inference(
                values[None], (side,) * 3, 1, model, overlap, mode="gaussian", sw_device=device, device="cpu", progress=progress)
    finally:
        model.train(training)
    return logits[0].float()


def resampled(volume: Volume, spacing: float) -> tuple[Tensor, np.ndarray]:
    """The scan averaged onto cubes of ``spacing`` mm: values (1, x, y, z) float32 and the new affine; no label, no aliasing.

    Each output voxel lies at a regular place of the old grid; finer grids are averaged over one output voxel, coarser ones read
    linearly, so a thin bone that falls between two points is not lost.
    """
    old = np.array(volume.spacing)
    size = np.maximum(1, np.round(np.array(volume.shape) * old / spacing)).astype(int)
    values = volume.image[None]
    for axis in range(3):  # one axis at a time: the first makes the volume small, so the others cost little
        shape = list(values.shape[2:])
        shape[axis] = int(size[axis])
        values = _along(values, axis, shape)
    step = np.array(volume.shape) / size  # old voxels per new one
    scaling = np.diag([*step, 1.0])
    scaling[:3, 3] = (step - 1) / 2  # both grids share the outer faces of their outermost voxels
    return values[0], volume.affine @ scaling


def segment(
    model: nn.Module, volume: Volume, structures: Sequence[str] | None = None, spacing: float = 4.0, window: Window = WIDE,
    side: int = 64, overlap: float = 0.5, crumb_ml: float = CRUMB_ML, progress: bool = False,
) -> Volume:
    """The volume with the model's labels on its own grid, ``annotated`` being what the model knows, or ``structures`` of it.

    model: K logits, with ``model.structures`` naming them, as ``hub.load("universal", "nano")``. A voxel belongs to the structure
    of the largest logit if that is above 0. spacing (mm), window, side: as in training. crumb_ml: see ``without_crumbs``; 0 keeps
    everything.
    Raises ModelError for structures that the model does not know, ScanError for a scan that is no CT.
    """
    refuse_what_is_no_ct(volume)
    known = tuple(getattr(model, "structures", ()))
    wanted = known if structures is None else tuple(structure(name).name for name in structures)
    if not wanted or (strange := [name for name in wanted if name not in known]):
        raise ModelError(f"The model does not know {', '.join(strange) if wanted else 'any structure'}; it knows {', '.join(known)}.")
    values, _ = resampled(volume, spacing)
    logits = sliding_logits(model, window(values), side, overlap, progress)[[known.index(name) for name in wanted]]
    logits = without_crumbs(logits, crumb_ml, spacing**3 / 1000)
    ids = torch.tensor([0] + [ID[name] for name in wanted], dtype=torch.uint8)
    labels = torch.empty(volume.shape, dtype=torch.uint8)
    for start in range(0, volume.shape[2], SLAB):
        stop = min(start + SLAB, volume.shape[2])
        labels[:, :, start:stop] = ids[_winner(logits, volume.shape, start, stop)]
    return replace(volume, labels=labels[None].to(volume.image.device), annotated=frozenset(wanted))


def without_crumbs(logits: Tensor, smallest_ml: float, voxel_ml: float) -> Tensor:
    """Logits (K, X, Y, Z) with scattered pieces denied: those below ``smallest_ml`` or a tenth of the structure's largest piece.

    Voxels count as one piece where they touch, also by a corner. A colon or the ribs may well lie in several pieces, so the
    largest alone would be too few.
    """
    if smallest_ml <= 0:
        return logits
    top, winner = logits.max(0)
    touching, logits = np.ones((3, 3, 3)), logits.clone()
    for k in range(len(logits)):
        mask = ((winner == k) & (top > 0)).numpy()
        pieces, count = ndimage.label(mask, touching)
        sizes = np.bincount(pieces.ravel(), minlength=count + 1)
        sizes[0] = 0
        small = sizes < max(smallest_ml / voxel_ml, 0.1 * sizes.max())
        small[0] = False
        denied = torch.from_numpy(small[pieces])
        logits[k][denied] = -logits[k][denied].abs() - 1
    return logits


def refuse_what_is_no_ct(volume: Volume) -> None:
    """ScanError unless the values look like Hounsfield units: air near -1000, and soft tissue near 0 to 100 in between."""
    where = f"{volume.name or 'The scan'}"
    if volume.modality != "CT":
        raise ScanError(f"{where} is {volume.modality}, and this model reads CT in HU; use a model that was trained for it.")
    sample = volume.image.flatten()[:: max(1, volume.image.numel() // 1_000_000)]
    low, high = float(sample.min()), float(sample.max())
    tissue = float(((sample > -200) & (sample < 200)).float().mean())
    if low >= -200 or high <= 100 or tissue < 0.02:
        raise ScanError(
            f"{where} runs from {low:g} to {high:g} with {tissue:.0%} of it near water, which is not CT in HU: air must be near "
            "-1000 and soft tissue near 50; undo any windowing or normalisation, or apply the rescale slope and intercept.")


def _along(values: Tensor, axis: int, shape: Sequence[int]) -> Tensor:
    """(1, 1, X, Y, Z) to another length along one axis: mean of what a new voxel covers, or linear between old ones."""
    if values.shape[2 + axis] >= shape[axis]:
        return F.interpolate(values, size=tuple(shape), mode="area")
    return F.interpolate(values, size=tuple(shape), mode="trilinear", align_corners=False)


def _winner(logits: Tensor, shape: Sequence[int], start: int, stop: int) -> Tensor:
    """(X, Y, stop - start) int64 on the fine grid: 0, or 1 + the index of the largest of the K logits, read linearly."""
    place = (torch.arange(start, stop) + 0.5) * logits.shape[3] / shape[2] - 0.5  # as align_corners=False has it
    low = place.floor().clamp(0, logits.shape[3] - 1)
    share = (place - low).clamp(0, 1)
    after = (low + 1).clamp(max=logits.shape[3] - 1).long()
    slices = logits[..., low.long()] * (1 - share) + logits[..., after] * share  # (K, x, y, slices)
    best = torch.zeros(shape[0], shape[1], stop - start)
    winner = torch.zeros(shape[0], shape[1], stop - start, dtype=torch.long)
    for k, coarse in enumerate(slices, start=1):  # one structure at a time: K fine slabs together would be large
        fine = F.interpolate(coarse.permute(2, 0, 1)[:, None], size=tuple(shape[:2]), mode="bilinear", align_corners=False)
        fine = fine[:, 0].permute(1, 2, 0)
        better = fine > best
        winner[better] = k
        best = torch.where(better, fine, best)
    return winner
