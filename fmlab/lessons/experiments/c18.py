"""C18: zero-shot accuracy grows with the logarithm of how often a concept occurred in pre-training.

The effect is measured on our own cohort (``zipf``), where frequency is given by lot and turned round, so that each structure is
its own control: the slope has an intercept for each structure. It is the slope of one experiment with two small towers, and says
that frequency acts, not that its law is a line: the details have accuracy by frequency, concept by concept and in bins, and the
two controls. The law of the published counts is recomputed beside it, where the table is in the cache (``frequency``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache

import numpy as np
from torch import Tensor

from fmlab.errors import DataError
from fmlab.lessons import claims, frequency
from fmlab.lessons.experiments import zipf
from fmlab.lessons.experiments.zipf import Setting

WIDTH, LEAST = 0.5, 6  # of a bin of our own cohort: decades, structures


@cache
def material(setting: Setting, workers: int | None = None) -> tuple[Tensor, dict[str, Tensor]]:
    """Pictures to learn from (K, top, 256), and hospital -> pictures of unseen people (K, shown, 256); no seed matters."""
    learned = [body for name in zipf.LEARNED for body in zipf.people(setting.people, name, setting.spacing, 0, workers)]
    pool = zipf.pictures(learned, setting.top, np.random.default_rng(0), setting.concepts)
    shown = {}
    for number, name in enumerate(zipf.TESTED, 1):
        people = zipf.people(setting.tested, name, setting.spacing, zipf.UNSEEN, workers)
        shown[name] = zipf.pictures(people, setting.shown, np.random.default_rng(number), setting.concepts)
    return pool, shown


def accuracies(seed: int, arm: zipf.Arm, setting: Setting, workers: int | None = None, turns: int | None = None) -> np.ndarray:
    """(turns, hospitals, K) zero-shot accuracy in percent, of one training a turn; turns: only so many, by default all."""
    pool, shown = material(setting, workers)
    texts, found = zipf.captions(setting.concepts), []
    for turn, numbers in enumerate(zipf.frequencies(setting, seed)[:turns]):
        model = zipf.trained(*zipf.training_set(pool, numbers, arm), texts, 100 * seed + turn, setting)
        found.append([zipf.accuracy(model, pictures) for pictures in shown.values()])
    return np.array(found)


def run(seed: int, setting: Setting | None = None, command: str = "", workers: int | None = None) -> claims.Run:
    """The experiment with one seed, as a run for the ledger. The seed draws who is how frequent, first weights and batches."""
    setting = setting or Setting()
    numbers = zipf.frequencies(setting, seed)
    found = {arm: accuracies(seed, arm, setting, workers) for arm in zipf.ARMS}
    own = {arm: summary(numbers, accuracy.mean(1)) for arm, accuracy in found.items()}
    details = {"own": own, "accuracy": found["zipf"].mean(1).round(1).tolist(), "counts": numbers.tolist(),
               "published": published(), "setting": asdict(setting)}
    return claims.Run.now("C18", seed, effects(numbers, found["zipf"]), command=command, details=details)


def effects(numbers: np.ndarray, accuracy: np.ndarray) -> dict[str, float]:
    """Hospital -> points per decade, of counts (turns, K) and accuracies (turns, hospitals, K); positive supports the claim."""
    return {f"hospital {name}": within(numbers, accuracy[:, number]) for number, name in enumerate(zipf.TESTED)}


def within(numbers: np.ndarray, accuracy: np.ndarray) -> float:
    """The slope of accuracy (turns, K) over log10 of counts (turns, K), with an intercept for each of K structures."""
    x = np.log10(numbers)
    return frequency.slope((x - x.mean(0)).ravel(), (accuracy - accuracy.mean(0)).ravel())


def summary(numbers: np.ndarray, accuracy: np.ndarray) -> dict[str, object]:
    """Slopes, and correlations by structure and by bin, of counts and accuracies (turns, K)."""
    x, y = np.log10(numbers).ravel(), accuracy.ravel()
    found = frequency.bins(x, y, WIDTH, LEAST)
    of_bins = frequency.correlation([b.log10 for b in found], [b.mean for b in found]) if len(found) > 1 else math.nan
    return frequency.rounded({
        "mean": float(accuracy.mean()), "within": within(numbers, accuracy), "per_concept": frequency.correlation(x, y),
        "of_bins": of_bins, "bins": [asdict(b) for b in found]})


def published() -> Mapping[str, object]:
    """The law of each pre-training set of the published table, as the ledger keeps it; {} where the table is not in the cache."""
    try:
        return {name: one.stored() for name, one in frequency.laws(frequency.published_rows()).items()}
    except DataError:
        return {}
