"""C14: each adaptation method trains as many parameters as is printed for it. Counted on Swin UNETR of feature size 48."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy

from fmlab import hub
from fmlab.adaptation import attach
from fmlab.lessons import claims

PRINTED = {
    "full": (62.1e6, 62.1e6), "decoder": (19.6e6, 19.6e6), "bitfit": (210.7e3, 211.1e3), "lora": (68.1e3, 69.4e3),
    "adaptformer": (47.6e3, 48.1e3), "affine": (17.3e3, 17.7e3), "linear_probe": (49, 490), "spatial_adapter": (124.4e3, 124.9e3)}
"""Method -> what FSEFT's table prints for one and for ten outputs (arXiv:2303.17051)."""
TOLERATED = 0.5  # percent: rounding or cutting to the digits printed explains that much


def counts(outputs: int) -> dict[str, int]:
    """Method -> numbers trained, with a head of so many outputs."""
    base = hub.build("fseft", size="published", structures=outputs)
    return {method: attach(deepcopy(base), method).count for method in PRINTED}


def run(seed: int = 0, command: str = "") -> claims.Run:
    """The count, as a run for the ledger; the seed changes nothing."""
    found = {outputs: counts(outputs) for outputs in (1, 10)}
    details = {"counts": {str(outputs): count for outputs, count in found.items()}}
    return claims.Run.now("C14", seed, effects(found), command=command, details=details)


def effects(found: Mapping[int, Mapping[str, int]]) -> dict[str, float]:
    """Method and outputs -> what is tolerated less the difference to what is printed, in percent of it; found: of 1 and of 10."""
    def off(ours: int, printed: float) -> float:
        return 100 * abs(ours - printed) / printed

    return {f"{method}, {outputs} output{'s' * (outputs > 1)}": TOLERATED - off(found[outputs][method], printed[k])
            for method, printed in PRINTED.items() for k, outputs in enumerate((1, 10))}
