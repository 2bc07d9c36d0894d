"""A healthy eye's fundus, made from a seed: ground, optic disc with its cup, macula, and vessels that branch.

Places are in units of the retina's visible radius: x to the right, y down, the middle of the picture at (0, 0). The disc lies
towards the nose, the macula 2.5 disc diameters from it towards the temple; the arcades bend around the macula.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from fmlab.contrastive.drawing import Paper, falling, smooth

FINE = 2  # vessels are drawn so much finer than the paper, and averaged
PIECE = 4  # steps


@dataclass(frozen=True)
class Eye:
    """What one person's healthy fundus is like. nose: +1 where the disc is at the right. ground, pale: colours in [0, 1].

    vein, artery: widths at the disc. winding: how much vessels wander. cup: its diameter over the disc's.
    """

    nose: int
    disc: tuple[float, float]
    radius: float
    macula: tuple[float, float]
    ground: tuple[float, float, float]
    cup: float
    vein: float
    artery: float
    winding: float


def eye(rng: np.random.Generator) -> Eye:
    """A person's eye."""
    nose = int(rng.choice((-1, 1)))
    disc = (nose * rng.uniform(0.45, 0.6), rng.uniform(-0.1, 0.06))
    radius = rng.uniform(0.16, 0.19)
    macula = (disc[0] - nose * 2 * radius * rng.uniform(1.65, 1.95), disc[1] + rng.uniform(0.03, 0.1))
    red = rng.uniform(0.72, 0.9)
    ground = (red, red * rng.uniform(0.42, 0.54), red * rng.uniform(0.17, 0.28))
    return Eye(nose, disc, radius, macula, ground, rng.uniform(0.25, 0.45), rng.uniform(0.036, 0.044), rng.uniform(0.026, 0.032),
               rng.uniform(0.06, 0.12))


def paint_ground(paper: Paper, one: Eye, rng: np.random.Generator) -> None:
    """Ground with its mottled choroid, brighter about the disc, and the darker macula."""
    paper.rgb[:] = one.ground
    shade = 1 + 0.05 * smooth(paper.size, rng, 6) + 0.035 * smooth(paper.size, rng, 24)
    shade += 0.12 * np.exp(-paper.distance(one.disc) ** 2 / 0.35) - 0.12 * paper.distance((0.0, 0.0)) ** 2
    paper.rgb *= shade[..., None]
    for radius, strength in ((0.24, 0.22), (0.07, 0.22)):
        paper.multiply((1 - 0.7 * strength, 1 - strength, 1 - strength), np.exp(-(paper.distance(one.macula) / radius) ** 2))


def paint_disc(paper: Paper, one: Eye, pale: float = 0.0, swollen: float = 0.0) -> None:
    """The optic disc, with a sharp margin and a paler cup. pale, swollen: 0 to 1; a swollen one has neither margin nor cup."""
    radius = one.radius * (1 + 0.35 * swollen)
    distance = paper.distance(one.disc, squeeze=1.1)
    if swollen:
        paper.mix((0.88, 0.62, 0.42), 0.75 * swollen * np.exp(-(distance / (1.5 * radius)) ** 4))
    edge = 0.012 + 0.1 * swollen
    rim = np.array((0.97, 0.72, 0.42)) * (1 - pale) + np.array((0.99, 0.93, 0.82)) * pale
    paper.mix(rim, 0.92 * falling(distance, radius, edge))
    if swollen < 0.5:
        cup = one.cup * one.radius
        paper.mix((1.0, 0.94, 0.76), 0.85 * falling(distance, cup, 0.014))


