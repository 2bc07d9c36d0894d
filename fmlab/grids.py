"""Voxel grids and affines: is it a grid at all, which way do its axes run, is it the same as another, how to reach RAS."""

from __future__ import annotations

import nibabel as nib
import numpy as np

from fmlab.errors import ScanError

LPS_TO_RAS = np.diag(
    [-1.0, -1.0, 1.0, 1.0]
)  # DICOM, ITK and most NRRD files count towards left and back; we count right and front
_FLATTEST = (
    1e-3  # least volume of the cell spanned by the unit axis directions; 1 for right angles, 0 when the axes lie in a plane
)


def checked_affine(affine: np.ndarray, where: str) -> np.ndarray:
    """The affine as (4, 4) float64, or a ScanError if it is no grid: wrong shape, not finite, zero spacing, flat."""
    try:
        matrix = np.array(affine, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ScanError(f"{where}: the affine is not a matrix of numbers; give (4, 4).") from error
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not np.allclose(matrix[3], [0, 0, 0, 1]):
        raise ScanError(f"{where}: the affine must be a finite (4, 4) matrix whose last row is 0 0 0 1; mend it at its source.")
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    if (spacing < 1e-6).any():
        raise ScanError(
            f"{where}: the affine gives a voxel size of {_listed(spacing)} mm; each must be above zero, so mend the header."
        )
    if abs(np.linalg.det(matrix[:3, :3] / spacing)) < _FLATTEST:
        raise ScanError(f"{where}: the affine is singular (its axes lie in one plane), so voxels have no place; mend the header.")
    return matrix


def orientation(affine: np.ndarray) -> str:
    """Three letters, one per voxel axis: the body direction it runs to, or runs nearest to. "RAS" is ours."""
    return "".join(nib.aff2axcodes(affine))


def to_ras(values: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Permute and flip the axes of (I, J, K) values to the order nearest RAS; every voxel keeps its place in mm.

    An oblique grid stays oblique: nothing is interpolated.
    """
    turn = nib.orientations.io_orientation(affine)
    turned = nib.orientations.apply_orientation(values, turn)
    return np.ascontiguousarray(turned), affine @ nib.orientations.inv_ornt_aff(turn, values.shape)


def same_grid(shape: tuple[int, ...], affine: np.ndarray, other_shape: tuple[int, ...], other_affine: np.ndarray) -> bool:
    """Whether two grids agree: the same shape, and no corner apart by more than 1% of the smallest voxel side."""
    if tuple(shape) != tuple(other_shape):
        return False
    side = np.linalg.norm(affine[:3, :3], axis=0).min()
    return bool(corner_distance(shape, affine, other_affine) <= 0.01 * side)


def corner_distance(shape: tuple[int, ...], affine: np.ndarray, other_affine: np.ndarray) -> float:
    """The farthest that two affines place the same corner of one (X, Y, Z) box of voxels, in mm."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij")).reshape(3, -1)
    points = np.vstack([corners, np.ones(corners.shape[1])])
    return float(np.linalg.norm(((affine - other_affine) @ points)[:3], axis=0).max())


def grid_difference(shape: tuple[int, ...], affine: np.ndarray, other_shape: tuple[int, ...], other_affine: np.ndarray) -> str:
    """How two grids differ, in words for an error message."""
    if tuple(shape) != tuple(other_shape):
        return (
            f"{_crossed(other_shape)} voxels of {_listed(np.linalg.norm(other_affine[:3, :3], axis=0))} mm, "
            f"not {_crossed(shape)} of {_listed(np.linalg.norm(affine[:3, :3], axis=0))} mm"
        )
    return f"the affines place the same corner {corner_distance(shape, affine, other_affine):.3g} mm apart"


def _crossed(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in shape)


def _listed(spacing: np.ndarray) -> str:
    return " x ".join(f"{s:.4g}" for s in spacing)


def from_ras(values: np.ndarray, affine: np.ndarray, letters: str) -> tuple[np.ndarray, np.ndarray]:
    """The way back from ``to_ras``: (X, Y, Z) values in RAS order to axes that run as ``letters`` say, "LPS" for example."""
    ours, theirs = (nib.orientations.axcodes2ornt(codes) for codes in ("RAS", letters))
    turn = nib.orientations.ornt_transform(ours, theirs)
    turned = nib.orientations.apply_orientation(values, turn)
    return np.ascontiguousarray(turned), affine @ nib.orientations.inv_ornt_aff(turn, values.shape)
