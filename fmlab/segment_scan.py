"""``fmlab segment``: a scan file in, a label file on the scan's own grid out, with a JSON beside it that names the ids."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fmlab import grids, hub, inference, metrics, scan_files
from fmlab.errors import ModelError, ScanError
from fmlab.settings import device
from fmlab.vocabulary import ID, MAPPINGS, region
from fmlab.volume import Volume


@dataclass(frozen=True)
class Segmented:
    """What was found. volume: the scan with its new labels. labels, names: the files. ml: structure -> its volume, in order.

    scores: per structure, if a reference was given.
    """

    volume: Volume
    labels: Path
    names: Path
    ml: Mapping[str, float]
    scores: tuple[metrics.Score, ...] = ()

    def __str__(self) -> str:
        dice = {score.structure: f"{score.dice:6.3f}" for score in self.scores if score.scored}
        rows = [f"{'structure':<20}{'ml':>9}{'  Dice' if self.scores else ''}"]
        for name, ml in self.ml.items():
            if ml or name in dice:
                rows.append(f"{name:<20}{ml:9.1f}{dice.get(name, '     -' if self.scores else '')}")
        return "\n".join([*rows, f"{self.labels}\n{self.names}"])


def segment_file(
    scan: Path, output: Path, weights: str | Path = "nano", structures: Sequence[str] | None = None,
    reference: Path | None = None, scheme: str | None = None, overwrite: bool = False, progress: bool = True,
) -> Segmented:
    """Segment .nii, .nii.gz, .nrrd or a folder of DICOM slices with the universal model; write labels and names.

    weights: "nano", another label of the universal model's weights, or a file. structures: only these. reference: a label file
    to score against, its ids of ``scheme``. Raises ScanError, ModelError or VocabularyError with nothing written.
    """
    names = _free(output, (scan, reference), overwrite)
    model = hub.load("universal", weights).to(device())
    volume = Volume.read(scan, labels=reference, scheme=scheme or "fmlab")
    if reference and scheme is None and volume.annotated is None:  # another model's id 5 is not ours
        raise ScanError(f"{reference} does not say what its ids mean; name it by --scheme, one of {', '.join(MAPPINGS)}.")
    found = inference.segment(model, volume, structures, progress=progress)
    scores = tuple(metrics.evaluate(found, volume, sorted(found.annotated, key=ID.get))) if reference else ()
    result = Segmented(found, output, names, _ml(found), scores)
    values, affine = grids.from_ras(found.labels[0].cpu().numpy(), found.affine, str(volume.info["orientation"]))
    comment = {"name": volume.name, "annotated": sorted(found.annotated), "model": f"universal, {weights}"}
    scan_files.write_nifti(output, values, affine, comment, overwrite)
    _write_names(result, scan, str(weights))
    return result


def _free(output: Path, inputs: Sequence[Path | None], overwrite: bool) -> Path:
    """Before any work: is there a place for the two files? The path of the names."""
    if scan_files.suffix(output) not in (".nii", ".nii.gz"):
        raise ScanError(f"{output}: labels are written as NIfTI; end the name with .nii.gz.")
    if not output.parent.is_dir():
        raise ScanError(f"{output}: the folder {output.parent} does not exist; make it first.")
    if output.resolve() in [path.resolve() for path in inputs if path]:
        raise ScanError(f"{output} is what is to be read, and the labels would replace it; choose another name.")
    names = output.with_name(output.name[: -len(scan_files.suffix(output))] + ".json")
    there = [str(path) for path in (output, names) if path.exists()]
    if there and not overwrite:
        raise ScanError(f"{' and '.join(there)} exist already and were left as they are; choose another name or say --overwrite.")
    return names


def _ml(found: Volume) -> dict[str, float]:
    """Structure -> ml, parts included, in vocabulary order; slice by slice, as counts of a whole scan need 8 bytes a voxel."""
    counts = sum(np.bincount(part.ravel(), minlength=256) for part in found.labels[0].cpu().numpy())
    return {name: float(counts[list(region(name))].sum()) * found.voxel_ml for name in sorted(found.annotated, key=ID.get)}


def _write_names(result: Segmented, scan: Path, weights: str) -> None:
    """The side JSON, by atomic rename: ids and names, volumes, model, and the scores where there are some."""
    path, dice = result.names, {score.structure: round(score.dice, 4) for score in result.scores if score.scored}
    rows = {str(ID[name]): {"name": name, "ml": round(ml, 2)} | ({"dice": dice[name]} if name in dice else {})
            for name, ml in result.ml.items()}
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
