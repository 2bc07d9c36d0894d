"""Memory that is freed and asked for again at every step: on Linux, keep it."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # numbers of glibc's mallopt(3)
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let this process keep what it frees; whether that could be arranged (glibc only).

    A step frees and takes some hundred MB in large pieces. glibc gives each back to the kernel, which clears its pages when they
    are asked for again: a third of a nano step's CPU time. The price: the process stays as large as it once was.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library, such as musl
        return False
    return all([mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, _NEVER), mallopt(_TOP_PAD, 256 * 2**20)])
