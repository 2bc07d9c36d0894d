"""What a volume's Dice is made of: how good each slice is, and how many slices there are. Missing slices count.

    Dice = sum_s w_s Dice_s / sum_s w_s,     w_s = |P_s| + |R_s|          P_s found, R_s true, in slice s

The mean over the slices that somebody annotated says nothing of those that nobody did. Source: Kulkarni et al. 2024,
arXiv:2403.15218 (both numbers in its tables); Dice: Dice 1945, doi:10.2307/1932409.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fmlab.errors import PromptError


@dataclass(frozen=True)
class SliceScores:
    """Of S slices. dice: (S,) float64, NaN where a slice is empty in both. found, true: (S,) pixels."""

    dice: np.ndarray
    found: np.ndarray
    true: np.ndarray

    @property
    def volume_dice(self) -> float:
        """Dice of the whole: the slices' Dice weighed by their pixels. NaN for two empty volumes."""
        return whole(self.dice, self.found, self.true)[1]

    @property
    def coverage(self) -> float:
        """The share of the slices which show the structure that have an answer. NaN where none shows it."""
        return whole(self.dice, self.found, self.true)[0]

    @property
    def answered_dice(self) -> float:
        """The mean Dice over the slices that show the structure and have an answer; NaN where there are none."""
        both = (self.found > 0) & (self.true > 0)
        return float(self.dice[both].mean()) if both.any() else float("nan")


def whole(dice: np.ndarray, found: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """(coverage, volume Dice) from the slices' Dice (S,), NaN where both are empty, and their pixels (S,)."""
    shown, weight = true > 0, found + true
    counted = weight > 0
    coverage = float((found[shown] > 0).mean()) if shown.any() else float("nan")
    return coverage, float((dice * weight)[counted].sum() / weight.sum()) if counted.any() else float("nan")


def slice_scores(found: np.ndarray, truth: np.ndarray, axis: int = 2) -> SliceScores:
    """Slice by slice along an axis of two masks (X, Y, Z). Raises PromptError where their shapes differ or are not in 3-D."""
    found, truth = (np.asarray(mask, dtype=bool) for mask in (found, truth))
    if found.shape != truth.shape or found.ndim != 3:
        raise PromptError(f"Masks of shapes {found.shape} and {truth.shape}; give two of one volume (X, Y, Z).")
    across = tuple(i for i in range(3) if i != axis)
    common, p, r = ((m.sum(across)).astype(float) for m in (found & truth, found, truth))
    with np.errstate(invalid="ignore"):
        return SliceScores(2 * common / (p + r), p, r)
