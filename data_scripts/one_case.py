"""One prepared case: RAS, smoothed and resampled, cropped to the body, windowed, and kept as a small file that is read fast.

A file is written under a temporary name and renamed, so it is whole or not there. It holds the key of what made it: other
settings have another folder, and a file of another key is not believed.
"""

from __future__ import annotations

import io
import json
import os
import time
import uuid
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from data_scripts.layouts import Pair, read
from fmlab.errors import DataError, ScanError, SettingsError
from fmlab.volume import Volume
from fmlab.windows import SOFT_TISSUE, WIDE

VERSION = 1  # part of the key: raise it when preparation changes
WINDOWS = {"none": None, "wide": WIDE, "soft_tissue": SOFT_TISSUE}
CROPS = ("body", "none")
BODY_HU = -300.0  # between lung or fat next to air, and skin
MARGIN_MM = 10.0
FWHM = 2 * np.sqrt(2 * np.log(2))  # full width at half maximum of a Gaussian, in standard deviations


@dataclass(frozen=True)
class Settings:
    """What is done to each case. spacing: mm. window: key of WINDOWS. crop: one of CROPS. Raises SettingsError."""

    spacing: float = 4.0
    window: str = "none"
    crop: str = "body"

    def __post_init__(self) -> None:
        if not (np.isfinite(self.spacing) and 0.5 <= self.spacing <= 20):
            raise SettingsError(f"The spacing is {self.spacing} mm; give one between 0.5 and 20.")
        for name, value, known in (("window", self.window, tuple(WINDOWS)), ("crop", self.crop, CROPS)):
            if value not in known:
                raise SettingsError(f"The {name} is {value!r}; choose one of {', '.join(known)}.")

    @property
    def tag(self) -> str:
        """Folder name of these settings: "4mm-none-body"."""
        return f"{self.spacing:g}mm-{self.window}-{self.crop}"


@dataclass(frozen=True)
class Job:
    """One case to prepare: from where, as what, how, and to where. facts: kept in the Volume's info (licence, citation)."""

    dataset: str
    pair: Pair
    scheme: str
    modality: str
    settings: Settings
    folder: Path
    facts: Mapping[str, str] = field(default_factory=dict, compare=False)  # so that a job can be a key

    @property
    def name(self) -> str:
        """The case's name among all data sets: "msd_spleen-spleen_12"."""
        return f"{self.dataset}-{self.pair.case}"

    @property
    def path(self) -> Path:
        """The file that will hold it."""
        return self.folder / f"{self.pair.case}.npz"

    @property
    def key(self) -> dict[str, object]:
        """What makes it this file and no other; a source of another size is another source."""
        sizes = [_size(path) for path in (self.pair.image, self.pair.labels)]
        return {"name": self.name, "scheme": self.scheme, "modality": self.modality, "version": VERSION, "sources": sizes,
                **asdict(self.settings)}


def prepare(volume: Volume, settings: Settings) -> Volume:
    """The volume on voxels of ``settings.spacing``, cropped and windowed; labels stay ids. Raises ScanError, SettingsError."""
    if volume.modality != "CT" and settings.window != "none":
        raise SettingsError(f"Volume {volume.name!r} is {volume.modality} and HU windows are for CT; use --window none.")
    volume = antialiased(volume, settings.spacing).resample(settings.spacing)
    if settings.crop == "body":
        volume = volume.crop(*body_box(volume))
    window = WINDOWS[settings.window]
    return volume if window is None else replace(volume, image=window(volume.image))


def antialiased(volume: Volume, spacing: float) -> Volume:
    """The volume smoothed along each axis that ``spacing`` (mm) makes coarser, as a thicker slice would; others stay.

    A voxel is taken for a Gaussian as wide, at half maximum, as the voxel; the smoothing is what turns the narrow one into the
    wide one: sigma = sqrt(new^2 - old^2) / 2.355. Cardoso et al., MICCAI 2015, doi:10.1007/978-3-319-24571-3_81
    """
    from monai.networks.layers import gaussian_1d, separable_filtering  # monai takes seconds to import

    sigmas = [np.sqrt(max(0.0, spacing**2 - old**2)) / FWHM / old for old in volume.spacing]  # in voxels
    if max(sigmas) < 0.05:
        return volume
    kernels = [gaussian_1d(torch.tensor(max(sigma, 1e-3)), truncated=4.0) for sigma in sigmas]
    kernels = [kernel / kernel.sum() for kernel in kernels]  # what was cut off would make air lighter
    smooth = separable_filtering(volume.image[None], kernels, mode="replicate")[0]  # zeros outside would be tissue
    return replace(volume, image=smooth)


