"""From runs to a verdict: the mean effect, its 95% interval over seeds and cases, and what that says of the claim.

Seeds and cases are both drawn again, each case for all seeds at once, since seeds meet the same cases: the pigeonhole bootstrap
(Owen 2007, doi:10.1214/07-AOAS122). A claim has three seeds or so, and there a plain percentile interval covers the truth in 73
to 92 of 100 simulations rather than in 95. So of n seeds or cases n - 1 are drawn, which gives the mean its right variance, and
the interval is stretched about the mean as Student's t is wider than the normal, with Satterthwaite's degrees of freedom
(doi:10.2307/3002019). Noise that belongs to neither seed nor case is counted twice, which errs on the careful side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fmlab.errors import ClaimError
from fmlab.lessons.claims.declared import Claim, find
from fmlab.lessons.claims.ledger import Run, Source, runs
from fmlab.lessons.show import Box
from fmlab.metrics.bootstrap import CONFIDENCE, RESAMPLES, Estimate

Outcome = Literal["holds", "does not hold", "undecided", "not run yet"]


@dataclass(frozen=True, repr=False)
class Verdict:
    """What the runs say of a claim.

    effect: mean over seeds of the mean over cases, in the claim's unit, with its 95% interval; ``patients`` counts the cases.
    seeds: of each profile in turn. profiles, hardware, dates: of the runs behind it, sorted, each named once. reason: why, in a
    sentence.
    """

    claim: Claim
    outcome: Outcome
    effect: Estimate
    seeds: tuple[int, ...]
    profiles: tuple[str, ...]
    hardware: tuple[str, ...]
    dates: tuple[str, ...]
    reason: str

    @property
    def contradicts(self) -> bool:
        """Whether the experiment contradicts the slides: a finding, which the lesson has to say."""
        return self.outcome == "does not hold"

    @property
    def size(self) -> str:
        """How much stands behind it, such as "3 seeds x 8 cases"."""
        numbers = ((len(self.seeds), "seed"), (self.effect.patients, "case"))
        return " x ".join(f"{number} {name}{'s' * (number != 1)}" for number, name in numbers)

    @property
    def evidence(self) -> str:
        """Effect, interval, seeds, cases, profiles, dates and hardware in a line; "" if nothing was run."""
        if self.outcome == "not run yet":
            return ""
        days = sorted({date[:10] for date in self.dates})
        return (f"effect {self.effect} {self.claim.unit}, {self.size}, profile {' and '.join(self.profiles)}, "
                f"{' to '.join(days[:1] + days[1:][-1:])}, {' and '.join(self.hardware)}")

    def box(self) -> Box:
        """The verdict as words and HTML."""
        tone = {"holds": "good", "does not hold": "look"}.get(self.outcome, "open")
        finding = "This contradicts the slides: a finding." if self.contradicts else ""
        lines = tuple(filter(None, (self.claim.sentence, self.evidence, self.reason, finding)))
        return Box(f"{self.claim.id}: {self.outcome}", lines, tone=tone)

    def __str__(self) -> str:
        first = f"{self.claim.id} {self.outcome}: {self.claim.sentence}"
        finding = " (a finding: it contradicts the slides)" if self.contradicts else ""
        second = f"{self.evidence}. {self.reason}" if self.evidence else self.reason
        return f"{first}{finding}\n    {second}"

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return self.box()._repr_html_()


def verdict(claim_id: str, source: Source = "shipped", profile: str | None = None) -> Verdict:
    """The verdict on a claim from its stored runs ("shipped", the learner's "own", or "all"), computed anew at each call.

    profile: only runs of that profile; by default all are taken together, and the verdict names them. Raises ClaimError for an
    unknown claim or source, or runs that cannot be read.
    """
    found = [run for run in runs(claim_id, source) if profile in (None, run.profile)]
    return judge(find(claim_id), found)


def judge(claim: Claim, found: Sequence[Run]) -> Verdict:
    """The verdict on a claim from these runs; their order does not matter.

    Several runs of one seed and profile count as one, their mean. A seed in another profile is another experiment and counts for
    itself: averaged, profiles that contradict each other would look like no effect for certain.


    Raises ClaimError if a run belongs to another claim.
    """
    if strangers := sorted({run.claim for run in found} - {claim.id}):
        raise ClaimError(f"Runs of {', '.join(strangers)} cannot speak for {claim.id}; give runs of {claim.id} only.")
    behind = {name: tuple(sorted({getattr(run, key) for run in found})) for name, key in (
        ("profiles", "profile"), ("hardware", "hardware"), ("dates", "date"))}
    behind["seeds"] = tuple(seed for _, seed in sorted({(run.profile, run.seed) for run in found}))
    if not found:
        nothing = Estimate(math.nan, math.nan, math.nan, 0)
        return Verdict(claim, "not run yet", nothing, **behind, reason=f"not run yet (lesson {claim.lesson})")
    effect = estimate(effects(found))
    outcome, reason = _outcome(effect, claim.least)
    if len(behind["seeds"]) == 1:
        reason += " One seed: how much the effect varies with the seed is not known."
    return Verdict(claim, outcome, effect, **behind, reason=reason)


def effects(found: Sequence[Run]) -> np.ndarray:
    """(seeds, cases) effects, sorted by profile and seed, and by case; NaN where a seed did not meet a case."""
    seen: dict[tuple[tuple[str, int], str], list[float]] = {}
    for run in found:
        for case, value in run.by_case().items():
            seen.setdefault(((run.profile, run.seed), case), []).append(value)
    seeds, cases = (sorted(set(names)) for names in zip(*seen))
    table = np.full((len(seeds), len(cases)), np.nan)
    for (seed, case), values in seen.items():
        table[seeds.index(seed), cases.index(case)] = math.fsum(values) / len(values)  # fsum: the same in any order
    return table


def estimate(table: np.ndarray, seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """Mean over seeds of means over cases, with its 95% interval; (seeds, cases) effects, NaN where there is none.

    One case has no interval; one seed gives an interval over cases only. seed: of the resampling, fixed so that equal runs always
    get equal verdicts. Source: see the head of this file.
    """
    mean = float(np.nanmean(table, axis=1).mean())
    cases = table.shape[1]
    if cases < 2:
        return Estimate(mean, math.nan, math.nan, cases)
    draws = _draws(table, np.random.default_rng(seed), resamples)
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    wider = _stretch(table)
    return Estimate(mean, float(mean - wider * (mean - low)), float(mean + wider * (high - mean)), cases)


def _draws(table: np.ndarray, generator: np.random.Generator, resamples: int) -> np.ndarray:
    """(resamples,) means over seeds and cases drawn again, each side with one fewer than there are."""
    weights = [generator.multinomial(max(n - 1, 1), np.full(n, 1 / n), size=resamples) for n in table.shape]
    there = np.isfinite(table)
    counts = weights[1] @ there.T  # (resamples, seeds): how many drawn cases the seed met
    totals = weights[1] @ np.where(there, table, 0).T
    means = np.divide(totals, counts, out=np.zeros(counts.shape), where=counts > 0)
    share = weights[0] * (counts > 0)
    drawn = share.sum(axis=1) > 0  # where seeds meet different cases, a draw may miss all of them
    return (means * share).sum(axis=1)[drawn] / share.sum(axis=1)[drawn]


def _stretch(table: np.ndarray) -> float:
    """How much wider Student's t is than the normal, for the degrees of freedom of seeds and cases together; 1 without spread."""
    from scipy.stats import norm, t

    means = [np.nanmean(table, axis=1), np.nanmean(table, axis=0)]
    parts = [(float(np.var(each, ddof=1)) / len(each), len(each) - 1) for each in means if len(each) > 1]
    unsure = sum(part**2 / free for part, free in parts)
    if not unsure:
        return 1.0
    freedom = sum(part for part, _ in parts) ** 2 / unsure
    level = (1 + CONFIDENCE) / 2
    return float(t.ppf(level, freedom) / norm.ppf(level))


def _outcome(effect: Estimate, least: float) -> tuple[Outcome, str]:
    if not effect.has_interval:
        return "undecided", "n=1: one case has no interval."
    if effect.low > least:
        return "holds", f"The 95% interval lies above {least:g}."
    if effect.high <= least:
        return "does not hold", f"The 95% interval lies nowhere above {least:g}."
    return "undecided", f"The 95% interval includes {least:g}."
