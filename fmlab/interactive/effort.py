"""What an annotation costs, by a stated model of a person: so many seconds for each thing that she does.

    seconds = boxes x box + clicks x click + slices looked at x turn + slices drawn by hand x outline

No model of a person is right for all; this one is meant to be changed, by your own seconds if you have measured them. The
defaults are of photographs: a box by its four extreme points 7 s (Papadopoulos et al. 2017, arXiv:1708.02750), an outline 79 s
(Lin et al. 2014, arXiv:1405.0312: 22 hours for 1000 of them). A click and a turn of the wheel are our guesses.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """Seconds: for a box, a click, a turn to the next slice, and an outline drawn by hand in one slice."""

    box: float = 7.0
    click: float = 2.0
    turn: float = 1.0
    outline: float = 79.0

    def seconds(self, boxes: int = 0, clicks: int = 0, turns: int = 0, outlines: int = 0) -> float:
        """What these things take together."""
        return boxes * self.box + clicks * self.click + turns * self.turn + outlines * self.outline


DEFAULT = Pace()
