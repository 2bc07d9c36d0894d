"""MA-SAM's intensities of CT: -200 to 250 HU become [0, 1].

Source: Chen et al. 2024, doi:10.1016/j.media.2024.103310. The official script goes by 0 to 255 and (x - 50.22) / 68.47 to a
minimum and maximum of the result; as all steps are straight lines, one is enough.
"""

from __future__ import annotations

import numpy as np

from fmlab.interactive.preprocessing import to_unit


def ct_normalised(hu: np.ndarray, low: float = -200, high: float = 250) -> np.ndarray:
    """HU of any shape to [0, 1]. 0 and 1 are the least and greatest value that the clipping left, so give a whole volume."""
    return to_unit(np.clip(np.asarray(hu), low, high))
