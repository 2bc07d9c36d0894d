"""Many cases: per structure the mean over cases, then the mean over structures, with bootstrap intervals by patient."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fmlab.errors import ScanError
from fmlab.metrics.bootstrap import FEW, RESAMPLES, Estimate, estimates
from fmlab.metrics.cases import Score
from fmlab.metrics.tables import Table
from fmlab.vocabulary import ID

Cases = Mapping[Hashable, Sequence[Score]]

METRICS = ("dice", "nsd", "hd95", "volume_error")
DIGITS = {"dice": 3, "nsd": 3, "hd95": 1, "volume_error": 1}
HIGHER_IS_BETTER = {"dice": True, "nsd": True, "hd95": False, "volume_error": False}


@dataclass(frozen=True)
class Row:
    """One structure over all cases (or, as ``Summary.overall``, all structures).

    dice, nsd, hd95 (mm), volume_error (ml): means over the scored cases. Of the volume error the size is averaged, without sign:
    else too much in one patient would make good too little in another. cases: how many were scored, of which so many ``missed``
    or ``false_positives``; ``absent`` and ``not_annotated`` cases are outside the mean.
    """

    structure: str
    dice: Estimate
    nsd: Estimate
    hd95: Estimate
    volume_error: Estimate
    cases: int
    missed: int
    false_positives: int
    absent: int
    not_annotated: int


@dataclass(frozen=True)
class Summary:
    """A cohort's scores: ``rows`` per structure in vocabulary order, ``overall`` the mean over structures; prints as a table."""

    rows: tuple[Row, ...]
    overall: Row
    patients: int
    tolerance: float
    resamples: int
    seed: int

    def __getitem__(self, structure: str) -> Row:
        """The row of a structure; ScanError if no case has a score of it."""
        for row in self.rows:
            if row.structure == structure:
                return row
        raise ScanError(f"No case has a score of {structure!r}; there are {', '.join(r.structure for r in self.rows) or 'none'}.")

    @property
    def table(self) -> Table:
        """Captions, cells and notes, ready as text or HTML."""
        header = ("structure", "Dice", f"NSD at {self.tolerance:g} mm", "HD95 (mm)", "volume error (ml)",
                  "cases", "missed", "false pos.")
        rows = tuple(_cells(row) for row in (*self.rows, self.overall))
        people = "1 patient" if self.patients == 1 else f"{self.patients} patients"
        return Table(f"Means over the cases of {people}, then over structures [95% interval]", header, rows, self._notes())

    def _notes(self) -> tuple[str, ...]:
        notes = []
        if self.patients < 2:
            notes.append("One patient: no interval, because one says nothing about the spread between patients.")
        elif self.patients < FEW:
            notes.append(f"{self.patients} patients are few: intervals bootstrapped from them are narrower than they should be.")
        else:
            notes.append(f"Intervals: {self.resamples} bootstrap draws of patients, seed {self.seed}.")
        single = [row.structure for row in self.rows if row.dice.patients == 1]
        if single and self.patients > 1:
            notes.append(f"Scored in one patient only, so without interval: {', '.join(single)}.")
        for status, count in (("absent", "absent"), ("not annotated", "not_annotated")):
            listed = [f"{row.structure} ({getattr(row, count)})" for row in self.rows if getattr(row, count)]
            if listed:
                notes.append(f"Outside the means, {status} (cases): {', '.join(listed)}.")
        return tuple(notes)

    def __str__(self) -> str:
        return self.table.text()

    def _repr_html_(self) -> str:
        return self.table.html()


def summarise(cases: Cases, seed: int = 0, resamples: int = RESAMPLES) -> Summary:
    """Summarise the scores of a cohort.

    cases: for each patient the list that ``evaluate`` gave; several scans of a patient: their lists joined. seed: of the draws.
    Raises ScanError if there is no patient, if scores are of different NSD tolerances, or if seed or resamples are unfit.
    """
    tolerance = checked_cases(cases)
    names = in_vocabulary_order({score.structure for scores in cases.values() for score in scores})
    column = {name: k for k, name in enumerate(names)}
    totals, counts = np.zeros((len(METRICS), len(cases), len(names))), np.zeros((len(cases), len(names)))
    for i, scores in enumerate(cases.values()):
        for score in scores:
            if score.scored:
                counts[i, column[score.structure]] += 1
                totals[:, i, column[score.structure]] += [value(score, metric) for metric in METRICS]
    results = [estimates(total, counts, seed, resamples) for total in totals]
    statuses = Counter((score.structure, score.status) for scores in cases.values() for score in scores)
    rows = tuple(_row(name, [each[k] for each, _ in results], [statuses[name, s] for s in _COUNTED])
                 for k, name in enumerate(names))
    everything = [sum(statuses[name, s] for name in names) for s in _COUNTED]
    overall = _row("mean over structures", [whole for _, whole in results], everything)
    return Summary(rows, overall, len(cases), tolerance, int(resamples), int(seed))


_COUNTED = ("ok", "missed", "false positive", "absent", "not annotated")


def _row(name: str, means: Sequence[Estimate], counts: Sequence[int]) -> Row:
    ok, missed, false_positives, absent, not_annotated = counts
    return Row(name, *means, ok + missed + false_positives, missed, false_positives, absent, not_annotated)


def _cells(row: Row) -> tuple[str, ...]:
    means = (getattr(row, metric).format(DIGITS[metric]) for metric in METRICS)
    return (row.structure, *means, str(row.cases), str(row.missed), str(row.false_positives))


def value(score: Score, metric: str) -> float:
    """What a score contributes to the mean of a metric: itself, but the volume error without its sign."""
    return abs(score.volume_error) if metric == "volume_error" else getattr(score, metric)


def in_vocabulary_order(names: set[str]) -> list[str]:
    """Structures as the vocabulary lists them; names it does not have (hand-made scores) come last."""
    return sorted(names, key=lambda name: (ID.get(name, len(ID) + 1), name))


def checked_cases(cases: Cases) -> float:
    """The one NSD tolerance of all scores; ScanError if there is no patient, no list of scores, or more than one tolerance."""
    if not isinstance(cases, Mapping) or not cases:
        raise ScanError("There are no cases to summarise; pass a dictionary, patient to the list of scores that evaluate() gave.")
    for patient, scores in cases.items():
        if isinstance(scores, (str, Mapping, Score)) or not all(isinstance(score, Score) for score in scores):
            raise ScanError(f"Patient {patient!r} does not hold a list of scores; pass what evaluate() gave.")
    found = sorted({score.tolerance for scores in cases.values() for score in scores})
    if len(found) > 1:
        raise ScanError(f"The scores were made with NSD tolerances of {found} mm; evaluate all cases with one tolerance.")
    return found[0] if found else 2.0
