"""How accuracy follows from how often a concept was seen: the law, concept by concept and bin by bin, in numbers and pictures.

    law = laws(published_rows())["cc3m"]            # from the published counts, if they are in the cache
    law.per_concept, law.of_bins                    # the same relation: r of concepts, and r of the means of bins

Bins flatter: the mean of many concepts has lost what concepts of one frequency differ in, and that is most of it (Robinson 1950,
doi:10.2307/2087176, on correlations of groups). Test sets differ in how hard they are and in how often their concepts occur, so
``within`` is the slope with an intercept for each of them.

Source: Udandarao et al. 2024, arXiv:2404.04125.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fmlab.errors import DataError
from fmlab.hub import data

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DATA = "concept-frequency"
NAMES = {"cc3m": "CC3M", "cc12m": "CC12M", "yfcc15m": "YFCC15M", "laion400m": "LAION-400M"}
BIN, LEAST = 0.5, 20  # decades; concepts of a bin that counts, as published
FEW = 10  # concepts with which a test set has a slope of its own
ARMS = {"zipf": "Zipf's frequencies", "balanced": "all equally frequent", "repeated": "one picture, repeated"}
BLUE, RED, GREY = "#0072B2", "#D55E00", "#595959"  # Okabe-Ito


@dataclass(frozen=True)
class Rows:
    """One pre-training set's concepts. counts: (N,) how often each occurs. accuracy: (N,) percent, zero-shot. sets: (N,) whose
    test pictures they are."""

    counts: np.ndarray
    accuracy: np.ndarray
    sets: np.ndarray


@dataclass(frozen=True)
class Bin:
    """Concepts of about one frequency. log10: mean log10 count. mean, low, high: accuracy, with its 10th and 90th percentile."""

    log10: float
    mean: float
    low: float
    high: float
    concepts: int


@dataclass(frozen=True)
class Law:
    """What accuracy and log10 of the count have to do with each other.

    concepts: with a count above 0. per_concept, of_bins: correlations. slope: points per decade; within: with an intercept for
    each test set; by_set: of each test set alone. never: concepts with a count of 0, never_accuracy their mean, NaN without any.
    """

    concepts: int
    per_concept: float
    of_bins: float
    slope: float
    within: float
    by_set: dict[str, float]
    never: int
    never_accuracy: float
    bins: tuple[Bin, ...]

    def stored(self) -> dict[str, object]:
        """As the ledger keeps it: rounded, None for NaN."""
        return rounded(asdict(self))

    @classmethod
    def read(cls, row: Mapping[str, object]) -> Law:
        """Back from the ledger."""
        given = {key: float("nan") if value is None else value for key, value in row.items()}
        return cls(**{**given, "bins": tuple(Bin(**each) for each in given["bins"])})


def published_rows(path: str | Path | None = None) -> dict[str, Rows]:
    """Pre-training set -> its concepts, of the published table (counts by image tags); by default the one in the cache.

    Nothing is downloaded. DataError where the table is not there, or is not that table.
    """
    path = Path(path) if path else data.paths(DATA, "table")[0]
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = [(row["pretrain"], int(row["image_count"]), float(row["accuracy"]), row["dataset"])
                    for row in csv.DictReader(file)]
    except FileNotFoundError as error:
        raise DataError(f"{path} is not there; bring it by `fmlab data seed FOLDER` from a folder that holds it.") from error
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is not the table of concept frequencies ({error}); fetch it again.") from error
    if not rows:
        raise DataError(f"{path} is not the table of concept frequencies (it has no row); fetch it again.")
    found = {}
    for name in dict.fromkeys(row[0] for row in rows):
        found[name] = Rows(*map(np.array, list(zip(*(row for row in rows if row[0] == name)))[1:]))
    return found


def law(rows: Rows, width: float = BIN, least: int = LEAST) -> Law:
    """The law of one pre-training set. width: of a bin, decades. least: concepts of a bin that counts.

    DataError with fewer than two frequencies above 0, or fewer than two such bins.
    """
    seen = rows.counts > 0
    x, y, sets = np.log10(rows.counts[seen]), rows.accuracy[seen].astype(float), rows.sets[seen]
    if len(np.unique(x)) < 2:
        raise DataError("A law needs concepts of two frequencies above 0; give more of them.")
    found = bins(x, y, width, least)
    if len(found) < 2:
        raise DataError(f"Fewer than two bins of {width:g} decades hold {least} concepts; take wider ones, or a smaller least.")
    by_set = {str(name): slope(x[sets == name], y[sets == name]) for name in np.unique(sets) if (sets == name).sum() >= FEW}
    return Law(int(seen.sum()), correlation(x, y), correlation([b.log10 for b in found], [b.mean for b in found]), slope(x, y),
               within(rows.counts, rows.accuracy, rows.sets), by_set,
               int((~seen).sum()), float(rows.accuracy[~seen].mean()) if (~seen).any() else float("nan"), found)


def within(counts: np.ndarray, accuracy: np.ndarray, sets: np.ndarray) -> float:
    """Points per decade, with an intercept for each test set; (N,) counts, of which 0 says nothing, (N,) percent, (N,) labels.

    One slope for all sets: what a set's concepts differ in is compared within it. NaN where no set has two frequencies.
    """
    seen = counts > 0
    x, y, sets = np.log10(counts[seen]), accuracy[seen].astype(float), sets[seen]
    for name in np.unique(sets):
        own = sets == name
        x[own], y[own] = x[own] - x[own].mean(), y[own] - y[own].mean()
    return slope(x, y)


def laws(found: Mapping[str, Rows]) -> dict[str, Law]:
    """The law of each pre-training set."""
    return {name: law(rows) for name, rows in found.items()}


def bins(x: np.ndarray, y: np.ndarray, width: float = BIN, least: int = LEAST) -> tuple[Bin, ...]:
    """Concepts (N,) of log10 counts x and accuracies y, in bins of ``width`` decades that hold at least so many."""
    number = np.floor(x / width + 1e-9)
    groups = [(x[number == k], y[number == k]) for k in np.unique(number)]
    return tuple(Bin(float(a.mean()), float(b.mean()), *(float(q) for q in np.quantile(b, (0.1, 0.9))), len(a))
                 for a, b in groups if len(a) >= least)


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Of the line through points (N,) by least squares; NaN where all x are one."""
    dx = np.asarray(x, float) - np.mean(x)
    return float(dx @ (np.asarray(y, float) - np.mean(y)) / (dx @ dx)) if (dx != 0).any() else float("nan")


def correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Pearson's r of points (N,); NaN where one side does not vary."""
    dx, dy = np.asarray(x, float) - np.mean(x), np.asarray(y, float) - np.mean(y)
    size = np.sqrt((dx @ dx) * (dy @ dy))
    return float(dx @ dy / size) if size > 0 else float("nan")


def law_picture(laws: Mapping[str, Law], rows: Mapping[str, Rows] | None = None, width: float = 8.0) -> Figure:
    """For each pre-training set its concepts (where ``rows`` has them; else their middle 80 of 100) and the means of its bins.

    Show it with its alt text: ``figure(law_picture(laws), alt=law_alt(laws))``.
    """
    from matplotlib.figure import Figure

    columns = min(2, len(laws))
    lines = -(-len(laws) // columns)
    fig = Figure(figsize=(width, 0.4 + 2.6 * lines), layout="constrained")
    axes = fig.subplots(lines, columns, squeeze=False, sharey=True).ravel()
    for ax, (name, one) in zip(axes, laws.items()):
        _panel(ax, one, rows.get(name) if rows else None)
        if ax is axes[0]:
            ax.legend(fontsize=7, loc="upper left")
        ax.set_title(f"{NAMES.get(name, name)}: r = {one.per_concept:.2f} by concept, {one.of_bins:.2f} by bin", fontsize=9)
    for ax in axes[len(laws):]:
        ax.set_visible(False)
    fig.supxlabel("log10 of how often the concept occurs in pre-training", fontsize=9)
    fig.supylabel("zero-shot accuracy [%]", fontsize=9)
    return fig


def law_alt(laws: Mapping[str, Law]) -> str:
    """What ``law_picture`` shows, in words."""
    said = "; ".join(f"{NAMES.get(name, name)}, {one.concepts} concepts: r = {one.per_concept:.2f} concept by concept, "
                     f"{one.of_bins:.2f} of the means of {len(one.bins)} bins, which rise from {one.bins[0].mean:.0f} to "
                     f"{one.bins[-1].mean:.0f} %" for name, one in laws.items())
    return ("Zero-shot accuracy over log10 of a concept's frequency: the means of bins lie near a rising line, concepts "
            f"spread widely about it. {said}.")


def _panel(ax: Axes, one: Law, rows: Rows | None) -> None:
    at, means = [b.log10 for b in one.bins], [b.mean for b in one.bins]
    if rows is not None:
        seen = rows.counts > 0
        ax.plot(np.log10(rows.counts[seen]), rows.accuracy[seen], ".", color=GREY, markersize=2, alpha=0.35, label="a concept",
                rasterized=True)
    else:
        ax.fill_between(at, [b.low for b in one.bins], [b.high for b in one.bins], color=GREY, alpha=0.25,
                        label="80 of 100 concepts")
    ax.plot(at, means, "o-", color=BLUE, markersize=4, label="mean of a bin")
    ax.set_ylim(-3, 103)
    ax.spines[["top", "right"]].set_visible(False)


def own_picture(details: Mapping[str, Any], width: float = 8.0) -> Figure:
    """Our Zipf cohort, from the details of a run of C18: every structure at every turn, and means of bins with both controls.

    Show it with its alt text: ``figure(own_picture(details), alt=own_alt(details))``.
    """
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width, 3.6), layout="constrained")
    ax = fig.subplots()
    ax.plot(np.log10(details["counts"]).ravel(), np.ravel(details["accuracy"]), ".", color=GREY, markersize=4, alpha=0.5,
            label="a structure, as frequent as the lot had it")
    styles = ((BLUE, "o", "-"), (RED, "s", "--"), (GREY, "D", ":"))
    for (arm, label), (colour, marker, line) in zip(ARMS.items(), styles):
        means = details["own"][arm]["bins"]
        ax.plot([b["log10"] for b in means], [b["mean"] for b in means], color=colour, marker=marker, linestyle=line, label=label)
    ax.set_ylim(-3, 103)
    ax.set_xlabel("log10 of pictures of the structure in training")
    ax.set_ylabel("zero-shot accuracy [%]")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return fig


def own_alt(details: Mapping[str, Any]) -> str:
    """What ``own_picture`` shows, in words."""
    said = []
    for arm, label in ARMS.items():
        row = details["own"][arm]
        ends = " to ".join(f"{row['bins'][at]['mean']:.0f}" for at in (0, -1))
        said.append(f"{label}: from {ends} %, {row['within']:.1f} points per decade")
    one = details["own"]["zipf"]
    return ("Zero-shot accuracy of structures over log10 of how many pictures of them were trained on, means of bins. "
            f"{'; '.join(said)}. With Zipf's frequencies r = {one['per_concept']:.2f} by structure, {one['of_bins']:.2f} by bin.")


def rounded(value: object) -> object:
    """Numbers in lists and mappings to 4 digits, NaN to None, as JSON can keep them."""
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    if isinstance(value, float):
        return None if value != value else round(value, 4)
    return value
