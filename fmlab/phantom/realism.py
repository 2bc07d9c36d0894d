"""How close the bodies come to a real CT, measured.

``python benchmarks/phantom_realism.py`` prints the table of the room's README.

The yardstick is one real, non-contrast abdominal CT (3 mm) with another model's labels, so agreement is judged against the spread
of the phantoms: a z-score says how many of their standard deviations the real scan lies from their mean.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_erosion, distance_transform_edt

from fmlab.phantom import sample
from fmlab.volume import Volume

ORGANS = (
    "liver",
    "spleen",
    "kidney_left",
    "kidney_right",
    "pancreas",
    "gallbladder",
    "stomach",
    "duodenum",
    "colon",
    "urinary_bladder",
    "aorta",
    "inferior_vena_cava",
    "vertebrae",
    "hip_left",
    "iliopsoas_left",
    "autochthon_left",
    "gluteus_maximus_left",
)
PAIRS = (
    ("liver", "kidney_right"),
    ("spleen", "kidney_left"),
    ("liver", "gallbladder"),
    ("pancreas", "duodenum"),
    ("aorta", "vertebrae"),
    ("stomach", "spleen"),
    ("kidney_right", "iliopsoas_right"),
    ("urinary_bladder", "colon"),
)


@dataclass(frozen=True)
class Measure:
    """One figure of the real scan beside the phantoms' mean and standard deviation. unit: of all three."""

    what: str
    unit: str
    real: float
    mean: float
    deviation: float

    @property
    def z(self) -> float:
        """Distance of the real scan from the phantoms' mean, in their standard deviations (for gaps, at least half a voxel)."""
        return abs(self.real - self.mean) / max(self.deviation, 1.5 if self.unit == "mm" else 1e-9)


def measures(scan: Volume) -> dict[tuple[str, str], float]:
    """All figures of one labelled CT, keyed by (what, unit): HU, volumes, gaps between organs, histogram, power spectrum."""
    image = scan.image[0].numpy()
    out: dict[tuple[str, str], float] = {}
    masks = {name: scan.mask(name).numpy() for name in dict.fromkeys(ORGANS + tuple(n for pair in PAIRS for n in pair))}
    for name in ORGANS:
        if masks[name].any():
            inner = binary_erosion(masks[name])
            out[f"{name}: mean", "HU"] = float(image[inner if inner.any() else masks[name]].mean())
            out[f"{name}: volume", "ml"] = float(masks[name].sum() * scan.voxel_ml)
    for name in ("liver", "gluteus_maximus_left"):
        inner = binary_erosion(masks[name], iterations=2)
        if inner.any():
            out[f"{name}: spread inside", "HU"] = float(image[inner].std())
    for a, b in PAIRS:
        if masks[a].any() and masks[b].any():
            out[f"{a} to {b}: nearest", "mm"] = float(distance_transform_edt(~masks[b], scan.spacing)[masks[a]].min())
    inside = image[scan.labels[0].numpy() > 0] if scan.mask("subcutaneous_fat").any() else image[image > -300]
    for low, high, tissue in ((-150, -50, "fat"), (0, 100, "soft tissue"), (150, 3000, "bone")):
        body = inside[inside > -300]
        out[f"share of the body in {tissue} range", "%"] = float(100 * ((body > low) & (body < high)).mean())
    out.update(_spectrum(image, scan.spacing))
    return out


def _spectrum(image: np.ndarray, spacing: Iterable[float]) -> dict[tuple[str, str], float]:
    """Slope of log power against log frequency, in plane, over the middle slices: natural images lie near -3 in 2-D."""
    step = list(spacing)[0]
    window = np.hanning(image.shape[0])[:, None] * np.hanning(image.shape[1])[None]
    slices = [np.clip(image[:, :, z], -200, 300) for z in range(image.shape[2] // 4, 3 * image.shape[2] // 4, 4)]
    power = np.mean([np.abs(np.fft.fft2((s - s.mean()) * window)) ** 2 for s in slices], axis=0)
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(image.shape[0], step), np.fft.fftfreq(image.shape[1], step), indexing="ij"))
    keep = (f > 0.01) & (f < 0.12)
    slope = np.polyfit(np.log(f[keep]), np.log(power[keep]), 1)[0]
    return {("in-plane power spectrum: slope", ""): float(slope)}


def compare(real: Volume, seeds: Iterable[int] = range(24), centre: str = "C") -> list[Measure]:
    """The real scan beside phantoms of one centre without contrast, at the real scan's voxel size and similar field of view."""
    bodies = [measures(sample(seed, centre, real.spacing, phase="none", field_of_view="abdomen")) for seed in seeds]
    truth = measures(real)
    rows = []
    for (what, unit), value in truth.items():
        found = [b[what, unit] for b in bodies if (what, unit) in b]
        if found:
            rows.append(Measure(what, unit, value, float(np.mean(found)), float(np.std(found))))
    return rows


def table(rows: Iterable[Measure]) -> str:
    """Markdown table of the comparison, with the share of figures within two standard deviations below it."""
    rows = list(rows)
    lines = ["| figure | unit | real CT | phantoms, mean ± sd | z |", "|---|---|---:|---:|---:|"]
    lines += [f"| {r.what} | {r.unit} | {r.real:.1f} | {r.mean:.1f} ± {r.deviation:.1f} | {r.z:.1f} |" for r in rows]
    near = sum(r.z <= 2 for r in rows)
    return "\n".join(
        [*lines, "", f"{near} of {len(rows)} figures of the real scan lie within two standard deviations of the phantoms."]
    )
