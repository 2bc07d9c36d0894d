"""Who lies in the scanner: sex, age, size, fat, pose, and the deformation that makes one body differ from the average one."""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

import numpy as np
import torch

from fmlab.phantom.canvas import Waves
from fmlab.phantom.shapes import Points


@dataclass(frozen=True)
class Person:
    """One individual. Lengths are factors on the average adult unless a unit is given.

    fat: thickness of subcutaneous fat in mm. visceral: size of the abdominal cavity against its organs (fat fills the rest).
    muscle: bulk of trunk and gluteal muscles. turn, tilt: pose on the table in degrees. breath: depth of inspiration,
    -1 (expiration) to 1 (deep). wobble: amplitude of the whole-body deformation in mm. lesions: names of lesions carried.
    step_height, step_mm: above this height the scan was taken in another breath, and belly and chest lie this much lower.
    """

    seed: int
    sex: str
    age: float
    width: float
    depth: float
    height: float
    fat: float
    visceral: float
    muscle: float
    turn: float
    tilt: float
    breath: float
    wobble: float
    lesions: tuple[str, ...]
    step_height: float
    step_mm: float

    def rng(self, what: str) -> np.random.Generator:
        """An own random stream for one organ: adding an organ never changes the others."""
        return np.random.default_rng([self.seed, crc32(what.encode())])

    def organ_size(self, what: str, spread: float) -> float:
        """Linear size of an organ against the average: varies by itself (``spread``, log scale), follows the body in part."""
        own = float(np.clip(self.rng(f"{what} size").normal(0, spread), -1.5 * spread, 1.5 * spread))
        return float(np.exp(own) * (self.width * self.depth * self.height) ** -0.2)

    @property
    def descent(self) -> float:
        """How far (mm, negative is down) breathing moves the upper abdomen."""
        return -9.0 * self.breath

    def canonical(self, axes: Points) -> Points:
        """Canonical coordinates (mm) of the grid spanned by three world axes (mm): three (X, Y, Z) float64 tensors."""
        rng = self.rng("deformation")
        shift = [Waves(rng, 12, 340, 800)(*axes) * self.wobble * share for share in (0.35, 0.35, 0.45)]
        x, y, z = torch.meshgrid(*axes, indexing="ij")
        if self.step_mm:  # the spine does not breathe: the step fades out towards the back
            z = z + self.step_mm * (z > self.step_height) * ((y + 45) / 60).clamp(0, 1)
        sin, cos = np.sin(np.deg2rad(self.turn)), np.cos(np.deg2rad(self.turn))
        lean = np.tan(np.deg2rad(self.tilt))
        return (
            (x * cos + y * sin + z * lean + shift[0]) / self.width,
            (y * cos - x * sin + shift[1]) / self.depth,
            (z + shift[2]) / self.height,
        )


LESIONS = (
    "liver_tumor",
    "kidney_tumor_left",
    "kidney_tumor_right",
    "kidney_cyst_left",
    "kidney_cyst_right",
    "pancreas_tumor",
    "lung_tumor_left",
    "lung_tumor_right",
    "colon_tumor",
)


def draw(seed: int, habitus: float = 0.0, lesion_rate: float = 0.15, sex: str | None = None) -> Person:
    """Draw an individual. habitus: a centre's mean build in standard deviations. lesion_rate: chance of each kind of lesion."""
    rng = np.random.default_rng([seed, crc32(b"person")])
    female = rng.random() < 0.5 if sex is None else sex == "female"
    build = habitus + rng.normal()
    breathing = np.random.default_rng([seed, crc32(b"breathing")])
    step = breathing.uniform(3, 9) * breathing.choice([-1, 1]) if breathing.random() < 0.15 else 0.0
    fat = (20 if female else 15) * np.exp(0.38 * np.clip(build, -2.2, 2.2))
    return Person(
        seed=seed,
        sex="female" if female else "male",
        age=float(rng.uniform(20, 85)),
        width=float(
            (0.945 if female else 1.0) * np.exp(np.clip(rng.normal(0, 0.03), -0.05, 0.05) + 0.012 * np.clip(build, -2, 2))
        ),
        depth=float(
            (0.955 if female else 1.0) * np.exp(np.clip(rng.normal(0, 0.035), -0.055, 0.055) + 0.02 * np.clip(build, -2, 2))
        ),
        height=float((0.955 if female else 1.0) * np.exp(np.clip(rng.normal(0, 0.035), -0.045, 0.05))),
        fat=float(np.clip(fat, 6, 48)),
        visceral=float(np.clip(1.0 + 0.055 * build + rng.normal(0, 0.015), 0.95, 1.16)),
        muscle=float(np.clip((0.9 if female else 1.0) + rng.normal(0, 0.06), 0.75, 1.15)),
        turn=float(np.clip(rng.normal(0, 2), -4, 4)),
        tilt=float(np.clip(rng.normal(0, 0.8), -1.6, 1.6)),
        breath=float(rng.uniform(-0.6, 1.0)),
        wobble=float(rng.uniform(6, 11)),
        lesions=tuple(name for name in LESIONS if rng.random() < lesion_rate),
        step_height=float(breathing.uniform(90, 260)),
        step_mm=float(step),
    )
