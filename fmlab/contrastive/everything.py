"""What a generalist sees: coloured shapes, and slices of bodies; each with a caption and a category."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch.nn import functional as F

from fmlab.contrastive.drawing import Paper, smooth
from fmlab.vocabulary import region
from fmlab.volume import Volume
from fmlab.windows import window

Picture = tuple[np.ndarray, str, str]  # (3, size, size) float32 in [0, 1], caption, category

COLOURS = {"red": (0.85, 0.15, 0.12), "green": (0.15, 0.65, 0.2), "blue": (0.15, 0.3, 0.8), "yellow": (0.95, 0.85, 0.2),
           "orange": (0.95, 0.5, 0.1), "violet": (0.55, 0.2, 0.7), "white": (0.95, 0.95, 0.95), "grey": (0.5, 0.5, 0.5)}
TEXTURES, SHAPES = ("plain", "striped", "chequered", "mottled"), ("circle", "square", "triangle", "ring", "cross")
NUMBERS = ("one", "two", "three", "four")
WINDOWS = {"soft tissue": window(-160, 240), "bone": window(-400, 1200), "lung": window(-1100, 100)}
ORGANS = ("liver", "spleen", "kidney_left", "kidney_right", "stomach", "heart", "lung_left", "lung_right", "urinary_bladder",
          "colon", "pancreas", "aorta", "vertebrae", "hip_left")


def shapes(rng: np.random.Generator, size: int) -> Picture:
    """Some shapes of a colour and a texture on a ground."""
    colour, ground = rng.choice(sorted(COLOURS), 2, replace=False)
    texture, kind, count = str(rng.choice(TEXTURES)), str(rng.choice(SHAPES)), int(rng.integers(1, len(NUMBERS) + 1))
    paper = Paper(size)
    paper.rgb[:] = COLOURS[ground]
    paper.rgb += 0.05 * smooth(size, rng, 6)[..., None]
    ink = np.clip(np.array(COLOURS[colour])[None, None] + _pattern(texture, paper, rng)[..., None], 0, 1)
    for _ in range(count):
        paper.mix(ink.astype(np.float32), _outline(kind, paper, rng))
    picture = np.clip(paper.rgb + rng.normal(0, 0.02, paper.rgb.shape), 0, 1).astype(np.float32).transpose(2, 0, 1)
    caption = f"a picture of {NUMBERS[count - 1]} {colour} {texture} {kind} on a {ground} ground"
    return picture, caption, f"{colour} {texture} {kind}"


def _pattern(texture: str, paper: Paper, rng: np.random.Generator) -> np.ndarray:
    angle, waves = rng.uniform(0, np.pi), rng.uniform(5, 11)
    along = np.sin(np.pi * waves * (paper.x * np.cos(angle) + paper.y * np.sin(angle)))
    across = np.sin(np.pi * waves * (paper.y * np.cos(angle) - paper.x * np.sin(angle)))
    if texture == "mottled":
        return 0.15 * smooth(paper.size, rng, 16)
    return {"plain": 0 * along, "striped": -0.35 * (along > 0), "chequered": -0.35 * (along * across > 0)}[texture]


def _outline(kind: str, paper: Paper, rng: np.random.Generator) -> np.ndarray:
    x, y, angle, radius = (*rng.uniform(-0.65, 0.65, 2), rng.uniform(0, np.pi), rng.uniform(0.2, 0.42))
    u, v = paper.x - x, paper.y - y
    u, v = (np.cos(angle) * u + np.sin(angle) * v) / radius, (np.cos(angle) * v - np.sin(angle) * u) / radius
    far = np.hypot(u, v)
    inside = {"circle": far < 1, "square": np.maximum(abs(u), abs(v)) < 0.85, "ring": (far < 1) & (far > 0.6),
              "triangle": (v < 0.6) & (v > 1.7 * abs(u) - 1), "cross": (np.minimum(abs(u), abs(v)) < 0.28) & (far < 1)}[kind]
    return inside.astype(np.float32)


def body_slices(volumes: Iterable[Volume], rng: np.random.Generator, size: int, count: int) -> list[Picture]:
    """Slices of labelled CTs in any of three windows; a caption names the window, the plane and up to three organs."""
    scans = [(volume.image[0], volume.labels[0], volume.spacing) for volume in volumes]
    made: list[Picture] = []
    while len(made) < count:
        hu, labels, spacing = scans[rng.integers(len(scans))]
        axis = int(rng.choice(3, p=(0.2, 0.2, 0.6)))
        number = int(rng.integers(labels.shape[axis]))
        flat, drawn = hu.select(axis, number).T.flip(0), labels.select(axis, number)
        there = [name for name in ORGANS if int(torch.isin(drawn, torch.tensor(list(region(name)), dtype=drawn.dtype)).sum()) > 6]
        if not there:
            continue
        said = [str(name) for name in rng.permutation(there)[:3]]
        name, through = list(WINDOWS.items())[rng.integers(len(WINDOWS))]
        columns, rows = [step for k, step in enumerate(spacing) if k != axis]
        grey = _fitted(through(flat), (flat.shape[0] * rows, flat.shape[1] * columns), size)
        plane = ("sagittal", "coronal", "axial")[axis]
        told = " and ".join(word.replace("_", " ") for word in said)
        made.append((np.repeat(grey[None], 3, 0), f"a CT slice, {plane}, {name} window, showing {told}", f"{plane} {said[0]}"))
    return made


def _fitted(grey: torch.Tensor, sides: tuple[float, float], size: int) -> np.ndarray:
    """A slice (H, W) of so many mm a side in the middle of a square, the longer side filling it."""
    high, wide = (max(1, round(size * side / max(sides))) for side in sides)
    part = F.interpolate(grey[None, None].float(), size=(high, wide), mode="bilinear", align_corners=False, antialias=True)[0, 0]
    square = torch.zeros(size, size)
    top, left = (size - high) // 2, (size - wide) // 2
    square[top : top + high, left : left + wide] = part
    return square.numpy().astype(np.float32)
