"""Means with bootstrap intervals by patient.

Patients, not scans and not structures, are drawn again with replacement: two scans of one patient are alike, so counting them as
two would make the interval too narrow. Percentile intervals; Efron 1979, doi:10.1214/aos/1176344552.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np

from fmlab.errors import ScanError

CONFIDENCE = 0.95
RESAMPLES = 2000
FEW = 10  # patients; below this a percentile interval is clearly too narrow, and tables say so


@dataclass(frozen=True)
class Estimate:
    """A mean over cases and its 95% interval. patients: how many stand behind it; below two, low and high are NaN."""

    mean: float
    low: float
    high: float
    patients: int

    @property
    def has_interval(self) -> bool:
        """Whether there were patients enough to resample: at least two."""
        return math.isfinite(self.low)

    def format(self, digits: int = 3) -> str:
        """"0.912 [0.880, 0.934]"; without interval the mean alone; "-" where nothing was scored."""
        if not math.isfinite(self.mean):
            return "-"
        interval = f" [{self.low:.{digits}f}, {self.high:.{digits}f}]" if self.has_interval else ""
        return f"{self.mean:.{digits}f}{interval}"

    def __str__(self) -> str:
        return self.format()


def estimates(totals: np.ndarray, counts: np.ndarray, seed: int = 0,
              resamples: int = RESAMPLES) -> tuple[list[Estimate], Estimate]:
    """Mean over cases of each structure, and the mean of those means, with intervals.

    totals, counts: (patients, structures), the sum of a patient's values and how many there are (0: nothing scored). A resample
    in which nobody has a structure leaves it out of that resample's overall mean. Two calls with one seed
    and one number of patients resample the same patients.
    """
    people = totals.shape[0]
    draw = np.random.default_rng(checked_seed(seed)).multinomial
    weights = draw(people, np.full(people, 1 / people), size=checked_resamples(resamples))
    whole = _means(np.ones((1, people)), totals, counts)[0]
    drawn = _means(weights, totals, counts)
    behind = (counts > 0).sum(axis=0)
    each = [_estimate(whole[k], drawn[:, k], int(behind[k])) for k in range(totals.shape[1])]
    overall = _estimate(_mean_of_rows(whole[None])[0], _mean_of_rows(drawn), int((counts.sum(axis=1) > 0).sum()))
    return each, overall


def _means(weights: np.ndarray, totals: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(draws, patients) weights -> (draws, structures) means over cases, NaN where no case is in the draw."""
    cases = weights @ counts
    return np.divide(weights @ totals, cases, out=np.full(cases.shape, np.nan), where=cases > 0)


def _mean_of_rows(values: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():  # numpy warns about rows of NaN, which are meant to stay NaN
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmean(values, axis=1) if values.shape[1] else np.full(len(values), np.nan)


def _estimate(mean: float, draws: np.ndarray, patients: int) -> Estimate:
    draws = draws[np.isfinite(draws)]
    if patients < 2 or not draws.size:
        return Estimate(float(mean), math.nan, math.nan, patients)
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(float(mean), float(low), float(high), patients)


def checked_resamples(resamples: int) -> int:
    """How often to draw; ScanError below 100, where the ends of a 95% interval are noise."""
    if not isinstance(resamples, (int, np.integer)) or isinstance(resamples, bool) or resamples < 100:
        raise ScanError(f"resamples is {resamples!r}; give a whole number of at least 100 draws.")
    return int(resamples)


def checked_seed(seed: int) -> int:
    """The seed; ScanError unless it is a whole number of at least 0."""
    if not isinstance(seed, (int, np.integer)) or isinstance(seed, bool) or seed < 0:
        raise ScanError(f"seed is {seed!r}; give a whole number, 0 or more.")
    return int(seed)