def body_box(volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    """The voxel box (start, stop), (3,) each, of the body and all labels, with a margin. Raises ScanError without a body.

    The body is the largest connected piece above BODY_HU in CT; elsewhere above a tenth of the bright voxels' value.
    """
    image = volume.image[0].numpy()
    bright = BODY_HU if volume.modality == "CT" else 0.1 * float(np.quantile(image, 0.99))
    pieces, count = ndimage.label(image > bright)
    if not count:
        raise ScanError(f"Volume {volume.name!r}: nothing lies above {bright:g}, so there is no body to crop to; is it in HU? "
                        "Use --crop none.")
    body = pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()
    if volume.labels is not None:
        body |= volume.labels[0].numpy() > 0
    inside = [np.flatnonzero(body.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    margin = np.ceil(MARGIN_MM / np.array(volume.spacing)).astype(int)
    start = np.maximum([where[0] for where in inside] - margin, 0)
    return start, np.minimum([where[-1] + 1 for where in inside] + margin, volume.shape)


def make(job: Job) -> None:
    """Read, prepare and keep one case. Raises ScanError, VocabularyError, SettingsError or DataError."""
    import monai.transforms  # noqa: F401  (seconds, once a process, which are not the case's)

    began = time.monotonic()
    before = read(job.pair, job.scheme, job.modality)
    after = prepare(before, job.settings)
    annotated = None if after.annotated is None else sorted(after.annotated)
    facts = {"key": job.key, "modality": after.modality, "annotated": annotated,
             "info": {**job.facts, "window": job.settings.window, "orientation": before.info.get("orientation", "")},
             "before": summary(before), "after": summary(after), "seconds": round(time.monotonic() - began, 2)}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, image=_compact(after, job.settings), labels=after.labels[0].numpy(), affine=after.affine,
                        facts=np.frombuffer(json.dumps(facts).encode(), np.uint8))
    draft = job.path.with_name(f".{job.path.name}.{uuid.uuid4().hex}")
    try:
        job.folder.mkdir(parents=True, exist_ok=True)
        try:
            draft.write_bytes(buffer.getvalue())
            os.replace(draft, job.path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{job.path} cannot be written ({error}); make room or name another --output.") from error


def load(path: str | Path) -> tuple[Volume, dict]:
    """A prepared file as a Volume and its facts (key, before, after, seconds). Raises DataError if it is lost or damaged."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            facts = json.loads(stored["facts"].tobytes())
            annotated = None if facts["annotated"] is None else frozenset(facts["annotated"])
            volume = Volume(torch.from_numpy(stored["image"].astype(np.float32))[None], stored["affine"],
                            torch.from_numpy(stored["labels"])[None], annotated, facts["modality"], facts["key"]["name"],
                            facts["info"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged or no prepared case ({error}); prepare it again.") from error
    return volume, facts


def summary(volume: Volume) -> dict[str, object]:
    """What a table says of a volume: shape, spacing in mm, range of values, number of structures."""
    low, high = float(volume.image.min()), float(volume.image.max())
    return {"shape": list(volume.shape), "spacing": [round(size, 2) for size in volume.spacing], "range": [low, high],
            "structures": len(volume.structures)}


def _compact(volume: Volume, settings: Settings) -> np.ndarray:
    """The image as it is kept: whole HU as int16, values of a window as float16, MR as float32."""
    image = volume.image[0]
    if settings.window != "none":
        return image.half().numpy()
    return image.round().clamp(-32768, 32767).to(torch.int16).numpy() if volume.modality == "CT" else image.numpy()


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in path.iterdir() if file.is_file()) if path.is_dir() else path.stat().st_size
