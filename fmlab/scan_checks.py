"""Is a file an image or a label map? Catches the two being swapped before anybody trains on it."""

from __future__ import annotations

import numpy as np

from fmlab.errors import ScanError
from fmlab.scan_files import Scan


def whole_numbers(scan: Scan) -> np.ndarray:
    """A label file's values as int64 (X, Y, Z); ScanError if they are fractions or below zero."""
    if not looks_like_labels(scan.values, most=None):
        raise ScanError(
            f"{scan.path}: holds fractions or values below zero, so it is no label map; are image and labels swapped?"
        )
    return np.rint(scan.values).astype(np.int64)


def looks_like_labels(values: np.ndarray, most: int | None = 255) -> bool:
    """Whether all values are whole numbers from 0 up to ``most``."""
    if values.min() < 0 or (most is not None and values.max() > most):
        return False
    return values.dtype.kind in "iub" or bool((values == np.rint(values)).all())


def refuse_swapped(image: Scan, labels: Scan | None, modality: str) -> None:
    """ScanError if a label map was given as the image, or an image as the labels.

    An image counts as a label map when all its values are whole numbers from 0 to 255 in flat patches (four neighbours in five
    are equal) and it is said to be CT, which has air below zero, or its partner does not look like labels.
    """
    partner_fits = labels is None or looks_like_labels(labels.values)
    if (modality == "CT" or not partner_fits) and looks_like_labels(image.values) and _patchy(image.values):
        raise ScanError(
            f"{image.path}: was given as the image but holds only whole numbers up to {int(image.values.max())} in flat patches, "
            "as a label map does; are image and labels swapped (or, for MR, is modality='MR' missing)?"
        )
    if not partner_fits and not looks_like_labels(labels.values, most=None):
        raise ScanError(
            f"{labels.path}: was given as labels but holds fractions or values below zero; are image and labels swapped?"
        )


def _patchy(values: np.ndarray) -> bool:
    """Whether at least two values occur and, along the last two axes, four neighbours in five are equal."""
    if values.min() == values.max():
        return False
    same = [(np.diff(values, axis=axis) == 0).mean() for axis in (0, 1, 2) if values.shape[axis] > 1]
    return bool(np.mean(same) >= 0.8)
