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
from fmlab.vocabulary import ID, region, structure
from fmlab.volume import Volume
from fmlab.windows import WIDE, Window

SLAB = 16  # slices of the scan's own grid that are finished at a time
CRUMB_ML = 1.0  # a structure of which less is found is taken for a mistake
CRUMB_PASSES = 3


def sliding_logits(
    model: nn.Module, values: Tensor, side: int | Sequence[int] = 64, overlap: float = 0.5, progress: bool = False
) -> Tensor:
    """Logits (K, X, Y, Z), on the CPU, of what the network reads (1, X, Y, Z): MONAI's sliding window, Gaussian weights.

    side: of the cubes, a multiple of the backbone's stride; three numbers make boxes. overlap: of neighbouring cubes, 0 to below
    1. The model's device is used and it is put into eval mode for the while. Raises ModelError for an overlap out of range.
    """
    from monai.inferers import sliding_window_inference  # takes seconds to import

    if not 0 <= overlap < 1:
        raise ModelError(f"An overlap of {overlap} cannot be; give a share from 0 to below 1, such as 0.5.")
    size = (side,) * 3 if isinstance(side, int) else tuple(side)
    device, training = next(model.parameters()).device, model.training
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = sliding_window_inference(
                values[None], size, 1, model, overlap, mode="gaussian", sw_device=device, device="cpu", progress=progress)
    finally:
        model.train(training)
    return logits[0].float()


def resampled(volume: Volume, spacing: float) -> tuple[Tensor, np.ndarray]:
    """The scan averaged onto cubes of about ``spacing`` mm: values (1, x, y, z) float32 and the new affine; no aliasing.

    A new voxel is the mean of what it covers, so the scan's mean stays and a thin bone that falls between two points is not lost;
    along axes that are coarser than ``spacing`` values are read linearly. Both grids share their outer faces, so sides are not
    exactly ``spacing``. Raises ScanError for a spacing that is not above zero.
    """
    if not 0 < spacing < np.inf:
        raise ScanError(f"A scan cannot be resampled to voxels of {spacing} mm; give a finite number above zero, such as 4.")
    size = np.maximum(1, np.round(np.array(volume.shape) * volume.spacing / spacing)).astype(int)
    values = volume.image[0]
    for axis, new in enumerate(size):  # one axis at a time: the first makes the volume small, so the others cost little
        weights = _weights(values.shape[axis], int(new)).to(values.device)
        values = torch.tensordot(weights, values, dims=([1], [axis])).movedim(0, axis)
    step = np.array(volume.shape) / size  # old voxels per new one
    scaling = np.diag([*step, 1.0])
    scaling[:3, 3] = (step - 1) / 2
    return values[None].contiguous(), volume.affine @ scaling


def segment(
    model: nn.Module, volume: Volume, structures: Sequence[str] | None = None, spacing: float = 4.0, window: Window = WIDE,
    side: int | Sequence[int] = 64, overlap: float = 0.5, crumb_ml: float | None = None, progress: bool = False,
) -> Volume:
    """The volume with the model's labels on its own grid, ``annotated`` being what the model knows, or ``structures`` of it.

    model: K logits, with ``model.structures`` naming them, as ``hub.load("universal", "nano")``. A voxel belongs to the structure
    of the largest of all K logits if that is above 0, but to a part rather than to its whole; structures: those that are kept of
    this. spacing (mm), window, side: as in training. crumb_ml: see ``without_crumbs``; 0 keeps everything; by default the
    model's own ``crumb_ml``, else 1.
    Raises ModelError or VocabularyError for structures that the model does not know, ScanError for a scan that is no CT.
    """
    refuse_what_is_no_ct(volume)
    known = tuple(getattr(model, "structures", ()))
    wanted = known if structures is None else tuple(structure(name).name for name in structures)
    if not wanted or not set(wanted) <= set(known):
        strange = ", ".join(name for name in wanted if name not in known) or "what is not named"
        raise ModelError(f"The model cannot segment {strange}; name some of what it knows: {', '.join(known) or 'nothing'}.")
    values, affine = resampled(volume, spacing)
    logits = sliding_logits(model, window(values), side, overlap, progress)
    crumb_ml = getattr(model, "crumb_ml", CRUMB_ML) if crumb_ml is None else crumb_ml
    logits = without_crumbs(parts_first(logits, known), crumb_ml, abs(np.linalg.det(affine[:3, :3])) / 1000)
    labels = labels_on(volume.shape, logits, [ID[name] if name in wanted else 0 for name in known])
    return replace(volume, labels=labels[None].to(volume.image.device), annotated=frozenset(wanted))


