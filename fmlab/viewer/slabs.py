"""Voxels on their way to the browser: slabs of consecutive axial slices, deflated; and smaller copies for saved pages.

A slab holds the low bytes of its image values, then the high bytes (neighbours' high bytes are mostly equal, so they deflate
well), then one byte per voxel for each label map. ``take`` in web/store.js reads the same layout.
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import replace

import numpy as np

from fmlab.viewer.scene import Scene

THICK_VOXELS = 1_000_000  # a slab is about this many voxels: few messages, and none that keeps the kernel busy for long


def slab_thickness(shape: tuple[int, int, int]) -> int:
    """Axial slices per slab."""
    return max(1, min(shape[2], THICK_VOXELS // (shape[0] * shape[1])))


def slab_count(shape: tuple[int, int, int]) -> int:
    """Number of slabs of a volume; the last may be thinner."""
    return -(-shape[2] // slab_thickness(shape))


def pack(scene: Scene, slab: int, level: int = 1) -> bytes:
    """One slab, x fastest, deflated. level 1 is for a waiting reader, 6 for a file."""
    thick = slab_thickness(scene.shape)
    part = slice(slab * thick, (slab + 1) * thick)
    values = np.ascontiguousarray(scene.values[:, :, part].T).astype("<i2", copy=False).view(np.uint8)
    low_high = [values.reshape(-1)[0::2], values.reshape(-1)[1::2]]
    codes = [np.ascontiguousarray(c[:, :, part].T).reshape(-1) for c in scene.codes]
    return zlib.compress(np.concatenate(low_high + codes), level)


def pack_all(scene: Scene) -> dict[str, str]:
    """Every slab as base64 text, by number."""
    return {str(k): base64.b64encode(pack(scene, k, level=6)).decode() for k in range(slab_count(scene.shape))}


def shrink(scene: Scene, budget: int) -> tuple[Scene, dict[str, str]]:
    """The scene at the finest voxel size whose slabs fit in ``budget`` bytes of base64, with a note if that is not its own.

    First 4 HU steps (invisible in every window), then larger voxels by whole factors, the finest axes first.
    """
    smaller, factors = scene, [1, 1, 1]
    while True:
        if _estimate(smaller) <= budget:
            packed = pack_all(smaller)
            if sum(map(len, packed.values())) <= budget or max(smaller.shape) == 1:
                return smaller, packed
        if smaller is scene:
            smaller = _rounded(scene)
            continue
        spacing = np.array(scene.spacing) * factors
        factors = [f + max(1, f // 2) if s <= 1.3 * spacing.min() else f for f, s in zip(factors, spacing, strict=True)]
        smaller = _rounded(_coarser(scene, tuple(factors)))


def _estimate(scene: Scene) -> int:
    """Bytes of base64 from a few slabs, so that a large scan is not packed again and again."""
    count = slab_count(scene.shape)
    some = sorted({0, count // 4, count // 2, 3 * count // 4})
    return int(sum(len(pack(scene, k, level=6)) for k in some) / len(some) * count * 4 / 3)


def _rounded(scene: Scene) -> Scene:
    """Grey values in steps of 4 HU (for MR: 1/1000 of the range)."""
    step = 4 if scene.unit == "HU" else 64
    values = np.asfortranarray(np.round(scene.values / step).astype(np.int16))
    words = f"grey values in this saved page are rounded to {step * scene.slope:.3g} {scene.unit}"
    note = f"{scene.note}; {words}" if scene.note else words[0].upper() + words[1:]
    return replace(scene, values=values, slope=scene.slope * step, note=note)


def _coarser(scene: Scene, factors: tuple[int, int, int]) -> Scene:
    """Voxels merged by whole factors: image by mean, labels by the middle voxel; volumes in ml stay those of the full scan."""
    whole = tuple(max(1, n // f) for n, f in zip(scene.shape, factors, strict=True))
    blocks = tuple(min(f, n) for n, f in zip(scene.shape, factors, strict=True))
    cut = tuple(slice(0, n * f) for n, f in zip(whole, blocks, strict=True))
    middle = tuple(slice(f // 2, n * f, f) for n, f in zip(whole, blocks, strict=True))
    parts = [axis for n, f in zip(whole, blocks, strict=True) for axis in (n, f)]
    values = np.round(scene.values[cut].reshape(parts).mean(axis=(1, 3, 5))).astype(np.int16)
    affine = scene.affine.copy()
    affine[:3, 3] += scene.affine[:3, :3] @ ((np.array(blocks) - 1) / 2)
    affine[:3, :3] = scene.affine[:3, :3] * np.array(blocks)
    size = " x ".join(f"{s:.3g}" for s in np.array(scene.spacing) * blocks)
    note = f"This saved page shows larger voxels, {size} mm, to stay small"
    codes = tuple(np.asfortranarray(c[middle]) for c in scene.codes)
    return replace(scene, values=np.asfortranarray(values), codes=codes, affine=affine, note=note)
