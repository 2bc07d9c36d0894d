"""The pictures of the READMEs: ``python -m data_scripts.make_pictures``.

The real CT must be in the cache: ``fmlab data get totalsegmentator-ct``.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from data_scripts import incontext_evaluation as evaluation
from fmlab import cohorts, hub, inference, metrics, phantom
from fmlab.incontext import predict
from fmlab.incontext.evaluate import without
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


def in_context(path: Path) -> None:
    """Four tasks that the nano UniverSeg was never trained for: four examples of each, and its answer to a new picture."""
    made = evaluation.body_tasks("ABCD", ("heart_ventricle_left", "gluteus_maximus_right"), queries=1)
    tasks = {task.name: task for task in made}
    real = evaluation.real_tasks()
    chosen = [tasks["heart_ventricle_left, axial"], tasks["gluteus_maximus_right, coronal"],
              next(task for task in real["real CT, its own slices"] if task.structure == "kidney_right"),
              *real["lung X-rays, one example"]]
    model = hub.load("universeg", "nano")
    fig, axes = plt.subplots(4, 5, figsize=(10, 8.2), facecolor="black")
    for line, task in zip(axes, chosen):
        queries = task.queries[[len(task.queries) // 2]]
        support = without(task.support, queries.names[0] if len(set(task.support.names)) > 1 else "").draw(16)
        answer = predict(model, queries.images, {"task": support})
        for ax in line:
            ax.set_axis_off()
        for ax, image, mask in zip(line, support.images[:4], support.masks):
            ax.imshow(image[0], cmap="gray", vmin=0, vmax=1)
            ax.contour(mask[0], [0.5], colors="#E69F00", linewidths=1.2)
        line[4].imshow(queries.images[0, 0], cmap="gray", vmin=0, vmax=1)
        line[4].contour(answer.probabilities[0, 0], [0.5], colors="#56B4E9", linewidths=1.6)
        dice = metrics.dice(answer.labels[0] > 0, queries.masks[0, 0] > 0)
        line[0].set_title(f"{task.name.replace('_', ' ')}: {len(support)} "
                          f"example{'s' * (len(support) > 1)}", color="white", loc="left",
                          fontsize=10)
        line[4].set_title(f"answer, Dice {dice:.2f}", color="white", fontsize=10)
    fig.subplots_adjust(0.01, 0.01, 0.99, 0.95, 0.03, 0.14)
    fig.savefig(path, dpi=80, facecolor="black")


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
    in_context(FOLDER / "in_context.png")
