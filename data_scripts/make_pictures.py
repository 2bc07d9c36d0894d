"""The pictures of the READMEs: ``python data_scripts/make_pictures.py``.

The real CT must be in the cache: ``fmlab data get totalsegmentator-ct``.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from fmlab import cohorts, hub, inference, phantom
from fmlab.vocabulary import PALETTE, region
from fmlab.volume import Volume

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "pictures"
TISSUE = (0, 1, 2, 3)  # outside, other tissue, fat, muscle: not coloured


def slice_rgb(scan: Volume, axis: int, index: int, colour: bool) -> np.ndarray:
    """One slice (rows, columns, 3), patient's right on the left, soft tissue window, labels blended in."""
    image = scan.image[0].numpy().take(index, axis).T[::-1, ::-1]
    grey = np.clip((image + 160) / 400, 0, 1)[..., None].repeat(3, -1)
    if not colour:
        return grey
    ids = scan.labels[0].numpy().take(index, axis).T[::-1, ::-1]
    return np.where(np.isin(ids, TISSUE)[..., None], grey, 0.55 * grey + 0.45 * PALETTE[ids] / 255.0).clip(0, 1)


def panel(scans: list[tuple[str, Volume, tuple[int, int, int]]], path: Path) -> None:
    """One row a scan: axial slices at two heights and a coronal one, plain and with labels."""
    fig, axes = plt.subplots(len(scans), 6, figsize=(15, 2.7 * len(scans)), squeeze=False, facecolor="black")
    for row, (title, scan, (low, high, coronal)) in zip(axes, scans):
        for k, (axis, index) in enumerate(((2, low), (2, high), (1, coronal))):
            aspect = scan.spacing[1] / scan.spacing[0] if axis == 2 else scan.spacing[2] / scan.spacing[0]
            for column, colour in ((k, False), (k + 3, True)):
                row[column].imshow(slice_rgb(scan, axis, index, colour), aspect=aspect, interpolation="bilinear")
                row[column].axis("off")
        row[0].set_title(title, color="white", loc="left", fontsize=11)
    fig.subplots_adjust(0.01, 0.01, 0.99, 0.92, 0.03, 0.12)
    FOLDER.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, dpi=70, facecolor="black")


def at(body: Volume, *millimetres: float) -> tuple[int, int, int]:
    """Slices of a phantom at world heights z, z and depth y (mm)."""
    low, high, depth = millimetres
    return (int(body.index((0, 0, low))[2]), int(body.index((0, 0, high))[2]), int(body.index((0, depth, 0))[1]))


def segmented(path: Path) -> None:
    """The real CT, four slices: plain, with its reference labels, and with those of the model that ships."""
    scan = cohorts.load("totalsegmentator-ct")
    model = hub.load("universal", "nano")
    found = inference.segment(model, scan)
    known = [number for name in model.structures for number in region(name)]  # compare what the model was asked for
    labels = torch.where(torch.isin(scan.labels, torch.tensor(known, dtype=torch.uint8)), scan.labels, 0)
    rows = [("real CT", scan, False), ("reference labels (TotalSegmentator)", scan.with_labels(labels), True),
            ("fmlab's nano model, trained on procedural bodies alone", found, True)]
    places = [(2, 95), (2, 72), (2, 18), (1, 46), (0, 40)]
    fig, axes = plt.subplots(3, 5, figsize=(14, 7.6), facecolor="black")
    for row, (title, volume, colour) in zip(axes, rows):
        for ax, (axis, index) in zip(row, places):
            ax.imshow(slice_rgb(volume, axis, index, colour), interpolation="bilinear")
            ax.axis("off")
        row[0].set_title(title, color="white", loc="left", fontsize=11)
    fig.subplots_adjust(0.01, 0.01, 0.99, 0.95, 0.03, 0.12)
    fig.savefig(path, dpi=70, facecolor="black")


if __name__ == "__main__":
    bodies = [
        (f"phantom, seed {seed}, centre {centre}", phantom.sample(seed, centre, 2.0, field_of_view=view))
        for seed, centre, view in ((13, "C", "abdomen"), (7, "A", "abdomen"), (6, "E", "torso"))
    ]
    rows = [(title, body, at(body, -40, 105, 10)) for title, body in bodies]
    panel(
        [("real CT (TotalSegmentator's example)", cohorts.load("totalsegmentator-ct"), (32, 78, 46)), *rows],
        FOLDER / "bodies.png",
    )
    segmented(FOLDER / "segmented.png")
