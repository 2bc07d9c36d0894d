"""Two methods on the same patients: the paired difference, its bootstrap interval by patient, and a computed verdict."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from fmlab.errors import ScanError
from fmlab.metrics.bootstrap import FEW, RESAMPLES, Estimate, estimates
from fmlab.metrics.cases import Score
from fmlab.metrics.cohort import DIGITS, HIGHER_IS_BETTER, Cases, checked_cases, in_vocabulary_order, value
from fmlab.metrics.tables import Table

ENOUGH = 6  # patients; when fewer all point one way, a fair coin does the same with a chance above 5% (2 * 0.5 ** 5 = 6%)

# A structure that is rightly not drawn has no Dice. Set against a method that draws it where it is not, it is worth the best
# score: to leave the pair out would spare the other method its false positive.
_RIGHTLY_ABSENT = {"dice": 1.0, "nsd": 1.0, "hd95": 0.0, "volume_error": 0.0}


@dataclass(frozen=True)
class Comparison:
    """Method A less method B, on the same cases.

    metric: one of METRICS. difference: the mean over cases, then structures, of A - B with its 95% interval by patient.
    structures: the same for each structure (one by one they are not corrected for their number; the verdict rests on the mean).
    verdict: "A better", "B better" (with the names given) or "undecided". reason: why, in a sentence.
    """

    metric: str
    names: tuple[str, str]
    difference: Estimate
    structures: tuple[tuple[str, Estimate], ...]
    verdict: str
    reason: str

    @property
    def table(self) -> Table:
        """Captions, cells and notes, ready as text or HTML."""
        digits = DIGITS[self.metric]
        better = "above" if HIGHER_IS_BETTER[self.metric] else "below"
        listed = (*self.structures, ("mean over structures", self.difference))
        rows = [(name, each.format(digits), str(each.patients)) for name, each in listed]
        first, second = self.names
        caption = f"{first} less {second}: {self.metric}, paired by case; {better} 0 means that {first} is better"
        header = ("structure", "difference [95% interval]", "patients")
        return Table(caption, header, rows, (f"Verdict: {self.verdict}. {self.reason}",))

    def __str__(self) -> str:
        return self.table.text()

    def _repr_html_(self) -> str:
        return self.table.html()


def compare(a: Cases, b: Cases, metric: str = "dice", names: tuple[str, str] = ("A", "B"), seed: int = 0,
            resamples: int = RESAMPLES) -> Comparison:
    """Compare two methods that were evaluated on the same patients against the same reference.

    a, b: patient to list of scores, as for ``summarise``; several scans of a patient in the same order in both. metric: "dice",
    "nsd", "hd95" or "volume_error" (its size). A case where one method rightly draws nothing and the other does draws counts as
    the best against the worst score. With fewer than 6 patients the verdict is "undecided", whatever the interval.

    Raises ScanError if patients, structures, tolerances or references differ between a and b.
    """
    if metric not in HIGHER_IS_BETTER:
        raise ScanError(f"There is no metric {metric!r}; choose one of {', '.join(HIGHER_IS_BETTER)}.")
    if checked_cases(a) != checked_cases(b):
        raise ScanError("The two methods were scored with different NSD tolerances; evaluate both with one tolerance.")
    if set(a) != set(b):
        raise ScanError(
            f"Only one of the methods has scores of the patients {sorted(map(str, set(a) ^ set(b)))}; "
            "evaluate both on all.")
    found = in_vocabulary_order({score.structure for cases in (a, b) for scores in cases.values() for score in scores})
    totals, counts = np.zeros((len(a), len(found))), np.zeros((len(a), len(found)))
    for i, patient in enumerate(a):
        for k, name in enumerate(found):
            pairs = _pairs(a[patient], b[patient], name, patient)
            differences = [d for one, other in pairs if (d := _difference(one, other, metric)) is not None]
            totals[i, k], counts[i, k] = sum(differences), len(differences)
    each, overall = estimates(totals, counts, seed, resamples)
    verdict, reason = _verdict(overall, HIGHER_IS_BETTER[metric], names)
    return Comparison(metric, names, overall, tuple(zip(found, each)), verdict, reason)


def _pairs(a: Sequence[Score], b: Sequence[Score], name: str, patient: Hashable) -> list[tuple[Score, Score]]:
    """The scores of one structure of one patient, A's beside B's; ScanError unless they stand against the same reference."""
    ours, theirs = ([score for score in scores if score.structure == name] for scores in (a, b))
    if len(ours) != len(theirs):
        raise ScanError(
            f"Patient {patient!r} has {len(ours)} and {len(theirs)} scores of {name!r}; "
            "give evaluate() the same structures=... for both.")
    for one, other in zip(ours, theirs):
        if not math.isclose(_volume(one), _volume(other), rel_tol=1e-6, abs_tol=1e-9):
            raise ScanError(
                f"Patient {patient!r}: the reference of {name!r} is not the same for both methods; "
                "evaluate both against one reference.")
    return list(zip(ours, theirs))


def _volume(score: Score) -> float:
    return -1.0 if score.status == "not annotated" else score.volume_ml


def _difference(one: Score, other: Score, metric: str) -> float | None:
    """A less B of one case, or None where neither has anything to score."""
    if not (one.scored or other.scored):
        return None
    left, right = (value(score, metric) if score.scored else _RIGHTLY_ABSENT[metric] for score in (one, other))
    return left - right


def _verdict(difference: Estimate, higher_is_better: bool, names: tuple[str, str]) -> tuple[str, str]:
    if difference.patients < ENOUGH:
        many = "1 patient is" if difference.patients == 1 else f"{difference.patients} patients are"
        return "undecided", f"{many} too few: below {ENOUGH}, chance alone makes all point one way in more than 1 of 20."
    if difference.low <= 0 <= difference.high:
        return "undecided", "The 95% interval includes 0."
    winner = names[0] if (difference.low > 0) == higher_is_better else names[1]
    few = f" With {difference.patients} patients it is narrower than it should be." if difference.patients < FEW else ""
    return f"{winner} better", f"The 95% interval does not include 0.{few}"
