"""Visits: the same people in any contrast phase and field of view, so that neither tells a network which hospital it looks at."""

from __future__ import annotations

import numpy as np

from fmlab import phantom
from fmlab.volume import Volume


def any_visit(seed: int, centre: str = "A", spacing: float = 4.0, partial: bool = False) -> Volume:
    """A body of a hospital, drawn by its protocol, in any contrast phase, and in two of five cases scanned from neck to thigh.

    A sampler for ``cohorts.phantoms`` and ``templates.assembly``: phase and field of view, which each hospital chooses for good
    reasons, would otherwise tell the network which structures the hospital annotates.
    """
    rng = np.random.default_rng([seed, ord(centre)])
    phase, view = str(rng.choice(phantom.PHASES)), "torso" if rng.random() < 0.4 else None
    return phantom.sample(seed, centre, spacing, phase=phase, field_of_view=view, partial=partial)


any_visit.VERSION = f"{phantom.VERSION}.1"
