"""Inflation: the weights of a network of slices as the first weights of a network of volumes.

    report = inflate(flat, solid, "centre")          the same names, one more axis in each kernel
    print(report)

A 2-D kernel (O, I, kx, ky) becomes (O, I, kx, ky, k): the plane, times one number for each of the k places along the new axis.

- "mean" (I3D, Carreira and Zisserman 2017, doi:10.1109/CVPR.2017.502): each plane is the kernel over k. Where a volume is alike
  in all slices the new network says what the old one says of a slice; elsewhere it begins by blurring across slices.
- "centre" (Girdhar et al. 2018, doi:10.1109/CVPR.2018.00044): the kernel in the middle plane, 0 elsewhere. At first the new
  network *is* the old one, slice by slice; it learns to look across.

Both hold while nothing else mixes slices. A stride along the new axis leaves every second slice out; a norm whose statistics are
taken over the sample then takes them over the volume. The report names these layers. (A batch norm in eval mode is neither.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from fmlab.errors import ModelError

How = Literal["mean", "centre"]
_AXES = (0, 1, 2)
_PER_SAMPLE = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.GroupNorm, nn.LayerNorm)


@dataclass(frozen=True)
class Report:
    """What ``inflate`` did. inflated: tensors that got an axis; copied: those taken over as they were. strided: layers with a
    stride along the new axis. per_sample: norms whose statistics are now those of a volume."""

    how: str
    axis: int
    inflated: tuple[str, ...]
    copied: tuple[str, ...]
    strided: tuple[str, ...]
    per_sample: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{len(self.inflated)} kernels inflated along axis {self.axis} ({self.how}), {len(self.copied)} tensors copied."]
        if self.strided:
            lines.append(f"Strided along that axis, so that slices are left out: {', '.join(self.strided)}.")
        if self.per_sample:
            lines.append(f"Norms with statistics of the whole volume: {', '.join(self.per_sample)}.")
        return "\n".join(lines)


def inflated(kernel: Tensor, depth: int, how: How = "mean", axis: int = 2, stride: int = 1) -> Tensor:
    """A 2-D kernel (O, I, kx, ky) with a new spatial axis ``axis`` (0, 1 or 2) of ``depth``: (O, I, kx, ky, depth) for 2.

    stride: 1, or that of a transposed convolution along the axis, where depth / stride of the places reach an output, and not all
    of them. ModelError where no plane is the middle one, or no equal share falls to each output.
    """
    if kernel.ndim != 4:
        raise ModelError(f"A kernel of {tuple(kernel.shape)} cannot be inflated; give one of a 2-D convolution, (O, I, k, k).")
    if axis not in _AXES:
        raise ModelError(f"A volume has no axis {axis!r} to inflate along; give 0, 1 or 2.")
    along = taps(depth, how, stride).to(kernel).view([depth if place == axis else 1 for place in _AXES])
    return kernel.unsqueeze(2 + axis) * along


def taps(depth: int, how: How = "mean", stride: int = 1) -> Tensor:
    """What each place (depth,) along the new axis gets of the kernel; they add up to ``stride``. Errors: as ``inflated``."""
    if how not in ("mean", "centre"):
        raise ModelError(f"Kernels cannot be inflated by {how!r}; choose mean or centre.")
    spare = depth - stride
    if depth < 1 or stride < 1 or (depth % stride if how == "mean" else spare < 0 or spare % 2):
        lacking = "equal share for each output" if how == "mean" else "middle plane"
        raise ModelError(f"A depth of {depth} at a stride of {stride} has no {lacking}; take another, or the other way.")
    if how == "mean":
        return torch.full((depth,), stride / depth)
    place = torch.arange(depth)
    return ((place >= spare // 2) & (place < spare // 2 + stride)).float()


def inflate(flat: nn.Module, solid: nn.Module, how: How = "mean", axis: int = 2) -> Report:
    """Write the weights of ``flat`` into ``solid``, of the same names and one more axis in each convolution's kernel.

    axis: of the volume's three, along which ``flat`` saw nothing; 2 for axial slices of (X, Y, Z). Nothing is written unless all
    fits. ModelError names the tensors that are missing, left over, or of a shape that no inflation gives.
    """
    source, target, layers = flat.state_dict(), solid.state_dict(), dict(solid.named_modules())
    if source.keys() != target.keys():
        lacks, spare = _some(target.keys() - source.keys()), _some(source.keys() - target.keys())
        raise ModelError(f"The flat network lacks {lacks} and has {spare} beyond the solid one; build both alike, so that their "
                         "tensors have the same names.")
    new = {name: _grown(name, source[name], target[name], layers, how, axis) for name in source}
    solid.load_state_dict(new)
    grown = tuple(name for name in source if source[name].shape != target[name].shape)
    return Report(how, axis, grown, tuple(name for name in source if name not in grown),
                  tuple(name for name, layer in layers.items() if isinstance(layer, _ConvNd) and layer.stride[axis] > 1),
                  tuple(name for name, layer in layers.items() if isinstance(layer, _PER_SAMPLE)))


def _grown(name: str, value: Tensor, like: Tensor, layers: dict[str, nn.Module], how: How, axis: int) -> Tensor:
    """The flat tensor in the shape of the solid one."""
    if value.shape == like.shape:
        return value
    layer = layers[name.rpartition(".")[0]]
    if axis in _AXES and value.ndim == 4 and like.ndim == 5 and isinstance(layer, nn.Conv3d | nn.ConvTranspose3d):
        new = inflated(value, like.shape[2 + axis], how, axis, layer.stride[axis] if layer.transposed else 1)
        if new.shape == like.shape:
            return new
    raise ModelError(f"{name} of {tuple(value.shape)} does not fit {tuple(like.shape)}, inflated along axis {axis}; the two "
                     "networks differ in more than this axis.")


def _some(names: set[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "") if listed else "nothing"
