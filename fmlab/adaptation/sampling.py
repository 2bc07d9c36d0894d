"""Who is in the support set: k labelled patients, drawn by a seed, and the same for every method."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from fmlab.errors import DataError

MOST = 30  # of FSEFT's support sets, the validation case counted


def official_support(cases: int, shots: int, fold: int) -> tuple[list[int], int]:
    """FSEFT's draw of one fold: numbers of the training cases in the order drawn, and that of the validation case.

    cases: lines of the training list. fold: 1, 2, ... With 30 shots 29 train. As published, nobody uses the validation case when
    the stop rule looks at the training loss. DataError where the list is too short.
    Source: the published code; k + 1 distinct lines, at most 30, by Python's ``random`` seeded with fold - 1.
    """
    drawn = min(shots + 1, MOST)
    if shots < 1 or fold < 1 or drawn > cases:
        raise DataError(f"{shots} shots and a validation case of fold {fold} cannot be drawn from {cases} cases; ask for fewer "
                        "shots, and a fold of 1 or more.")
    order = random.Random(fold - 1).sample(range(cases), drawn)
    return order[:-1], order[-1]


def support(patients: Sequence[str], shots: int, seed: int) -> list[int]:
    """Numbers of the scans of ``shots`` patients, drawn by the seed; the draw of k shots begins that of k + 1.

    patients: whose each scan is; all scans of a drawn patient belong to the support. DataError for fewer patients than shots.
    """
    people = sorted(set(patients))
    if not 1 <= shots <= len(people):
        raise DataError(f"{shots} shots cannot be drawn from {len(people)} patients; ask for 1 to {len(people)}.")
    order = np.random.default_rng(seed).permutation(len(people))[:shots]
    return [index for who in order for index, patient in enumerate(patients) if patient == people[who]]
