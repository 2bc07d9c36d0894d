"""One scan in memory: image, labels, where its voxels lie in the body, and which structures somebody looked for.

Everything downstream (phantoms, cohorts, metrics, viewer, methods) speaks ``Volume``, always in RAS order: the first voxel axis
runs towards the patient's right, the second to the front, the third to the head (or as near as an oblique scan allows).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from fmlab import grids, scan_checks, scan_files
from fmlab.errors import ScanError
from fmlab.vocabulary import ANNOTATED, ID, NAME, present_ids, region, to_vocabulary

CT_FLOOR = -1024.0  # HU; vacuum is -1000, and whatever lies below -1024 is a scanner's padding or undershoot


@dataclass(frozen=True, eq=False, repr=False)
class Volume:
    """A 3-D scan with optional labels; the arrays are shared, never copied, so treat them as read-only.

    image: (1, X, Y, Z) float32, HU for CT. affine: (4, 4) float64, voxel index to mm, RAS+. labels: (1, X, Y, Z) uint8,
    vocabulary ids, on the image's device. annotated: structures whose absence in the labels means "not there" (None: nothing is
    known). modality: "CT", "MR" or "other". name: shown in titles. info: free facts (seed, centre, phase, source, licence).

    Raises ScanError if shapes, affine or values are unfit, VocabularyError if a label id is not in the vocabulary.
    """

    image: torch.Tensor
    affine: np.ndarray
    labels: torch.Tensor | None = None
    annotated: frozenset[str] | None = None
    modality: str = "CT"
    name: str = ""
    info: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        where = f"Volume {self.name!r}"
        image = torch.as_tensor(self.image)
        if image.ndim != 4 or image.shape[0] != 1 or 0 in image.shape:
            raise ScanError(f"{where}: the image has shape {tuple(image.shape)}; give one channel and three axes, (1, X, Y, Z).")
        image = image.to(torch.float32)
        if not (torch.isfinite(image.min()) and torch.isfinite(image.max())):  # both show a NaN; no copy, unlike isfinite of all
            raise ScanError(f"{where}: the image holds NaN or infinite values; replace them before you make a Volume.")
        affine = grids.checked_affine(self.affine, where)
        if grids.orientation(affine) != "RAS":
            raise ScanError(f"{where}: the axes run {grids.orientation(affine)}; reorder them to RAS (grids.to_ras does).")
        if self.modality not in ("CT", "MR", "other"):
            raise ScanError(f"{where}: modality is {self.modality!r}; say CT, MR or other.")
        object.__setattr__(self, "image", image)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "info", dict(self.info))
        if self.annotated is not None:
            object.__setattr__(self, "annotated", frozenset(self.annotated))
        if self.labels is not None:
            object.__setattr__(self, "labels", _checked_labels(self.labels, image, where))

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.shape))
        spacing = " x ".join(f"{s:.4g}" for s in self.spacing)
        drawn = "no labels" if self.labels is None else f"{len(self.structures)} structures"
        return f"Volume({self.name!r}, {self.modality}, {size} voxels of {spacing} mm, {drawn})"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along right, front and head: (X, Y, Z)."""
        return tuple(self.image.shape[1:])

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm along each voxel axis."""
        return tuple(float(s) for s in np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in ml (sheared grids too: it is the affine's determinant)."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @property
    def structures(self) -> tuple[str, ...]:
        """Names of the ids present in the labels, in vocabulary order; () without labels."""
        if self.labels is None:
            return ()
        return tuple(NAME[i] for i in present_ids(self.labels))

    def mask(self, name: str) -> torch.Tensor:
        """The region of a structure, its parts included (``mask("liver")`` holds the tumours): (X, Y, Z) bool.

        Raises ScanError without labels, VocabularyError for an unknown name.
        """
        ids = torch.tensor(region(name), dtype=torch.uint8, device=self.image.device)
        if self.labels is None:
            raise ScanError(f"Volume {self.name!r} has no labels, so there is no mask of {name!r}; add some by with_labels().")
        return torch.isin(self.labels[0], ids)

    def world(self, ijk: Iterable[float] | np.ndarray) -> np.ndarray:
        """Voxel indices (..., 3) to mm in RAS (..., 3); index 0 is the centre of the first voxel."""
        return np.asarray(ijk, dtype=np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def index(self, mm: Iterable[float] | np.ndarray) -> np.ndarray:
        """Points in mm, RAS (..., 3), to fractional voxel indices (..., 3): the inverse of ``world``."""
        return (np.asarray(mm, dtype=np.float64) - self.affine[:3, 3]) @ np.linalg.inv(self.affine[:3, :3]).T

    @classmethod
    def read(
        cls,
        path: str | Path,
        labels: str | Path | None = None,
        scheme: str = "fmlab",
        modality: str | None = None,
        name: str | None = None,
        resample_labels: bool = False,
    ) -> Volume:
        """Read a scan, and its labels if named, from .nii, .nii.gz, .nrrd or a folder of DICOM slices.

        scheme: what the label ids mean (a key of ``vocabulary.MAPPINGS``). modality: CT unless the file says otherwise; CT values
        below -1024 HU are padding and are clipped. resample_labels: bring labels from another grid to the image's (nearest).

        Raises ScanError or VocabularyError, each with one sentence that says what, where and what to do.
        """
        scan = scan_files.read_scan(path)
        drawn = None if labels is None else scan_files.read_scan(labels)
        kind = modality or scan.modality or "CT"
        scan_checks.refuse_swapped(scan, drawn, kind)
        values, info = scan.values.astype(np.float32), {"source": str(path), **scan.info}
        if kind == "CT" and values.min() < CT_FLOOR:
            info["clipped_from"] = float(values.min())  # such as -3024
            np.maximum(values, CT_FLOOR, out=values)
        title = name if name is not None else str(scan.comment.get("name", scan_files.stem(path)))
        volume = cls(torch.from_numpy(values)[None], scan.affine, modality=kind, name=title, info=info)
        return volume if drawn is None else _attach(volume, drawn, scheme, resample_labels)

    def write(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write the image as NIfTI (.nii or .nii.gz), int16 where that loses nothing, else float32; returns the path.

        Raises ScanError, and writes nothing, if the file exists and overwrite is False.
        """
        comment = {"modality": self.modality, "name": self.name}
        return scan_files.write_nifti(path, scan_files.compact(self.image[0].cpu().numpy()), self.affine, comment, overwrite)

    def write_labels(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write the labels as uint8 NIfTI in vocabulary ids; the header carries ``annotated``. Raises as ``write`` does."""
        if self.labels is None:
            raise ScanError(f"Volume {self.name!r} has no labels to write to {path}; add some by with_labels().")
        comment = {"name": self.name, "annotated": None if self.annotated is None else sorted(self.annotated)}
        return scan_files.write_nifti(path, self.labels[0].cpu().numpy(), self.affine, comment, overwrite)

    def with_labels(self, labels: torch.Tensor | np.ndarray | Volume, annotated: Iterable[str] | None = None) -> Volume:
        """The same image with these labels: an array on this grid, (1, X, Y, Z) or (X, Y, Z), or a Volume on any grid.

        A Volume's labels are brought to this grid through both affines, nearest neighbour, 0 outside; its ``annotated`` comes
        along unless given. Raises ScanError for an array of another shape, VocabularyError for unknown ids.
        """
        names = None if annotated is None else frozenset(annotated)
        if not isinstance(labels, Volume):
            return replace(self, labels=labels, annotated=names)
        if labels.labels is None:
            raise ScanError(f"Volume {labels.name!r} has no labels to bring to {self.name!r}; read it with labels=... first.")
        drawn = labels.labels
        if not grids.same_grid(self.shape, self.affine, labels.shape, labels.affine):
            drawn = _onto(drawn, labels.affine, self)
        return replace(self, labels=drawn, annotated=labels.annotated if names is None else names)

    def resample(self, spacing: float | tuple[float, float, float]) -> Volume:
        """The same field of view on voxels of this size in mm: image linear, labels nearest (MONAI's ``Spacing``).

        The first voxel's centre and the axes' directions stay. No smoothing is added before a coarser grid.
        """
        from monai.data import MetaTensor  # monai takes seconds to import, and most Volumes are never resampled
        from monai.transforms import Spacing

        size = np.ones(3) * spacing if np.shape(spacing) in ((), (3,)) else np.zeros(3)
        if not (np.isfinite(size).all() and (size > 0).all()):
            raise ScanError(f"Volume {self.name!r}: cannot resample to a spacing of {spacing}; give one or three mm above zero.")
        affine = torch.as_tensor(self.affine)
        linear = Spacing(tuple(size), mode="bilinear", padding_mode="border", dtype=torch.float32)  # mps has no float64
        image = linear(MetaTensor(self.image, affine=affine))
        labels = None
        if self.labels is not None:
            nearest = Spacing(tuple(size), mode="nearest", padding_mode="border", dtype=torch.float32)
            labels = nearest(MetaTensor(self.labels.float(), affine=affine)).as_tensor().round().to(torch.uint8)
        return replace(self, image=image.as_tensor(), labels=labels, affine=image.affine.cpu().numpy())

    def crop(self, start: Iterable[int], stop: Iterable[int]) -> Volume:
        """The voxel box start <= index < stop, (3,) whole numbers each; the affine moves, so world coordinates stay."""
        first, last = np.asarray(tuple(start)), np.asarray(tuple(stop))
        whole = all(a.shape == (3,) and np.issubdtype(a.dtype, np.integer) for a in (first, last))
        if not whole or (first < 0).any() or (last > self.shape).any() or (first >= last).any():
            raise ScanError(
                f"Volume {self.name!r}: the box {first.tolist()} to {last.tolist()} is empty or leaves the {self.shape} voxels."
            )
        box = (slice(None), *(slice(int(a), int(b)) for a, b in zip(first, last, strict=True)))
        affine = self.affine.copy()
        affine[:3, 3] = self.world(first)
        return replace(self, image=self.image[box], labels=None if self.labels is None else self.labels[box], affine=affine)

    def to(self, device: str | torch.device) -> Volume:
        """The same volume with its tensors on a device."""
        labels = None if self.labels is None else self.labels.to(device)
        return replace(self, image=self.image.to(device), labels=labels)


def _checked_labels(labels: torch.Tensor | np.ndarray, image: torch.Tensor, where: str) -> torch.Tensor:
    """Labels as (1, X, Y, Z) uint8 on the image's device, or an error that says why not."""
    drawn = torch.as_tensor(labels)
    drawn = drawn[None] if drawn.ndim == 3 else drawn
    if drawn.shape != image.shape:
        raise ScanError(
            f"{where}: the labels have shape {tuple(drawn.shape)} and the image {tuple(image.shape)}, so they lie on another "
            "grid; put them in a Volume with their own affine and pass that to with_labels(), which resamples."
        )
    present_ids(drawn, where)  # raises for ids that are not in the vocabulary
    return drawn.to(device=image.device, dtype=torch.uint8)


def _attach(volume: Volume, drawn: scan_files.Scan, scheme: str, resample: bool) -> Volume:
    """The volume with labels from a file: ids translated, grid compared, ``annotated`` taken from the scheme or the file."""
    ours = to_vocabulary(torch.from_numpy(scan_checks.whole_numbers(drawn)), scheme)
    names = ANNOTATED[scheme] or None
    if scheme == "fmlab" and isinstance(said := drawn.comment.get("annotated"), list):
        names = frozenset(name for name in said if isinstance(name, str) and name in ID)
    if grids.same_grid(volume.shape, volume.affine, drawn.values.shape, drawn.affine):
        return volume.with_labels(ours, names)
    if not resample:
        difference = grids.grid_difference(volume.shape, volume.affine, drawn.values.shape, drawn.affine)
        raise ScanError(
            f"{drawn.path}: these labels lie on another grid than the image: {difference}; "
            "if both affines are right, read with resample_labels=True."
        )
    return volume.with_labels(_onto(ours[None], drawn.affine, volume), names)


def _onto(labels: torch.Tensor, affine: np.ndarray, grid: Volume) -> torch.Tensor:
    """Labels (1, X, Y, Z) brought to another volume's grid through both affines; nearest neighbour, 0 outside."""
    from monai.data import MetaTensor
    from monai.transforms import SpatialResample

    move = SpatialResample(mode="nearest", padding_mode="zeros", dtype=torch.float64)
    moved = move(
        MetaTensor(labels.cpu().double(), affine=torch.as_tensor(affine)),
        dst_affine=torch.as_tensor(grid.affine),
        spatial_size=grid.shape,
    )
    return moved.as_tensor().round().to(device=grid.image.device, dtype=torch.uint8)