def paint_vessels(paper: Paper, one: Eye, rng: np.random.Generator, tortuous: bool = False, narrow: bool = False) -> None:
    """Veins (dark, wide) and arteries (light, narrow) from the disc. tortuous: wide and winding veins. narrow: thin arteries."""
    for width, colour, winding in (
        (one.vein * (1 + 0.55 * tortuous), (0.62, 0.38, 0.45), one.winding * (1 + 1.6 * tortuous)),
        (one.artery * (1 - 0.55 * narrow), (0.86, 0.62, 0.6), one.winding),
    ):
        mask = drawn(paper.size, tree(one, width, winding, rng))
        paper.multiply(colour, mask)


Line = tuple[np.ndarray, float, float]  # places (N, 2), width at the first and at the last


def tree(one: Eye, width: float, winding: float, rng: np.random.Generator) -> list[Line]:
    """The four arcades of arteries or of veins, with their branches."""
    temple = np.pi if one.nose > 0 else 0.0  # the direction of the macula, seen from the disc
    lines: list[Line] = []
    for up in (-1, 1):
        turn = up * (-1 if one.nose > 0 else 1)  # y points down; seen towards the temple, up is clockwise at one nose only
        start = np.array(one.disc) + rng.normal(0, 0.25 * one.radius, 2)
        grow(lines, start, temple + turn * rng.uniform(1.25, 1.5), -turn * rng.uniform(0.75, 1.05), width, winding, rng,
             rng.uniform(1.3, 1.7))
        grow(lines, start, temple + turn * rng.uniform(2.0, 2.5), turn * rng.uniform(-0.2, 0.3), 0.75 * width, winding, rng, 0.6)
    for _ in range(2):  # little ones towards the macula
        start = np.array(one.disc) + rng.normal(0, 0.3 * one.radius, 2)
        grow(lines, start, temple + rng.uniform(-0.6, 0.6), 0.0, 0.4 * width, winding, rng, 0.4, branches=False)
    return lines


def grow(lines: list[Line], start: np.ndarray, heading: float, bend: float, width: float, winding: float,
         rng: np.random.Generator, length: float, branches: bool = True) -> None:
    """Add a vessel that begins at ``start`` towards ``heading`` (radians), bends by ``bend`` a unit, and branches.

    Source of the idea: vessels as random walks that fork, each daughter thinner than its mother (Murray's law).
    """
    step, count = 0.035, max(3, int(length / 0.035))
    wave, phase = rng.uniform(14, 24), rng.uniform(0, 2 * np.pi)
    along = step * np.arange(count)
    wander = np.cumsum(rng.normal(0, min(winding, 0.12), count))
    headings = heading + bend * along + 4 * winding * np.sin(wave * along + phase) + wander
    places = start + step * np.cumsum(np.stack([np.cos(headings), np.sin(headings)], -1), axis=0)
    lines.append((places, width, 0.45 * width))
    if not branches or width < 0.016:
        return
    for at in np.arange(rng.integers(4, 9), count - 3, rng.integers(6, 10)):
        side = rng.choice((-1, 1))
        left = 1 - at / count
        grow(lines, places[at], headings[at] + side * rng.uniform(0.5, 0.9), -0.6 * side, (0.45 + 0.2 * left) * width, winding,
             rng, rng.uniform(0.3, 0.75) * (0.5 + 0.5 * left))


def drawn(size: int, lines: list[Line]) -> np.ndarray:
    """How much of each pixel the vessels cover, (size, size) in [0, 1]."""
    fine = FINE * size
    picture = Image.new("L", (fine, fine))
    pen = ImageDraw.Draw(picture)
    for places, first, last in lines:
        pixels = ((places + 1) * fine / 2).tolist()
        for k in range(0, len(pixels) - 1, PIECE):  # a piece has one width
            wide = (first + (last - first) * k / len(pixels)) * fine / 2
            pen.line([tuple(at) for at in pixels[k : k + PIECE + 1]], fill=int(255 * min(1.0, wide)), width=max(1, round(wide)))
    cover = np.asarray(picture, dtype=np.float32).reshape(size, FINE, size, FINE).mean((1, 3)) / 255
    return ndimage.gaussian_filter(cover, 0.4)
