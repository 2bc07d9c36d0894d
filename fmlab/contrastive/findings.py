"""What may be found in a fundus, each painted at its amount and place: the letters that conditions are spelt with.

At 64 pixels a real microaneurysm would be far below a pixel; here they are about one. Everything small is larger than life.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from fmlab.contrastive.drawing import Paper, smooth
from fmlab.contrastive.eyes import Eye, drawn, grow
from fmlab.errors import DataError

BLOOD, LIPID, WOOL, DRUSE, SCAR = (0.36, 0.04, 0.05), (0.99, 0.88, 0.42), (0.98, 0.9, 0.76), (0.95, 0.8, 0.42), (0.9, 0.78, 0.6)


@dataclass(frozen=True)
class Finding:
    """One finding. name: a key of ``PAINTED`` or ``BEFORE``. amount: "few", "many" or "". place: as in ``PLACES`` or ""."""

    name: str
    amount: str = ""
    place: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.amount, self.name, self.place)))

    @classmethod
    def read(cls, text: str) -> Finding:
        """A finding from its words, "many drusen in the macula". DataError where they name none."""
        amount = next((word for word in AMOUNTS if text.startswith(word + " ")), "")
        rest = text.removeprefix(amount).strip()
        for name in PLACES:
            if rest.startswith(name):
                return cls(name, amount, rest.removeprefix(name).strip())
        raise DataError(f"{text!r} names no finding; write an amount (few, many), one of {', '.join(PLACES)}, and a place.")


BEFORE = ("tessellated ground", "pale disc", "swollen disc", "large cup", "narrow arteries", "tortuous dilated veins")
"""Findings of the anatomy itself, which is drawn so from the start."""

Painter = Callable[[Paper, Eye, Finding, np.random.Generator], None]


def painted(paper: Paper, one: Eye, finding: Finding, rng: np.random.Generator) -> None:
    """Paint what lies on the retina; findings of the anatomy are left to ``fundus``."""
    if finding.name in PAINTED:
        PAINTED[finding.name](paper, one, finding, rng)


def somewhere(one: Eye, place: str, rng: np.random.Generator, away: float = 0.22) -> tuple[float, float]:
    """A place (x, y) drawn from a named region of the retina, off the optic disc."""
    while True:
        if place == "in the macula":
            x, y = np.array(one.macula) + rng.normal(0, 0.11, 2)
        elif place == "around the macula":
            angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(0.14, 0.27)
            x, y = one.macula[0] + far * np.cos(angle), one.macula[1] + far * np.sin(angle)
        elif place == "in the periphery":
            angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(0.66, 0.93)
            x, y = far * np.cos(angle), far * np.sin(angle)
        else:
            angle, far = rng.uniform(0, 2 * np.pi), 0.85 * np.sqrt(rng.uniform(0.02, 1))
            x, y = far * np.cos(angle), far * np.sin(angle)
        if np.hypot(x - one.disc[0], y - one.disc[1]) > away and np.hypot(x, y) < 0.95:
            return float(x), float(y)


def how_many(finding: Finding, few: tuple[int, int], many: tuple[int, int], rng: np.random.Generator) -> int:
    """A number drawn from one of two ranges, its ends included."""
    low, high = few if finding.amount == "few" else many
    return int(rng.integers(low, high + 1))


def _quadrant(one: Eye, place: str, rng: np.random.Generator) -> Callable[[], tuple[float, float]]:
    """Places in one quadrant, the same for all of a finding, or anywhere."""
    if place != "in one quadrant":
        return lambda: somewhere(one, place, rng)
    up, side = rng.choice((-1, 1)), -one.nose  # along a temporal arcade, as nearly always

    def drawn_place() -> tuple[float, float]:
        while True:
            x, y = somewhere(one, "", rng)
            if (y - one.disc[1]) * up > 0.1 and (x - one.disc[0]) * side > -0.05:
                return x, y
    return drawn_place


def _microaneurysms(paper: Paper, one: Eye, finding: Finding, rng: np.random.Generator) -> None:
    for _ in range(how_many(finding, (6, 10), (22, 34), rng)):
        paper.blob(somewhere(one, finding.place, rng), rng.uniform(0.017, 0.024), BLOOD, rng, 0.85, soft=0.5)


def _dot_haemorrhages(paper: Paper, one: Eye, finding: Finding, rng: np.random.Generator) -> None:
    place = _quadrant(one, finding.place, rng)
    for _ in range(how_many(finding, (4, 7), (16, 26), rng)):
        paper.blob(place(), rng.uniform(0.032, 0.06), BLOOD, rng, 0.85, soft=0.4, rough=0.25)


def _flame_haemorrhages(paper: Paper, one: Eye, finding: Finding, rng: np.random.Generator) -> None:
    place = _quadrant(one, finding.place, rng)
    for _ in range(how_many(finding, (3, 5), (16, 26), rng)):
        x, y = place()
        along = np.arctan2(y - one.disc[1], x - one.disc[0]) + rng.normal(0, 0.2)  # nerve fibres run from the disc
        paper.blob((x, y), rng.uniform(0.022, 0.036), BLOOD, rng, 0.8, soft=0.5, long=rng.uniform(3, 4.5), angle=along, rough=0.2)


def _large_haemorrhage(paper: Paper, one: Eye, finding: Finding, rng: np.random.Generator) -> None:
    paper.blob(_quadrant(one, finding.place, rng)(), rng.uniform(0.15, 0.21), (0.32, 0.04, 0.05), rng, 0.9, soft=0.25, rough=0.25)


def _exudates(paper: Paper, one: Eye, finding: Finding, rng: np.random.Generator) -> None:
    for _ in range(how_many(finding, (2, 3), (6, 9), rng)):
        x, y = somewhere(one, finding.place, rng)
        for _ in range(rng.integers(3, 7)):
            near = (x + rng.normal(0, 0.035), y + rng.normal(0, 0.035))
            paper.blob(near, rng.uniform(0.014, 0.028), LIPID, rng, 0.95, soft=0.25, rough=0.2)


def _cotton_wool(paper: Paper, one: Eye, finding: Finding, rng: np.random.Generator) -> None:
    for _ in range(how_many(finding, (2, 3), (6, 9), rng)):
        angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(0.28, 0.5)
        place = (one.disc[0] - one.nose * 0.15 + far * np.cos(angle), one.disc[1] + far * np.sin(angle))
        paper.blob(place, rng.uniform(0.05, 0.08), WOOL, rng, 0.8, soft=0.9, long=1.3, angle=rng.uniform(0, np.pi), rough=0.3)


def _drusen(paper: Paper, one: Eye, finding: Finding, rng: np.random.Generator) -> None:
    for _ in range(how_many(finding, (7, 11), (28, 42), rng)):
        paper.blob(somewhere(one, finding.place, rng), rng.uniform(0.016, 0.034), DRUSE, rng, 0.7, soft=0.7)


def _new_vessels(paper: Paper, one: Eye, finding: Finding, rng: np.random.Generator) -> None:
    lines: list = []
    for _ in range(16):
        start = np.array(one.disc) + rng.normal(0, 0.5 * one.radius, 2)
        grow(lines, start, rng.uniform(0, 2 * np.pi), rng.normal(0, 6), 0.017, 0.45, rng, rng.uniform(0.2, 0.45), branches=False)
    paper.mix((0.5, 0.05, 0.07), np.minimum(1, 1.1 * drawn(paper.size, lines)))


def _pigment(paper: Paper, one: Eye, finding: Finding, rng: np.random.Generator) -> None:
    for _ in range(how_many(finding, (8, 14), (45, 70), rng)):
        paper.blob(somewhere(one, finding.place, rng), rng.uniform(0.016, 0.03), (0.12, 0.07, 0.06), rng, 0.9, soft=0.4,
                   long=rng.uniform(1, 2.5), angle=rng.uniform(0, np.pi), rough=0.4)


def _atrophy(paper: Paper, one: Eye, finding: Finding, rng: np.random.Generator) -> None:
    if finding.place == "around the disc":
        beside = (one.disc[0] - one.nose * 0.5 * one.radius, one.disc[1])
        paper.blob(beside, 1.45 * one.radius, SCAR, rng, 0.9, soft=0.12, rough=0.12)
        return
    centre = np.array(one.macula) + rng.normal(0, 0.03, 2) if finding.place == "in the macula" else somewhere(
        one, finding.place, rng, away=0.35)
    paper.blob(tuple(centre), rng.uniform(0.16, 0.23), SCAR, rng, 0.85, soft=0.1, rough=0.2)


def _laser(paper: Paper, one: Eye, finding: Finding, rng: np.random.Generator) -> None:
    for _ in range(how_many(finding, (14, 20), (55, 80), rng)):
        place = somewhere(one, finding.place, rng)
        paper.blob(place, 0.034, (0.93, 0.83, 0.56), rng, 0.75, soft=0.25)
        paper.blob(place, 0.014, (0.45, 0.3, 0.2), rng, 0.6, soft=0.5)


def _particles(paper: Paper, one: Eye, finding: Finding, rng: np.random.Generator) -> None:
    for _ in range(how_many(finding, (14, 22), (60, 90), rng)):
        place = tuple(rng.uniform(-0.85, 0.85, 2))  # they float in front of everything, the disc included
        paper.blob(place, rng.uniform(0.016, 0.034), (1.0, 0.98, 0.9), rng, 0.95, soft=0.3)


def _haze(paper: Paper, one: Eye, finding: Finding, rng: np.random.Generator) -> None:
    from scipy import ndimage

    wide = rng.uniform(0.025, 0.04) * paper.size
    paper.rgb[:] = ndimage.gaussian_filter(paper.rgb, (wide, wide, 0))
    paper.mix((0.72, 0.55, 0.4), np.clip(0.3 + 0.06 * smooth(paper.size, rng, 4), 0, 0.6).astype(np.float32))


PAINTED: Mapping[str, Painter] = {
    "pale patch of atrophy": _atrophy, "laser scars": _laser, "drusen": _drusen, "hard exudates": _exudates,
    "cotton wool spots": _cotton_wool, "pigment clumps": _pigment, "microaneurysms": _microaneurysms,
    "dot haemorrhages": _dot_haemorrhages, "flame haemorrhages": _flame_haemorrhages, "large haemorrhage": _large_haemorrhage,
    "new vessels": _new_vessels, "bright floating particles": _particles, "haze": _haze,
}
"""In the order of painting: what is deep first, haze over all."""

AMOUNTS = ("few", "many")
PLACES: Mapping[str, tuple[str, ...]] = {
    "pale patch of atrophy": ("in the macula", "in the periphery", "around the disc"), "laser scars": ("in the periphery",),
    "drusen": ("in the macula",), "hard exudates": ("around the macula", "in all quadrants"), "cotton wool spots": ("",),
    "pigment clumps": ("in the periphery", "in the macula"), "microaneurysms": ("in all quadrants", "in the macula"),
    "dot haemorrhages": ("in all quadrants", "in one quadrant"), "flame haemorrhages": ("in all quadrants", "in one quadrant"),
    "large haemorrhage": ("in the macula", "in one quadrant"), "new vessels": ("at the disc",),
    "bright floating particles": ("",), "haze": ("",), **dict.fromkeys(BEFORE, ("",)),
}
"""Finding -> where it may lie."""

COUNTED = ("laser scars", "drusen", "hard exudates", "cotton wool spots", "pigment clumps", "microaneurysms", "dot haemorrhages",
           "flame haemorrhages", "bright floating particles")
"""Those that come in few or many."""
