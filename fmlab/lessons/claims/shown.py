"""Claims for the eye and the screen reader: all in short, one in full, the shipped beside the own, and a forest plot."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fmlab.lessons.claims.declared import declared, find
from fmlab.lessons.claims.ledger import Run, Source, runs
from fmlab.lessons.claims.verdicts import Verdict, judge, verdict
from fmlab.metrics.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKS = {"holds": ("o", "#0072B2", "#0072B2"), "undecided": ("D", "#595959", "white"),
         "does not hold": ("s", "#D55E00", "#D55E00")}
"""Verdict -> shape, colour and fill: Okabe-Ito, a shape of its own for who does not see colours, and hollow where it is open."""
_WIDTH = 110
OVERVIEW = 100  # columns of the table of all claims


def overview(source: Source = "shipped") -> str:
    """All claims as text of at most 100 columns: verdict, effect and interval, and below them what they rest on."""
    found = [verdict(claim.id, source) for claim in declared()]
    whose = {"shipped": "the runs that ship", "own": "your own runs", "all": "all runs"}[source]
    ran = [each for each in found if each.outcome != "not run yet"]
    head = _columns("claim", "verdict", "effect [95%]")
    lines = [f"Claims of the slides, judged by {whose}", head, "    lesson; unit of the effect; runs; day; hardware",
             "-" * OVERVIEW]
    for each in found:
        lines += [_columns(f"{each.claim.id} {each.claim.title}", each.outcome, str(each.effect) if each in ran else "-"),
                  textwrap.fill("; ".join(rests_on(each)), OVERVIEW, initial_indent="    ", subsequent_indent="    ")]
    lines += [f"{len(ran)} of {len(found)} claims have been run."]
    lines += [f"{each.claim.id} contradicts the slides: a finding." for each in ran if each.contradicts]
    return "\n".join(lines)


def compared(claim_id: str) -> str:
    """A claim by the runs that ship and by the learner's own, side by side, and seed by seed where both have one, as text."""
    claim = find(claim_id)
    both = [verdict(claim.id, source) for source in ("shipped", "own")]
    rows = [("verdict", *(each.outcome for each in both)),
            ("effect [95%]", *(f"{each.effect} {claim.unit}" if each.seeds else "-" for each in both)),
            *zip(("runs", "day", "hardware"), *(_origin(each) for each in both))]
    means = [{run.seed: run.mean for run in runs(claim.id, source)} for source in ("shipped", "own")]
    rows += [(f"seed {seed}", *(f"{of[seed]:.3f}" for of in means)) for seed in sorted(means[0].keys() & means[1].keys())]
    said = "Both verdicts are the same." if both[0].outcome == both[1].outcome else f"Yours: {both[1].reason}"
    return Table(f"{claim.id}: {claim.sentence}", ("", "shipped", "your own"), rows, [said]).text()


def rests_on(each: Verdict) -> tuple[str, ...]:
    """Lesson, unit, runs, day and hardware of a verdict; the lesson alone if nothing was run."""
    lesson = f"lesson {each.claim.lesson}"
    return (lesson, each.claim.unit, *_origin(each)) if each.seeds else (lesson,)


def details(claim_id: str, source: Source = "shipped") -> str:
    """One claim in full as text: the sentence, the quoted numbers with DOI, how it is measured, every run, the verdict."""
    claim = find(claim_id)
    found = runs(claim.id, source)
    quoted = list(map(str, claim.quoted)) or ["the slides' numbers are not known here"]
    least = f"; matters above {claim.least:g}" if claim.least else ""
    parts = [("claim", claim.sentence), *(("quoted", each) for each in quoted),
             ("measured", f"{claim.effect} [{claim.unit}]{least}; positive supports the claim"), ("lesson", claim.lesson),
             *(("run", _run_text(run, claim.unit)) for run in found)]
    lines = [_paragraph(name, text) for name, text in parts]
    return "\n".join([f"{claim.id}: {claim.title}", *lines, "", str(judge(claim, found))])


