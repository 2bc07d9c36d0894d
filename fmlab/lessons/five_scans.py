"""For lesson 16: a hospital that the base model has not seen, a few of its scans, and what adapting to them was worth.

    pool, test = scans(6, 6)                  who may be labelled, and who is tested
    by_organ(summary)                         Dice of each organ, with intervals
    gains(results, zero)                      Dice over the number of shots, and the paired difference to no training at all
    two_parts(volume)                         a single real scan as a support set of one and a test set of one
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fmlab import cohorts, phantom
from fmlab.adaptation.fewshot import POOL_SEED, TEST_SEED, People
from fmlab.adaptation.results import Result, estimate, of
from fmlab.cohorts import Case, Cohort
from fmlab.lessons.experiments.few_shots import KNOWN as KNOWN
from fmlab.metrics.cohort import Summary
from fmlab.pretraining.nano import SPACING
from fmlab.volume import Volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CENTRE = "F"
_LINES = (("o", "#0072B2"), ("s", "#D55E00"), ("^", "#009E73"), ("D", "#CC79A7"), ("v", "#E69F00"), ("P", "#56B4E9"))  # Okabe-Ito


def upper_abdomen(seed: int, centre: str = CENTRE, spacing: float = SPACING, partial: bool = False) -> Volume:
    """A body of a hospital in any contrast phase, scanned from the lung's base to the hip: a third of the torso's voxels.

    A sampler for ``cohorts.phantoms``.
    """
    phase = str(np.random.default_rng([seed, ord(centre)]).choice(phantom.PHASES))
    return phantom.sample(seed, centre, spacing, phase=phase, field_of_view="upper abdomen", partial=partial)


upper_abdomen.VERSION = f"{phantom.VERSION}.1"


def scans(pool: int, tested: int) -> People:
    """Scans of hospital F: of people who may be labelled, and of people who are tested; nobody is both."""
    both = ((pool, POOL_SEED), (tested, TEST_SEED))
    return tuple(cohorts.phantoms(count, CENTRE, SPACING, first, 1, False, upper_abdomen) for count, first in both)


def two_parts(volume: Volume, share: float = 0.6) -> People:
    """A single scan as two cohorts of one, its lower ``share`` and the rest above, on the base model's voxels.

    They are called two patients, which they are not: it is one person, and whatever comes out has no interval.
    """
    small = volume.resample(SPACING)
    x, y, z = small.shape
    cut = max(1, min(z - 1, round(share * z)))
    parts = {"lower": small.crop((0, 0, 0), (x, y, cut)), "upper": small.crop((0, 0, cut), (x, y, z))}
    named = {name: replace(part, name=f"{volume.name}, {name} part") for name, part in parts.items()}
    lower, upper = (Cohort(part.name, (Case(part.name, part.name, lambda part=part: part),)) for part in named.values())
    return lower, upper


def by_organ(summary: Summary, marked: Sequence[str] = KNOWN) -> tuple[Figure, str]:
    """Mean Dice of each organ with its interval, best first, those in ``marked`` filled; and the same in words."""
    from matplotlib.figure import Figure  # takes a while to import; and no pyplot, so that nothing is shown twice

    rows = sorted((row for row in summary.rows if row.dice.patients), key=lambda row: row.dice.mean)
    fig = Figure(figsize=(6.4, 0.6 + 0.24 * len(rows)), layout="constrained")
    ax = fig.subplots()
    for place, row in enumerate(rows):
        colour = "#0072B2" if row.structure in marked else "#767676"
        if row.dice.has_interval:
            ax.plot([row.dice.low, row.dice.high], [place, place], color=colour, linewidth=2)
        ax.plot(row.dice.mean, place, "o", color=colour, markerfacecolor=colour if row.structure in marked else "white")
    ax.set_yticks(range(len(rows)), [f"{row.structure} ({row.dice.patients})" for row in rows], fontsize=8)
    ax.set(xlabel="Dice, mean and 95% interval (people)", xlim=(0, 1))
    ax.spines[["top", "right"]].set_visible(False)
    told = "; ".join(f"{row.structure} {row.dice.format(2)}" for row in reversed(rows))
    return fig, f"Dice of each organ before any training, with 95% interval, best first: {told}."


def gains(results: Sequence[Result], zero: Mapping[str, float]) -> tuple[Figure, str]:
    """Two panels over the number of shots, a mark a method, with 95% intervals over test cases, and the same in words: mean Dice,
    and the paired difference to the base model as it came. zero: test case -> mean Dice of that."""
    from matplotlib.figure import Figure

    base = [Result({}, dict(zero), 0, 0.0, 0, "")]
    shots = sorted({result.task["shots"] for result in results})
    methods = list(dict.fromkeys(result.task["method"] for result in results))
    fig = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = fig.subplots(1, 2)
    start = estimate(base)
    left.axhspan(start.low, start.high, color="#999999", alpha=0.25, linewidth=0)
    left.axhline(start.mean, color="#595959", linewidth=1, label="no training")
    right.axhline(0, color="#595959", linewidth=1)
    told = [f"No training: Dice {start.format(3)}"]
    for number, (method, (marker, colour)) in enumerate(zip(methods, _LINES)):
        own = of(results, method=method)
        for ax, less in ((left, None), (right, base)):
            found = [estimate(of(own, shots=k), less) for k in shots]
            _marks(ax, found, 0.12 * (number - (len(methods) - 1) / 2), marker, colour,
                   f"{method}, {own[0].count:,} number{'s' * (own[0].count != 1)}")
        told.append(f"{method} less no training: " + ", ".join(
            f"{each.format(3)} with {k} shot{'s' * (k > 1)}" for each, k in zip(found, shots)))
    for ax in (left, right):
        ax.set_xticks(range(len(shots)), [str(k) for k in shots])
        ax.set(xlabel="labelled scans", xlim=(-0.5, len(shots) - 0.5))
        ax.spines[["top", "right"]].set_visible(False)
    left.set(ylabel="mean Dice", title="Dice")
    right.set(ylabel="difference in Dice", title="less the Dice without training, person by person")
    handles, labels = left.get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return fig, "Dice over the number of labelled scans, with 95% intervals. " + "; ".join(told) + "."


def _marks(ax: Axes, found: Sequence, aside: float, marker: str, colour: str, label: str) -> None:
    x, mean = np.arange(len(found)) + aside, np.array([each.mean for each in found])
    reach = np.array([[each.mean - each.low for each in found], [each.high - each.mean for each in found]])
    ax.errorbar(x, mean, reach, fmt=marker, color=colour, label=label, capsize=3, markersize=5, linewidth=1.4)
