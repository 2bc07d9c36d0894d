"""Objects to point at in pictures: of bodies, and of the real material that is in the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from fmlab import cohorts
from fmlab.errors import DataError
from fmlab.hub import data
from fmlab.interactive.pictures import Scene, grey, scene
from fmlab.interactive.slices import largest_object, upright
from fmlab.volume import Volume

LEAST_PIXELS = 40


def body_scenes(volumes: Iterable[Volume], structures: Iterable[str]) -> list[Scene]:
    """The largest axial object of each structure that a body shows in enough pixels."""
    found = [scene(volume, name) for volume in volumes for name in structures if bool(volume.mask(name).any())]
    return [one for one in found if one.mask.sum() >= LEAST_PIXELS]


def real_scenes() -> dict[str, list[Scene]]:
    """Objects on the real material that is in the cache; groups whose files are missing are left out."""
    groups = {"real CT": lambda: scan_scenes("totalsegmentator-ct"), "real MR": lambda: scan_scenes("totalsegmentator-mr"),
              "CT slices (PNG)": png_scenes, "brain tumour, MR": tumour_scenes, "lung X-rays": xray_scenes}
    return {name: scenes for name, make in groups.items() if (scenes := if_there(make))}


def scan_scenes(name: str) -> list[Scene]:
    """The largest axial object of everything that is drawn on a scan."""
    scan = cohorts.load(name, confirm=False)
    return body_scenes([scan], tuple(scan.structures))


def tumour_scenes() -> list[Scene]:
    """The brain tumour in the five slices that show most of it."""
    scan, mask = tumour()
    best = np.argsort(-mask.sum((0, 1)))[:5]
    return [Scene(grey(scan, "axial", int(i)), largest_object(upright(mask[:, :, i])), "tumour", scan.name) for i in best]


def tumour() -> tuple[Volume, np.ndarray]:
    """The brain MR and its tumour's mask (X, Y, Z)."""
    scan = cohorts.load("pyradiomics-brain", confirm=False)
    return scan, (Volume.read(scan.info["mask"], modality="other").image[0] > 0).numpy()


def png_scenes() -> list[Scene]:
    """SAM-Med2D's two slices, each structure's largest piece."""
    data.fetch("sam-med2d-slices", confirm=False)
    masks = data.paths("sam-med2d-slices", "mask")
    return [_file_scene(picture, mask, mask.stem, picture.stem) for picture in data.paths("sam-med2d-slices", "image")
            for mask in masks if mask.stem.startswith(picture.stem)]


def xray_scenes() -> list[Scene]:
    """One lung of each X-ray."""
    data.fetch("lung-xray", confirm=False)
    pairs = zip(data.paths("lung-xray", "image"), data.paths("lung-xray", "mask"))
    return [_file_scene(image, mask, "lung", image.stem) for image, mask in pairs]


def _file_scene(picture: Path, mask: Path, name: str, person: str) -> Scene:
    image = np.asarray(Image.open(picture).convert("L"))
    drawn = np.asarray(Image.open(mask).convert("L").resize(image.shape[::-1], Image.Resampling.NEAREST)) > 127
    return Scene(image, largest_object(drawn), name, person)


def if_there(make: Callable[[], list]) -> list:
    """What it makes, or nothing where files are missing."""
    try:
        return make()
    except DataError:  # not in the cache, and nobody to ask for a download
        return []
