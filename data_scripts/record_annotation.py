"""Make the recording that lesson 11 replays where nobody clicks: ``python -m data_scripts.record_annotation``.

A simulated person of the crowd, careful, at a stated pace, on the lesson's body: no human being has clicked here.
"""

from __future__ import annotations

from fmlab.interactive import nano
from fmlab.interactive.crowd import CAREFUL, ORGANS
from fmlab.lessons import five_minutes
from fmlab.viewer.keeping import write_json

BODY = 7000  # the lesson's, of hospital A


def main() -> None:
    """Write it."""
    body = next(iter(nano.bodies({"A": 1}, nano.FINE, BODY)))
    five_minutes.STORED.parent.mkdir(exist_ok=True)
    print(write_json(five_minutes.STORED, five_minutes.recorded(CAREFUL, body, ORGANS), overwrite=True))


if __name__ == "__main__":
    main()
