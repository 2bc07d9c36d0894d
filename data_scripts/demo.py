"""What ``python -m data_scripts.prepare --demo`` prepares: a phantom in an odd orientation, and the real CT where it is found."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np

from data_scripts import one_case
from data_scripts.layouts import Pair
from data_scripts.one_case import Job, Settings
from fmlab import phantom
from fmlab.grids import from_ras
from fmlab.hub import data
from fmlab.settings import data_folder, profile
from fmlab.volume import Volume

if TYPE_CHECKING:
    from data_scripts.prepare import Outcome

SEED = 7
LETTERS = "PIR"  # axes towards back, feet, right: as far from RAS as a file gets


def jobs(settings: Settings, output: Path | None = None) -> tuple[Job, ...]:
    """The demo's cases: files are written to FMLAB_DATA/demo, what is prepared to output or FMLAB_DATA/prepared."""
    target = (output or data_folder() / "prepared") / "demo" / settings.tag
    known = [(write_phantom(data_folder() / "demo"), "fmlab", "phantom of the package"), *real_scans()]
    return tuple(Job("demo", pair, scheme, "CT", settings, target, {"licence": licence}) for pair, scheme, licence in known)


def write_phantom(folder: Path) -> Pair:
    """A body of the package as two NIfTI files with axes that run as LETTERS say; written once."""
    spacing = 0.75 * profile().spacing  # finer than what is prepared by default, so that there is something to smooth
    pair = Pair(f"phantom_{SEED}", *(folder / f"phantom_{SEED}_{spacing:g}mm_{part}.nii.gz" for part in ("ct", "labels")))
    if not (pair.image.is_file() and pair.labels.is_file()):
        folder.mkdir(parents=True, exist_ok=True)
        write_turned(phantom.sample(SEED, spacing=spacing), pair.image, pair.labels, LETTERS)
    return pair


def write_turned(volume: Volume, image: Path, labels: Path, letters: str) -> None:
    """Write a volume as image (int16) and labels (uint8) whose axes run as ``letters`` say; every voxel keeps its place."""
    for path, tensor, kind in ((labels, volume.labels, np.uint8), (image, volume.image.round(), np.int16)):
        values, affine = from_ras(tensor[0].cpu().numpy().astype(kind), volume.affine, letters)
        draft = path.with_name(f".{path.name}")
        nib.save(nib.Nifti1Image(values, affine), draft)
        os.replace(draft, path)


def real_scans() -> list[tuple[Pair, str, str]]:
    """Registered CTs with labels, from FMLAB_SHARED, shared/ beside the repository or the cache: pair, scheme, licence."""
    shared = Path(os.environ.get("FMLAB_SHARED") or Path(__file__).resolve().parents[2] / "shared") / "data"
    found = []
    for entry in data.registry():
        if entry.kind != "scan" or entry.modality != "CT" or not entry.having("labels"):
            continue
        for folder in (shared / entry.folder, data.folder(entry)):
            image, labels = (folder / entry.having(role)[0].name for role in ("image", "labels"))
            if image.is_file() and labels.is_file():
                found.append((Pair(entry.name, image, labels), entry.scheme, entry.licence))
                break
    return found


def table(outcomes: Sequence[Outcome]) -> str:
    """Before and after of each case: orientation, shape, spacing, range, structures, size on disk, seconds."""
    rows = [("case", "", "axes", "shape", "mm", "range", "structures", "MB", "s")]
    for outcome in outcomes:
        job = outcome.job
        if outcome.state == "failed":
            rows.append((job.pair.case, "failed", "", "", "", "", "", "", ""))
            continue
        volume, facts = one_case.load(job.path)
        on_disk = sum(path.stat().st_size for path in (job.pair.image, job.pair.labels)) / 1e6
        for when, axes, size, seconds in (("before", facts["info"]["orientation"], on_disk, ""),
                                          ("after", "RAS", job.path.stat().st_size / 1e6, f"{facts['seconds']:.1f}")):
            said = facts[when]
            low, high = said["range"]
            rows.append((job.pair.case if when == "before" else "", when, axes, "x".join(map(str, said["shape"])),
                         "x".join(f"{mm:g}" for mm in said["spacing"]), f"{low:.4g} to {high:.4g}", str(said["structures"]),
                         f"{size:.2f}", seconds))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)
