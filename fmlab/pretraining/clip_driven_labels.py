"""Label transfer: a data set's raw labels to the 32 targets of the CLIP-driven model, once, before training.

    raw values -> classes -> left and right told apart -> one channel a class, organ = organ and its tumours, -1 = not annotated

One-vs-all channels are what lets data sets agree that would contradict each other as one label map: here a liver is drawn with
its tumours cut out, there in one piece. Source: Liu et al. 2023, doi:10.1109/ICCV51070.2023.01934, and its released code.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from fmlab.errors import ScanError
from fmlab.pretraining.clip_driven_data import CLASSES, PARENTS, DataSet, data_set

TOUCHING = np.ones((3, 3, 3))  # voxels are one piece where they touch, also by a corner
UNANNOTATED = -1  # the published files keep it in uint8, as 255


def label_transfer(raw: np.ndarray, key: str) -> np.ndarray:
    """Targets (32, X, Y, Z) int8 in {0, 1}, and -1 in channels that the data set does not annotate.

    raw: labels (X, Y, Z) in RAS order with the data set's own values; what they mean depends on ``key`` (``dataset_of``). Raises
    ScanError for other shapes and for values that the data set has none for, DataError for a data set that is not known.
    """
    known = data_set(key)
    classes = with_sides(as_classes(raw, key), known.paired)
    y = np.full((len(CLASSES), *raw.shape), UNANNOTATED, dtype=np.int8)
    for k in known.annotated:
        y[k - 1] = classes == k
    for value, k in known.tumours.items():
        y[k - 1] = raw == value
    return y


def as_classes(raw: np.ndarray, key: str) -> np.ndarray:
    """Labels (X, Y, Z) uint8 in class numbers, tumours as part of their organ, both sides still one. Errors as above."""
    known = data_set(key)
    if raw.ndim != 3 or raw.dtype.kind not in "iu":
        raise ScanError(f"Label transfer was given {raw.dtype} labels {raw.shape}; give whole numbers, (X, Y, Z).")
    if not known.values:
        raise ScanError(f"How the raw labels of data set {key} become classes was never published; give targets of your own.")
    if raw.size and not 0 <= raw.min() <= raw.max() <= len(known.values):
        raise ScanError(f"The labels run from {raw.min()} to {raw.max()}; data set {key} has 0 to {len(known.values)}.")
    return np.array([0, *_whole_organs(known)], dtype=np.uint8)[raw]


def _whole_organs(known: DataSet) -> list[int]:
    """The class of each raw value, a tumour's being its organ's: of two kidneys, the one that both are drawn as."""
    return [PARENTS[known.tumours[value]][0] if value in known.tumours else k for value, k in enumerate(known.values, 1)]


def with_sides(classes: np.ndarray, paired: tuple[int, ...]) -> np.ndarray:
    """Class c, drawn on both sides, to c (right) and c + 1 (left): the more left of the two largest pieces is left.

    As published: further pieces count as right, and so does a single one, wherever it lies. For a rule that looks where each
    piece is see ``fmlab.sides``.
    """
    result = classes.copy()
    for c in paired:
        pieces, count = ndimage.label(classes == c, TOUCHING)
        if count > 1:
            sizes = np.bincount(pieces.ravel())[1:]
            one, other = sorted(np.argsort(sizes, kind="stable")[::-1][:2] + 1)  # which of equal ones does not say; the later
            middle = [np.nonzero(pieces == piece)[0].mean() for piece in (one, other)]
            result[pieces == (one if middle[0] < middle[1] else other)] = c + 1
    return result
