"""The claims ledger: what the slides claim, what our experiments measured, and a verdict that is computed, never typed.

``declared``: the twenty claims, read from ``claims.toml``. ``ledger``: stored runs, one JSON line each. ``verdicts``: effect,
interval, verdict. ``shown``: tables for ``fmlab claims`` and a forest plot for lessons. ``page``: all of it as one HTML page.
``rerun``: an experiment again, on the learner's machine. An experiment records a run per seed::

    claims.record(claims.Run.now("C05", seed=0, values={"body 5000": 0.12}, command="python -m ..."))
    claims.verdict("C05", source="own")
"""

from __future__ import annotations

from fmlab.hardware import hardware
from fmlab.lessons.claims.declared import Claim, Quote, declared, find
from fmlab.lessons.claims.ledger import SHIPPED, Run, own_folder, record, runs
from fmlab.lessons.claims.shown import compared, details, forest, forest_alt, overview
from fmlab.lessons.claims.verdicts import Verdict, judge, verdict

__all__ = [
    "SHIPPED", "Claim", "Quote", "Run", "Verdict", "compared", "declared", "details", "find", "forest", "forest_alt", "hardware",
    "judge", "overview", "own_folder", "record", "runs", "verdict",
]
