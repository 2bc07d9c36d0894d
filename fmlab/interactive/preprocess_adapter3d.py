"""3DSAM-adapter's intensities: a range, a mean and a deviation for each of its four data sets, at 1 mm.

Source: Gong et al. 2023, arXiv:2306.13465.
"""

from __future__ import annotations

import numpy as np

from fmlab.errors import ModelError

RANGES = {  # HU: lowest, highest, mean, deviation
    "kits": (-54.0, 247.0, 59.54, 55.46),
    "lits": (-48.0, 163.0, 60.06, 40.20),
    "pancreas": (-39.0, 204.0, 68.45, 63.42),
    "colon": (-57.0, 175.0, 65.18, 32.65),
}


def ct_normalised(hu: np.ndarray, data: str) -> np.ndarray:
    """Clipped and z-scored by the constants of RANGES. Raises ModelError for another name."""
    if data not in RANGES:
        raise ModelError(f"3DSAM-adapter has no constants for {data!r}; choose of {', '.join(RANGES)}.")
    low, high, mean, std = RANGES[data]
    return (np.clip(np.asarray(hu), low, high) - mean) / std
