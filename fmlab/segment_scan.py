"""``fmlab segment``: a scan file in, a label file on the scan's own grid out, with a JSON beside it that names the ids."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fmlab import grids, hub, inference, metrics, scan_files
from fmlab.errors import ModelError, ScanError
from fmlab.settings import device
from fmlab.vocabulary import ID, MAPPINGS
from fmlab.volume import Volume


@dataclass(frozen=True)
class Segmented:
    """What was found. volume: the scan with its new labels. labels, names: the files. scores: per structure, if asked for."""

    volume: Volume
    labels: Path
    names: Path
    scores: tuple[metrics.Score, ...] = ()

    def __str__(self) -> str:
        dice = {score.structure: f"{score.dice:6.3f}" for score in self.scores if score.scored}
        rows = [f"{'structure':<20}{'ml':>9}{'  Dice' if dice else ''}"]
        for name in sorted(self.volume.annotated or (), key=ID.get):
            ml = float(self.volume.mask(name).sum()) * self.volume.voxel_ml
            if ml or name in dice:
                rows.append(f"{name:<20}{ml:9.1f}{dice.get(name, '' if not dice else '     -')}")
        return "\n".join([*rows, f"{self.labels}\n{self.names}"])


def segment_file(
    scan: Path, output: Path, weights: str | Path = "nano", structures: Sequence[str] | None = None, reference: Path | None = None,
    scheme: str | None = None, overwrite: bool = False, progress: bool = True,
) -> Segmented:
    """Segment .nii, .nii.gz, .nrrd or a folder of DICOM slices with the universal model; write labels and names.

    weights: "nano", another label of the universal model's weights, or a file. structures: only these. reference: a label file
    to score against, its ids of ``scheme``. Raises ScanError, ModelError or VocabularyError with nothing written.
    """
    names = output.with_name(scan_files.stem(output) + ".json")
    _refuse_existing(output, names, overwrite)
    model = hub.load("universal", weights).to(device())
    volume = Volume.read(scan)
    known = _reference(volume, reference, scheme)
    found = inference.segment(model, volume, structures, progress=progress)
    scores = () if known is None else tuple(metrics.evaluate(found, known, sorted(found.annotated, key=ID.get)))
    values, affine = grids.from_ras(found.labels[0].cpu().numpy(), found.affine, str(volume.info["orientation"]))
    comment = {"name": volume.name, "annotated": sorted(found.annotated), "model": f"universal, {weights}"}
    scan_files.write_nifti(output, values, affine, comment, overwrite)
    _write_names(names, found, str(weights), scan, scores)
    return Segmented(found, output, names, scores)


def _refuse_existing(output: Path, names: Path, overwrite: bool) -> None:
    """Before any work: is there a place for the two files?"""
    if scan_files.suffix(output) not in (".nii", ".nii.gz"):
        raise ScanError(f"{output}: labels are written as NIfTI; end the name with .nii.gz.")
    if not output.parent.is_dir():
        raise ScanError(f"{output}: the folder {output.parent} does not exist; make it first.")
    there = [str(path) for path in (output, names) if path.exists()]
    if there and not overwrite:
        raise ScanError(f"{' and '.join(there)} exist already and were left as they are; choose another name or say --overwrite.")


def _reference(volume: Volume, reference: Path | None, scheme: str | None) -> Volume | None:
    """The scan with its reference labels, or None."""
    if reference is None:
        return None
    drawn = Volume.read(Path(str(volume.info["source"])), labels=reference, scheme=scheme or "fmlab")
    if scheme is None and drawn.annotated is None:
        raise ScanError(f"{reference} does not say what its ids mean; name it by --scheme, one of {', '.join(MAPPINGS)}.")
    return drawn


def _write_names(path: Path, found: Volume, weights: str, scan: Path, scores: Sequence[metrics.Score]) -> None:
    """The side JSON, by atomic rename: ids and names, volumes, model, and the scores where there are some."""
    rows = {}
    dice = {score.structure: round(score.dice, 4) for score in scores if score.scored}
    for name in sorted(found.annotated or (), key=ID.get):
        ml = float(found.mask(name).sum()) * found.voxel_ml
        rows[str(ID[name])] = {"name": name, "ml": round(ml, 2)} | ({"dice": dice[name]} if name in dice else {})
    content = {"scan": str(scan), "model": f"universal, {weights}", "labels": rows,
               "note": "made by a small model for teaching, not for diagnosis"}
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        draft.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        os.replace(draft, path)
    except OSError as error:
        raise ModelError(f"{path} cannot be written ({error}); the labels beside it are complete.") from error
    finally:
        draft.unlink(missing_ok=True)
