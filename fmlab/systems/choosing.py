"""Which systems: by their place on the axes, and by whether one may use them."""

from __future__ import annotations

from collections.abc import Sequence

from fmlab.errors import DataError
from fmlab.systems.records import AXES, FREE, USAGES, System, systems


def select(A: str = "", B: str = "", C: str = "", usage: str = "", words: str = "",  # noqa: N803  (the slides' axes)
           among: Sequence[System] | None = None) -> tuple[System, ...]:
    """The systems with these values on the axes and this usage, in the table's order; an empty value lets all through.

    words: each must occur in name, data, kinds of images or note, in any case. Raises DataError for a value that does not exist.
    """
    wanted = {"A": A, "B": B, "C": C}
    for axis, value in wanted.items():
        if value and value not in AXES[axis]:
            raise DataError(f"Axis {axis} has no value {value!r}; choose {', '.join(AXES[axis])}.")
    if usage and usage not in USAGES:
        raise DataError(f"There is no usage {usage!r}; choose {', '.join(USAGES)}.")
    return tuple(one for one in (systems() if among is None else among)
                 if all(not value or one.on(axis) == value for axis, value in wanted.items())
                 and (not usage or usage in one.usage) and _speaks_of(one, words))


def usable(among: Sequence[System], reads: str, usage: str) -> list[str]:
    """Keys of the systems that one can put to work today, in the order given.

    Weights can be had, their licence is one of FREE, the system looks at ``reads`` ("2-D" or "3-D") and is used as ``usage``.
    The licence of the code says nothing about the weights, and where none is stated all rights are reserved.
    """
    return [one.key for one in among
            if one.has_weights and one.weights_licence in FREE and one.reads == reads and usage in one.usage]


def _speaks_of(one: System, words: str) -> bool:
    text = " ".join((one.name, one.data, one.note, one.text, *one.images)).casefold()
    return all(word in text for word in words.casefold().split())