def forest(ids: Sequence[str] | None = None, source: Source = "shipped") -> Figure:
    """Effect and interval of each claim (default: of all that have been run), one panel a unit, ready for ``lessons.figure``.

    The verdict stands beside each in words. Show it with its alt text: ``figure(claims.forest(), alt=claims.forest_alt())``.
    Raises ClaimError for an unknown claim.
    """
    from matplotlib.figure import Figure  # not pyplot: nothing to close, and no window

    found = _chosen(ids, source)
    units = list(dict.fromkeys(each.claim.unit for each in found))
    groups = [[each for each in found if each.claim.unit == unit] for unit in units]
    fig = Figure(figsize=(8, 0.5 + sum(0.7 + 0.5 * len(group) for group in groups)), layout="constrained")
    if not groups:
        fig.text(0.5, 0.5, "No claim has been run yet.", ha="center", va="center")
        return fig
    panels = fig.subplots(len(groups), squeeze=False, height_ratios=[1 + len(group) for group in groups])[:, 0]
    for panel, unit, group in zip(panels, units, groups):
        _panel(panel, unit, group)
    return fig


def forest_alt(ids: Sequence[str] | None = None, source: Source = "shipped") -> str:
    """What ``forest`` of the same claims shows, in words."""
    found = _chosen(ids, source)
    if not found:
        return "An empty forest plot: no claim has been run yet."
    said = "; ".join(f"{each.claim.id}, {each.claim.title}: {in_words(each)}" for each in found)
    return f"Forest plot of claims, effect with 95% interval, positive supports the claim. {said}."


def _chosen(ids: Sequence[str] | None, source: Source) -> list[Verdict]:
    if ids is not None:
        return [verdict(each, source) for each in ([ids] if isinstance(ids, str) else ids)]
    return [each for each in (verdict(claim.id, source) for claim in declared()) if each.outcome != "not run yet"]


def _panel(panel: Axes, unit: str, group: Sequence[Verdict]) -> None:
    panel.axvline(0, color="#595959", linewidth=0.8)
    for row, each in enumerate(group):
        if each.outcome in MARKS:
            shape, colour, fill = MARKS[each.outcome]
            if each.effect.has_interval:
                panel.plot([each.effect.low, each.effect.high], [row, row], color=colour, linewidth=2, solid_capstyle="butt")
            panel.plot(each.effect.mean, row, shape, color=colour, markerfacecolor=fill, markersize=8)
        if each.claim.least:
            panel.plot([each.claim.least] * 2, [row - 0.4, row + 0.4], color="#595959", linestyle="--", linewidth=0.8)
        panel.text(1.02, row, each.outcome, transform=panel.get_yaxis_transform(), va="center")
    panel.set_yticks(range(len(group)), [textwrap.fill(f"{each.claim.id} {each.claim.title}", 30) for each in group])
    panel.set_ylim(len(group) - 0.4, -0.6)  # the first on top
    panel.set_xlabel(f"effect [{unit}]; positive supports the claim")
    panel.spines[["top", "right", "left"]].set_visible(False)


def _columns(claim: str, outcome: str, effect: str) -> str:
    return f"{claim:<50}{outcome:<15}{effect}"


def _origin(each: Verdict) -> tuple[str, str, str]:
    """Runs, day and hardware; hyphens if nothing was run."""
    if not each.seeds:
        return "-", "-", "-"
    days = sorted({date[:10] for date in each.dates})
    return each.size, " to ".join(days[:1] + days[1:][-1:]), " and ".join(each.hardware)


def in_words(each: Verdict) -> str:
    """Effect, interval and verdict as a phrase, for who does not see a picture."""
    if each.outcome == "not run yet":
        return each.reason
    effect = each.effect
    interval = f"from {effect.low:.3g} to {effect.high:.3g}" if effect.has_interval else "without interval"
    return f"{effect.mean:.3g} {each.claim.unit}, {interval}, {each.outcome}"


def _paragraph(name: str, text: str) -> str:
    return textwrap.fill(text, _WIDTH, initial_indent=f"{name:<10}", subsequent_indent=" " * 10, break_long_words=False,
                         break_on_hyphens=False)  # a DOI stays whole, and can be clicked


def _run_text(run: Run, unit: str) -> str:
    cases = len(run.by_case())
    commit = f" ({run.commit})" if run.commit else ""
    command = f", by `{run.command}`" if run.command else ""
    took = f", {run.seconds:.0f} s" if run.seconds is not None else ""
    return (f"seed {run.seed}: mean {run.mean:.3f} {unit} over {cases} case{'s' * (cases != 1)}, profile {run.profile}, "
            f"{run.hardware}, {run.date}, fmlab {run.version}{commit}{took}{command}")
