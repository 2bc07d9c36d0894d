"""How long something takes, for lessons that compare costs."""

from __future__ import annotations

import time
from collections.abc import Callable


def seconds(function: Callable[[], object], repeats: int = 3) -> float:
    """Seconds of the fastest of some calls: other work on the machine can only make a call slower."""
    times = []
    for _ in range(max(1, repeats)):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)
