"""The corrected scan as a shot: a base model is adapted to it in a few steps, and tried on what it was not shown.

One scan is cut in two across the body, and one part teaches. They are parts of one person: what comes out is no estimate for
other people, and the report says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from fmlab import hub
from fmlab.adaptation.adapting import Budget, adapt
from fmlab.adaptation.attach import METHODS, Adapter, attach
from fmlab.adaptation.shots import Shots
from fmlab.cohorts import Case, Cohort
from fmlab.errors import DataError
from fmlab.inference import segment
from fmlab.pretraining.hospitals import STRUCTURES as KNOWN
from fmlab.pretraining.nano import SIDE, SPACING
from fmlab.volume import Volume

MOST = 4  # structures that are adapted to where nobody chose any
LEAST_ML = 2.0


@dataclass(frozen=True)
class Adapted:
    """adapter: with its model. losses: one a step. seconds: of the training alone. structures: what the head answers."""

    adapter: Adapter
    losses: tuple[float, ...]
    seconds: float
    structures: tuple[str, ...]

    @property
    def model(self) -> nn.Module:
        """The adapted model, in eval mode."""
        return self.adapter.model


def zero_shot(volume: Volume, overlap: float = 0.25, model: nn.Module | None = None) -> Volume:
    """The scan with the labels of the course's universal model, which never saw a patient."""
    return segment(model or hub.load("universal", "nano"), volume, overlap=overlap)


def halves(volume: Volume, cut: int) -> tuple[Volume, Volume]:
    """The scan below and above an axial cut: slices 0 to cut - 1, and the others. DataError where one side would be empty."""
    x, y, z = volume.shape
    if not 0 < cut < z:
        raise DataError(f"A scan of {z} slices has no two parts with a cut at {cut}; give a second scan to try the model on.")
    parts = volume.crop((0, 0, 0), (x, y, cut)), volume.crop((0, 0, cut), (x, y, z))
    return tuple(replace(part, name=f"{volume.name}-{which}") for part, which in zip(parts, ("lower", "upper")))


def best_cut(volume: Volume, structures: Sequence[str]) -> int:
    """The axial cut that leaves most of each structure on both sides: where the sum of the smaller shares is largest.

    Of equal cuts the one nearest to the middle.
    """
    below = np.stack([volume.mask(name).sum((0, 1)).numpy().cumsum() for name in structures]).astype(np.float64)
    share = below / np.maximum(below[:, -1:], 1)
    total = np.minimum(share, 1 - share).sum(0)[:-1].round(9)
    if not total.size:
        return 0
    middle = np.abs(np.arange(len(total)) + 1 - volume.shape[2] / 2)
    return int(np.lexsort((middle, -total))[0]) + 1


def worth_learning(shown: Sequence[Volume], among: Sequence[str] = (), most: int = MOST) -> tuple[str, ...]:
    """Structures to adapt to, largest first: those of ``among``, else of what the base model knows, that all of ``shown`` have.

    shown: the shot, and what it is tried on where that has labels. A structure counts where a side has LEAST_ML of it; without
    ``among`` at most ``most`` are taken. Raises DataError where there is none.
    """
    ml = {name: min(millilitres(volume, [name])[name] for volume in shown) for name in among or KNOWN}
    chosen = [name for name in sorted(ml, key=lambda name: -ml[name]) if ml[name] >= LEAST_ML]
    if not chosen:
        raise DataError(f"None of {', '.join(among or KNOWN)} has {LEAST_ML:g} ml in the shot and in what it is tried on; "
                        "correct or name another structure, or give a second scan.")
    return tuple(chosen if among else chosen[:most])


def base() -> nn.Module:
    """The model that is adapted: the course's small Swin UNETR, which knows KNOWN."""
    return hub.load("fseft", "nano")


def adapt_to(shot: Volume, structures: Sequence[str], method: str = "lora", decoder: bool = False, steps: int = 40,
             cubes: int = 12, seed: int = 0, **options: object) -> Adapted:
    """Adapt the base model to one labelled scan. method, decoder, options: as in ``attach``; "decoder" alone is a method too.

    shot: with labels, whose absence means "not there" for these structures. Raises what ``attach`` and ``Shots`` raise.
    """
    adapter = attach(base(), method, tuple(structures), decoder, seed, **options)
    small = replace(shot.resample(SPACING), annotated=frozenset(structures))
    one = Cohort(shot.name, (Case(shot.name, shot.name, lambda: small),))
    black_box = METHODS[method].black_box and not decoder
    trained = adapt(adapter, Shots(one, structures, cubes, SIDE, seed, shift=not black_box), Budget(steps=steps, marks=1), seed)
    return Adapted(adapter, tuple(float(loss) for loss in trained.losses), trained.seconds, tuple(structures))


def applied(model: nn.Module, volume: Volume, structures: Sequence[str]) -> Volume:
    """The scan with a base or adapted model's labels of these structures (of those that it knows), on the scan's own grid."""
    known = [name for name in structures if name in model.structures]
    return segment(model, volume, known, spacing=SPACING, side=SIDE, overlap=0.25, crumb_ml=0)


def millilitres(volume: Volume, structures: Sequence[str]) -> dict[str, float]:
    """Structure -> ml, parts included."""
    return {name: round(float(np.count_nonzero(volume.mask(name).numpy())) * volume.voxel_ml, 2) for name in structures}
