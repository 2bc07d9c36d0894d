"""What a header claims is held against its file and the memory before anything is allocated: a few bytes can claim terabytes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import psutil

from fmlab.errors import ScanError

DEFLATED = 1032  # the most bytes that one byte of gzip can unpack to (zlib's manual, "Maximum Compression Factor")
_COPIES = 12  # bytes a voxel beside the stored ones while a file becomes a Volume: float32, once more in RAS order, and masks


def refuse_impossible(path: Path, shape: Iterable[int], itemsize: int, stored: float = math.inf) -> None:
    """ScanError if so many voxels of ``itemsize`` bytes cannot be in the file, or not in the memory that is free.

    stored: bytes that the file can hold at most, unpacked; infinite where that is not known.
    """
    sizes = [int(n) for n in shape]
    voxels = math.prod(sizes)
    claim = f"{path}: its header claims {' x '.join(map(str, sizes))} voxels, {_readable(voxels * itemsize)}"
    if voxels * itemsize > stored:
        raise ScanError(
            f"{claim}, and the file cannot hold more than {_readable(stored)}; it is damaged or cut short, so copy or download "
            "it again."
        )
    needed, free = voxels * (itemsize + _COPIES), psutil.virtual_memory().available
    if needed > free:
        raise ScanError(
            f"{claim}, which takes {_readable(needed)} of memory where {_readable(free)} are free; crop it, or make its voxels "
            "larger, in another program."
        )


def _readable(size: float) -> str:
    """Bytes in a unit that fits: 2206612 gives "2.2 MB"."""
    units = ["bytes", "kB", "MB", "GB", "TB"]
    step = min(len(units) - 1, int(math.log(max(size, 1), 1000)))
    return f"{size / 1000**step:.{0 if step == 0 else 1}f} {units[step]}"