def labels_on(shape: Sequence[int], logits: Tensor, ids: Sequence[int]) -> Tensor:
    """Labels (X, Y, Z) uint8 on the scan's own grid, of logits (K, x, y, z) on a grid with the same outer faces, slab by slab.

    ids: one for each of the K. A voxel gets that of the largest logit, read linearly, if it is above 0; else 0.
    """
    table = torch.tensor([0, *ids], dtype=torch.uint8)
    labels = torch.empty(tuple(shape), dtype=torch.uint8)
    for start in range(0, shape[2], SLAB):
        stop = min(start + SLAB, shape[2])
        labels[:, :, start:stop] = table[_winner(logits, shape, start, stop)]
    return labels


def parts_first(logits: Tensor, known: Sequence[str]) -> Tensor:
    """Logits (K, X, Y, Z) where a structure yields to its parts: a lobe is lung too, and one label a voxel has to be the lobe's.

    Whoever is asked for the whole counts its parts with it (``vocabulary.region``).
    """
    inside = {k: [j for j, part in enumerate(known) if j != k and ID[part] in region(whole)] for k, whole in enumerate(known)}
    if not any(inside.values()):
        return logits
    yielding = logits.clone()
    for k, parts in inside.items():
        if parts:
            part = logits[parts].amax(0)
            yielding[k] = torch.where(part > 0, torch.minimum(logits[k], 0.99 * part), logits[k])  # next best, should the part go
    return yielding


def without_crumbs(logits: Tensor, smallest_ml: float, voxel_ml: float) -> Tensor:
    """Logits (K, X, Y, Z) without scattered pieces, and without structures of less than ``smallest_ml`` in all.

    A piece goes where it has less than a tenth of its structure's largest; a colon or ribs may well lie in several. Voxels are
    one piece where they touch, also by a corner. What is denied to one structure falls to the next best, which may be scattered
    too, so this is repeated.
    """
    if smallest_ml <= 0:
        return logits
    touching, logits = np.ones((3, 3, 3)), logits.clone()
    for _ in range(CRUMB_PASSES):
        top, winner = logits.max(0)
        winner[top <= 0] = -1
        for k in winner.unique().tolist():
            if k < 0:
                continue
            pieces, _ = ndimage.label((winner == k).numpy(), touching)
            sizes = np.bincount(pieces.ravel())
            sizes[0] = 0
            small = sizes < 0.1 * sizes.max()
            if sizes[~small].sum() * voxel_ml < smallest_ml:
                small[:] = True
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


def _weights(old: int, new: int) -> Tensor:
    """(new, old): what each old voxel of a line gives to each new one; shares of its length, or linear between two old ones."""
    if new > old:
        return F.interpolate(torch.eye(old)[None], size=new, mode="linear", align_corners=False)[0].T
    edges, voxel = torch.arange(new + 1, dtype=torch.float64) * old / new, torch.arange(old)
    covered = torch.minimum(edges[1:, None], voxel + 1) - torch.maximum(edges[:-1, None], voxel)
    return (covered.clamp(min=0) * new / old).float()


def _winner(logits: Tensor, shape: Sequence[int], start: int, stop: int) -> Tensor:
    """(X, Y, stop - start) int64 on the fine grid: 0, or 1 + the index of the largest of the K logits, read linearly."""
    place = (torch.arange(start, stop) + 0.5) * logits.shape[3] / shape[2] - 0.5  # as align_corners=False has it
    low = place.floor().long().clamp(0, logits.shape[3] - 1)
    after = (low + 1).clamp(max=logits.shape[3] - 1)
    near = logits[..., low[0] : after[-1] + 1].movedim(3, 1).contiguous()  # slices first, as whole ones are mixed
    slices = torch.lerp(near[:, low - low[0]], near[:, after - low[0]], (place - low).clamp(0, 1)[:, None, None])
    best = torch.zeros(stop - start, shape[0], shape[1])
    winner = torch.zeros(best.shape, dtype=torch.uint8)
    for k, coarse in enumerate(slices, start=1):  # one structure at a time: K fine slabs together would be large
        if coarse.max() > 0:  # most slabs show few structures
            fine = F.interpolate(coarse[:, None], size=tuple(shape[:2]), mode="bilinear", align_corners=False)[:, 0]
            winner.masked_fill_(fine > best, k)
            torch.maximum(best, fine, out=best)
    return winner.permute(1, 2, 0).long()
