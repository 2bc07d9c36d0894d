"""Make the colour table of ``fmlab/palette.py``: print it, with the distances reached. Run: python data_scripts/make_palette.py

Every structure chooses from a grid of colours that stay visible on grey CT. A pair's distance is the least CIEDE2000 difference
under normal sight, deuteranopia and protanopia (``palette.apart``). Each pair has a wish: touching pairs the largest, then pairs
of major organs, then all others; the cost grows with the share by which a wish is missed. Annealing over one structure at
a time, from several random starts; the best is kept. Takes several minutes on one core; the seeds are fixed.
"""

from __future__ import annotations

import numpy as np

from fmlab.palette import MAJOR, TOUCHING, VISIONS, difference, to_lab
from fmlab.vocabulary import ID, STRUCTURES

OKABE_ITO = {  # Okabe & Ito, Color Universal Design, 2008; given to the organs that the course shows most
    "liver": "D55E00",
    "spleen": "56B4E9",
    "kidney_left": "0072B2",
    "stomach": "F0E442",
    "gallbladder": "009E73",
    "pancreas": "CC79A7",
    "aorta": "E69F00",
}
MUTED = {"body": "6B6470", "subcutaneous_fat": "D2C08C", "muscle": "9A4F45"}
LIGHT = {s.name for s in STRUCTURES if s.system == "skeleton"}
FIXED = {**OKABE_ITO, **MUTED}
WISHES = {"touching": 17.0, "major": 12.5, "any": 5.0}
WEIGHTS = {"touching": 4.0, "major": 6.0, "any": 1.0}


def from_hex(code: str) -> np.ndarray:
    """RRGGBB to three numbers 0..255."""
    return np.array([int(code[i : i + 2], 16) for i in (0, 2, 4)])


def candidates() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colours (N, 3) that show on grey CT, the fixed ones last; which are vivid, which light enough for bone, (N,) each."""
    steps = np.append(np.arange(0, 255, 15), 255)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    lightness, chroma = to_lab(grid)[:, 0], np.hypot(*to_lab(grid)[:, 1:].T)
    dullest = np.min([np.hypot(*to_lab(grid, vision)[:, 1:].T) for vision in VISIONS], axis=0)
    vivid = (lightness >= 45) & (lightness <= 93) & (chroma >= 24) & (dullest >= 6)
    light = (lightness >= 72) & (chroma >= 10)
    keep, none = vivid | light, np.zeros(len(FIXED), dtype=bool)
    fixed = np.array([from_hex(code) for code in FIXED.values()])
    return np.vstack([grid[keep], fixed]), np.append(vivid[keep], none), np.append(light[keep], none)


def distances(colours: np.ndarray) -> np.ndarray:
    """(N, N) least difference over all kinds of sight."""
    result = np.full((len(colours), len(colours)), np.inf, dtype=np.float32)
    for vision in VISIONS:
        lab = to_lab(colours, vision)
        for row in range(len(colours)):
            result[row] = np.minimum(result[row], difference(lab[row], lab))
    return result


def wishes() -> tuple[np.ndarray, np.ndarray]:
    """(S, S) distance wished for each pair of structures and its weight."""
    count = len(STRUCTURES)
    wish, weight = np.full((count, count), WISHES["any"]), np.full((count, count), WEIGHTS["any"])
    for kind, pairs in (("major", [(a, b) for a in MAJOR for b in MAJOR]), ("touching", TOUCHING)):
        for one, other in pairs:
            i, j = ID[one] - 1, ID[other] - 1
            wish[[i, j], [j, i]], weight[[i, j], [j, i]] = WISHES[kind], WEIGHTS[kind]
    np.fill_diagonal(weight, 0.0)
    return wish, weight


def choices(vivid: np.ndarray, light: np.ndarray) -> list[np.ndarray]:
    """For each structure, the indices of the colours that it may take."""
    fixed = {name: len(vivid) - len(FIXED) + i for i, name in enumerate(FIXED)}
    free = [np.flatnonzero(light if s.name in LIGHT else vivid) for s in STRUCTURES]
    return [np.array([fixed[s.name]]) if s.name in fixed else own for s, own in zip(STRUCTURES, free, strict=True)]


def missed(wish: np.ndarray, reached: np.ndarray) -> np.ndarray:
    """What a pair costs: the fourth power of the share of its wish that is missed, so that the worst pairs rule."""
    return (np.maximum(0.0, wish - reached) / wish) ** 4


def descend(
    apart: np.ndarray, allowed: list[np.ndarray], wish: np.ndarray, weight: np.ndarray, seed: int
) -> tuple[float, np.ndarray]:
    """One run of annealing from a random start: (cost, index of the colour of each structure)."""
    rng = np.random.default_rng(seed)
    chosen = np.array([rng.choice(own) for own in allowed])
    for heat in np.geomspace(1e-2, 1e-6, 90):
        for i in rng.permutation(len(allowed)):
            cost = (weight[i] * missed(wish[i], apart[np.ix_(allowed[i], chosen)])).sum(axis=1)
            chosen[i] = allowed[i][np.argmin(cost + heat * rng.gumbel(size=len(cost)))]
    return float((weight * missed(wish, apart[np.ix_(chosen, chosen)])).sum()), chosen


def main(starts: int = 4) -> None:
    """Print the table and, as comments, the least distances that it reaches."""
    colours, vivid, light = candidates()
    apart = distances(colours)
    wish, weight = wishes()
    allowed = choices(vivid, light)
    cost, chosen = min((descend(apart, allowed, wish, weight, seed) for seed in range(starts)), key=lambda run: run[0])
    reached = apart[np.ix_(chosen, chosen)]
    for kind in ("touching", "major", "any"):
        pairs = wish == WISHES[kind] if kind != "any" else np.ones_like(wish, dtype=bool)
        least = np.where(pairs & ~np.eye(len(chosen), dtype=bool), reached, np.inf)
        i, j = np.unravel_index(np.argmin(least), least.shape)
        print(f"# least distance of {kind} pairs: {least.min():.1f} ({STRUCTURES[i].name}, {STRUCTURES[j].name})")
    print(f"# cost {cost:.3f}; {len(colours)} candidates")
    for start in range(0, len(STRUCTURES), 4):
        print(
            " ".join(
                f"{s.name}:{bytes(map(int, colours[chosen[s.id - 1]])).hex().upper()}" for s in STRUCTURES[start : start + 4]
            )
        )


if __name__ == "__main__":
    main()
