"""A learner's scan comes in: read, checked, and stripped of everything that says whose it is.

A name may stand in a NIfTI's description, auxiliary file, intent, database name and extensions, in many DICOM tags, in a NRRD's
comments and keys, in a file's or folder's name. None of it is copied: of a file only voxels, affine and the kind of machine
go on, under a neutral name. What lies in the voxels themselves, a face or burnt-in text, nobody takes out here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fmlab.errors import ScanError
from fmlab.inference import refuse_what_is_no_ct
from fmlab.vocabulary import MAPPINGS
from fmlab.volume import Volume

NEUTRAL = "scan"
KEPT = ("orientation", "clipped_from")  # of Volume.info; "source" is a path
COARSE_MM, FEW_SLICES, LEAST_MM = 6.0, 16, 100.0


@dataclass(frozen=True)
class Own:
    """A scan that was read. volume: without labels, names and paths. reference: the same with the reference's labels, or None.

    findings: what one should know about it, a sentence each; () where nothing is unusual.
    """

    volume: Volume
    reference: Volume | None = None
    findings: tuple[str, ...] = ()


def read_own(path: str | Path, labels: str | Path | None = None, scheme: str | None = None, name: str = NEUTRAL) -> Own:
    """Read .nii, .nii.gz, .nrrd or a folder of DICOM slices; a CT in HU.

    labels: a reference, whose ids ``scheme`` explains (None only for files that fmlab wrote). name: in figures and files; a
    neutral one, unless the learner gives another. Raises ScanError or VocabularyError for what ``Volume.read`` refuses, for what
    is no CT, and for labels that do not say what their ids mean.
    """
    volume = Volume.read(path, labels=labels, scheme=scheme or "fmlab", name=checked_name(name))
    if labels is not None and scheme is None and volume.annotated is None:  # another model's id 5 is not ours
        raise ScanError(f"{labels} does not say what its ids mean; name it by a scheme, one of {', '.join(MAPPINGS)}.")
    return taken(volume, name)


def taken(volume: Volume, name: str = NEUTRAL) -> Own:
    """A Volume that is there already, without names; its labels, if any, are the reference. ScanError for what is no CT."""
    plain = without_names(volume, name)
    refuse_what_is_no_ct(plain)
    bare = replace(plain, labels=None, annotated=None)
    return Own(bare, None if plain.labels is None else plain, findings(bare))


def without_names(volume: Volume, name: str = NEUTRAL) -> Volume:
    """The volume under a neutral name; of ``info`` only what is no name and no path."""
    info = {key: volume.info[key] for key in KEPT if key in volume.info}
    return replace(volume, name=checked_name(name), info=info)


def checked_name(name: str) -> str:
    """A name for files; ScanError where it could lead out of its folder, or is empty."""
    if not name or name.startswith(".") or not all(letter.isalnum() or letter in "-_." for letter in name):
        raise ScanError(f"{name!r} will not do as a name; take letters, digits, '-' and '_', as in scan or case-1.")
    return name


def findings(volume: Volume) -> tuple[str, ...]:
    """What may make the result worse than the model card promises, a sentence each."""
    found, sides = [], np.array(volume.shape) * volume.spacing
    if max(volume.spacing) > COARSE_MM:
        found.append(f"Voxels are up to {max(volume.spacing):.3g} mm long; small structures may fall between slices.")
    if min(volume.shape) < FEW_SLICES:
        found.append(f"One axis has {min(volume.shape)} voxels only; a volume model sees little of a body there.")
    if min(sides) < LEAST_MM:
        found.append(f"The field of view is {min(sides):.0f} mm along its shortest side; the models know whole trunks.")
    if "clipped_from" in volume.info:
        found.append(f"Values below -1024 HU, down to {volume.info['clipped_from']:g}, are a scanner's padding and were clipped.")
    turn = volume.affine[:3, :3] / np.array(volume.spacing)
    if np.abs(turn).max(0).min() < 0.985:  # about ten degrees
        found.append("The slices are oblique; left and right, front and back are those nearest to the voxel axes.")
    return tuple(found)
