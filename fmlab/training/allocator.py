"""Memory that is freed and asked for again at every step: on Linux, keep it while a training runs."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # numbers of glibc's mallopt(3)
_NEVER = 2**31 - 1


@contextmanager
def freed_memory_kept(wanted: bool = True) -> Iterator[bool]:
    """Within it this process keeps what it frees, and afterwards gives it back; yields whether that could be arranged.

    A step frees and takes some hundred MB in large pieces. glibc gives each back to the kernel, which clears its pages when they
    are asked for again: a quarter of a nano step's CPU time. Nothing happens where ``wanted`` is False or the C library is none
    of GNU's.
    """
    library = _glibc() if wanted else None
    if library is None:
        yield False
        return
    for option, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER), (_TOP_PAD, 256 * 2**20)):
        library.mallopt(option, value)
    try:
        yield True
    finally:
        for option, value in ((_MMAP_MAX, 65536), (_TRIM_THRESHOLD, 128 * 2**10), (_TOP_PAD, 128 * 2**10)):  # glibc's defaults
            library.mallopt(option, value)
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """The C library of this process, if it has what is needed."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        library = ctypes.CDLL(None)
        library.mallopt, library.malloc_trim  # noqa: B018  (looked up when named)
    except (OSError, AttributeError):  # another C library, such as musl
        return None
    return library
