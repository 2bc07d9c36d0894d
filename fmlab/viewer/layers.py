"""What a canvas holds of one class on one slice (or in the volume): its prompts and the mask that the model made of them."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from fmlab.viewer.cuts import Voxel

Box = tuple[Voxel, Voxel]  # its first voxel, and one past its last


@dataclass(frozen=True)
class Packed:
    """A mask in little memory: its bounding box (start, size) and the deflated bits in it."""

    start: tuple[int, ...]
    size: tuple[int, ...]
    bits: bytes

    @classmethod
    def of(cls, mask: np.ndarray) -> Packed:
        """Pack a bool mask of any shape."""
        ends = []
        for axis in range(mask.ndim):
            used = np.flatnonzero(mask.any(axis=tuple(k for k in range(mask.ndim) if k != axis)))
            ends.append((int(used[0]), int(used[-1]) + 1) if len(used) else (0, 0))
        inside = mask[tuple(slice(*end) for end in ends)]
        bits = zlib.compress(np.packbits(inside).tobytes(), 1)
        return cls(tuple(a for a, _ in ends), inside.shape, bits)

    def unpack(self, shape: tuple[int, ...]) -> np.ndarray:
        """The bool mask, of this shape; ValueError if it does not fit in."""
        if not all(0 <= a <= a + n <= limit for a, n, limit in zip(self.start, self.size, shape, strict=True)):
            raise ValueError(f"a mask at {self.start} of {self.size} is outside of {shape}")
        mask = np.zeros(shape, bool)
        count = int(np.prod(self.size))
        inside = np.unpackbits(np.frombuffer(zlib.decompress(self.bits), np.uint8), count=count).astype(bool).reshape(self.size)
        mask[tuple(slice(a, a + n) for a, n in zip(self.start, self.size, strict=True))] = inside
        return mask


@dataclass(frozen=True)
class Layer:
    """points: (voxel, label) in the order of the clicks. box: one at most. mask, iou, area: the answer. stale: the prompts have
    changed since the mask was made."""

    points: tuple[tuple[Voxel, int], ...] = ()
    box: Box | None = None
    mask: Packed | None = None
    iou: float | None = None
    area: int = 0
    stale: bool = False

    @property
    def prompts(self) -> int:
        """How many prompts there are."""
        return len(self.points) + (self.box is not None)

    def with_point(self, voxel: Voxel, label: int) -> Layer:
        """One point more; the mask is kept until the model has answered."""
        return replace(self, points=(*self.points, (voxel, label)), stale=True)

    def with_box(self, box: Box) -> Layer:
        """This box in place of the one before."""
        return replace(self, box=box, stale=True)

    def answered(self, mask: np.ndarray, iou: float | None) -> Layer:
        """The same prompts with the model's mask."""
        return replace(self, mask=Packed.of(mask), iou=iou, area=int(mask.sum()), stale=False)

    def to_json(self) -> dict[str, object]:
        """As JSON takes it."""
        mask = self.mask and {"start": self.mask.start, "size": self.mask.size, "bits": base64.b64encode(self.mask.bits).decode()}
        return {"points": self.points, "box": self.box, "mask": mask, "iou": self.iou, "area": self.area, "stale": self.stale}

    @classmethod
    def from_json(cls, kept: Mapping) -> Layer:
        """What ``to_json`` wrote."""
        mask = kept["mask"] and Packed(tuple(kept["mask"]["start"]), tuple(kept["mask"]["size"]),
                                       base64.b64decode(kept["mask"]["bits"]))
        points = tuple((tuple(voxel), label) for voxel, label in kept["points"])
        box = kept["box"] and (tuple(kept["box"][0]), tuple(kept["box"][1]))
        return cls(points, box, mask, kept["iou"], kept["area"], kept["stale"])


def joined(one: Box | None, other: Box) -> Box:
    """The smallest box around both; the other alone where both lie in the same single slice, or there is none before."""
    if one is None or any(other[0][k] == one[0][k] and other[1][k] == one[1][k] == one[0][k] + 1 for k in range(3)):
        return other
    start, stop = np.minimum(one[0], other[0]), np.maximum(one[1], other[1])
    return tuple(map(int, start)), tuple(map(int, stop))
