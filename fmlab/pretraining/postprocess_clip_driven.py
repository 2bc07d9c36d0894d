"""After the sigmoid: what the CLIP-driven model's 32 masks go through before they are scored or exported.

Source: Liu et al. 2023, doi:10.1109/ICCV51070.2023.01934, and its released code.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from fmlab.errors import ScanError
from fmlab.pretraining.clip_driven_data import CLASSES, PARENTS, data_set
from fmlab.pretraining.clip_driven_labels import TOUCHING

BALL = np.ones((5, 5, 5))  # what "near an organ" means for a tumour
VEIN, PANCREAS, RIGHT_LUNG, LEFT_LUNG = 10, 11, 16, 17
MASKED = (26, 27)  # tumours that must lie near their organ
UNTOUCHED = (15, 28, 29, 30, 31, 32)  # hepatic vessel, other tumours, kidney cyst


def postprocessed(masks: Tensor) -> Tensor:
    """Masks (32, X, Y, Z) bool on the CPU, tidied, of masks (sigma above one half) of a whole scan in RAS order.

    An organ: its largest piece. Lungs: the two largest pieces of both together, told apart by place; both empty where there is
    only one. Portal and splenic vein: nothing below the pancreas. Tumour of kidney and liver: only in or near the organ. Rests:
    as they are. Raises ScanError for another shape.
    """
    if masks.ndim != 4 or len(masks) != len(CLASSES) or not masks.numel():
        raise ScanError(f"Post-processing was given masks {tuple(masks.shape)}; give all {len(CLASSES)}, (32, X, Y, Z).")
    found = masks.detach().cpu().numpy() > 0
    tidy = {k: largest(found[k - 1], 1) for k in range(1, 26) if k not in (VEIN, RIGHT_LUNG, LEFT_LUNG, *UNTOUCHED)}
    tidy[VEIN] = not_below(found[VEIN - 1], tidy[PANCREAS])
    tidy[RIGHT_LUNG], tidy[LEFT_LUNG] = lungs(found[RIGHT_LUNG - 1] | found[LEFT_LUNG - 1])
    for k in MASKED:
        tidy[k] = near_organ(found[k - 1], [found[parent - 1] for parent in PARENTS[k]])
    return torch.from_numpy(np.stack([tidy.get(k, found[k - 1]) for k in range(1, len(CLASSES) + 1)]))


def largest(mask: np.ndarray, count: int) -> np.ndarray:
    """The ``count`` largest pieces of a bool mask (X, Y, Z); of equal ones the first met."""
    pieces, number = ndimage.label(mask, TOUCHING)
    sizes = np.bincount(pieces.ravel(), minlength=number + 1)[1:]
    kept = np.zeros(number + 1, dtype=bool)
    kept[np.argsort(-sizes, kind="stable")[:count] + 1] = True
    return kept[pieces]


def lungs(both: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Right and left lung of a mask of both: of its two largest pieces the one nearer the first face (RAS) is the left."""
    pieces, count = ndimage.label(largest(both, 2), TOUCHING)
    if count < 2:
        return np.zeros_like(both), np.zeros_like(both)
    one, other = pieces == 1, pieces == 2
    right, left = (other, one) if np.nonzero(one)[0].mean() < np.nonzero(other)[0].mean() else (one, other)
    return right, left


def not_below(mask: np.ndarray, organ: np.ndarray) -> np.ndarray:
    """The mask without what lies below the lowest slice of an organ (third axis); unchanged where there is no organ."""
    mask, slices = mask.copy(), np.flatnonzero(organ.any((0, 1)))
    mask[:, :, : slices[0] if len(slices) else 0] = False
    return mask


def near_organ(tumour: np.ndarray, organs: list[np.ndarray]) -> np.ndarray:
    """What of a tumour lies in or near its organs: as many of the union's largest pieces as there are, closed and dilated."""
    place = largest(np.any(organs, axis=0), len(organs))
    return tumour & ndimage.binary_dilation(ndimage.binary_closing(place, BALL), BALL)


def exported(masks: Tensor, key: str) -> Tensor:
    """One label volume (X, Y, Z) uint8 with a data set's own values, of masks (32, X, Y, Z); later classes lie over earlier ones.

    Raises DataError for an unknown key and ScanError for a data set whose values are not known, or another shape.
    """
    values = data_set(key).exported
    if not values or masks.ndim != 4 or len(masks) != len(CLASSES):
        raise ScanError(f"Masks {tuple(masks.shape)} cannot be exported as {key}: "
                        + ("give all 32, (32, X, Y, Z)." if values else "its values were never published."))
    labels = torch.zeros(masks.shape[1:], dtype=torch.uint8, device=masks.device)
    for k, value in values.items():
        labels[masks[k - 1] > 0] = value
    return labels
