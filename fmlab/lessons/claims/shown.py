"""Claims for the eye and the screen reader: the table of ``fmlab claims``, one claim in full, and a forest plot."""

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

# Okabe-Ito, and a shape of its own for who does not see colours.
_MARKS = {"holds": ("o", "#0072B2"), "does not hold": ("s", "#D55E00"), "undecided": ("D", "#595959")}
_WIDTH = 130


def overview(source: Source = "shipped") -> str:
    """All claims as a table of text: verdict, effect and interval, seeds and cases."""
    found = [verdict(claim.id, source) for claim in declared()]
    rows = [(f"{each.claim.id} {each.claim.title}", *_cells(each)) for each in found]
    whose = {"shipped": "the runs that ship", "own": "your own runs", "all": "all runs"}[source]
    ran = [each for each in found if each.outcome != "not run yet"]
    notes = [f"{len(ran)} of {len(found)} claims have been run."]
    notes += [f"{each.claim.id} contradicts the slides: a finding." for each in ran if each.contradicts]
    return Table(f"Claims of the slides, judged by {whose}", ("claim", "verdict", "effect [95%]", "runs"), rows, notes).text()


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
    said = "; ".join(f"{each.claim.id}, {each.claim.title}: {_in_words(each)}" for each in found)
    return f"Forest plot of claims, effect with 95% interval, positive supports the claim. {said}."


def _chosen(ids: Sequence[str] | None, source: Source) -> list[Verdict]:
    if ids is not None:
        return [verdict(each, source) for each in ([ids] if isinstance(ids, str) else ids)]
    return [each for each in (verdict(claim.id, source) for claim in declared()) if each.outcome != "not run yet"]


def _panel(panel: Axes, unit: str, group: Sequence[Verdict]) -> None:
    panel.axvline(0, color="#595959", linewidth=0.8)
    for row, each in enumerate(group):
        if each.outcome in _MARKS:
            shape, colour = _MARKS[each.outcome]
            if each.effect.has_interval:
                panel.plot([each.effect.low, each.effect.high], [row, row], color=colour, linewidth=2, solid_capstyle="butt")
            fill = "white" if each.outcome == "undecided" else colour
            panel.plot(each.effect.mean, row, shape, color=colour, markerfacecolor=fill, markersize=8)
        if each.claim.least:
            panel.plot([each.claim.least] * 2, [row - 0.4, row + 0.4], color="#595959", linestyle="--", linewidth=0.8)
        panel.text(1.02, row, each.outcome, transform=panel.get_yaxis_transform(), va="center")
    panel.set_yticks(range(len(group)), [textwrap.fill(f"{each.claim.id} {each.claim.title}", 30) for each in group])
    panel.set_ylim(len(group) - 0.4, -0.6)  # the first on top
    panel.set_xlabel(f"effect [{unit}]; positive supports the claim")
    panel.spines[["top", "right", "left"]].set_visible(False)


def _cells(each: Verdict) -> tuple[str, str, str]:
    if each.outcome == "not run yet":
        return each.reason, "-", "-"
    return each.outcome, f"{each.effect} {each.claim.unit}", each.size


def _in_words(each: Verdict) -> str:
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
    return (f"seed {run.seed}: mean {run.mean:.3f} {unit} over {cases} case{'s' * (cases != 1)}, profile {run.profile}, "
            f"{run.hardware}, {run.date}, fmlab {run.version}{commit}{command}")
