"""The whole ledger as one HTML page: a forest of all claims, then each with its definition, quotes, runs and settings.

One file without script, fonts or network: it opens from disk, follows the light or dark theme, and prints. The verdicts are
computed when it is written, as everywhere.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from fmlab.errors import ClaimError
from fmlab.lessons.claims.declared import declared
from fmlab.lessons.claims.ledger import Run, Source, runs
from fmlab.lessons.claims.shown import in_words
from fmlab.lessons.claims.verdicts import Verdict, judge
from fmlab.lessons.files import write_bytes

TEMPLATE = Path(__file__).with_name("page.html")
Link = Callable[[str], str | None]  # number of a lesson -> where it lies, seen from the page; None: nowhere
_SHAPES = {"holds": ("holds", '<circle cx="{x:.1f}" cy="14" r="5"/>'),
           "does not hold": ("not", '<rect x="{left:.1f}" y="9" width="10" height="10"/>'),
           "undecided": ("open", '<path stroke-width="2" d="M {x:.1f} 8 l 6 6 l -6 6 l -6 -6 z"/>')}
_WIDE, _EDGE = 240, 12  # pixels of a picture, and of its margin


def html(source: Source = "shipped", link: Link | None = None) -> str:
    """The page as text. link: where a lesson lies, for instance of a site; by default none is linked."""
    from jinja2 import Environment
    from markupsafe import Markup

    found = [(claim, runs(claim.id, source)) for claim in declared()]
    verdicts = [judge(claim, stored) for claim, stored in found]
    scales = {unit: _scale([each for each in verdicts if each.claim.unit == unit]) for unit in _units(verdicts)}
    rows = []
    for each, (claim, stored) in zip(verdicts, found):
        drawn = Markup(picture(each, *scales[claim.unit])) if each.outcome in _SHAPES else "-"
        rows.append({"claim": claim, "outcome": each.outcome, "effect": str(each.effect) if each.seeds else "-", "picture": drawn,
                     "evidence": each.evidence, "reason": each.reason, "contradicts": each.contradicts,
                     "settings": _settings(stored), "runs": [_run(run) for run in stored],
                     "href": link(claim.lesson) if link else None})
    groups = [{"unit": unit, "rows": [row for row in rows if row["claim"].unit == unit]} for unit in scales]
    whose = {"shipped": "the runs that ship", "own": "your own runs", "all": "all runs"}[source]
    template = Environment(autoescape=True, trim_blocks=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(claims=rows, groups=groups, whose=whose, ran=sum(bool(each.seeds) for each in verdicts)) + "\n"


def write(path: Path, source: Source = "shipped", link: Link | None = None) -> Path:
    """Write the page, whole or not at all, and return its path. link: by default to the lesson's page beside it, or its notebook.

    Raises ClaimError where it cannot be written.
    """
    path = Path(path)
    content = html(source, link or (lambda number: lesson_beside(path, number)))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content.encode())
    except OSError as error:
        raise ClaimError(f"The page {path} cannot be written ({error}); name another place with --html.") from error
    return path


def lesson_beside(page: Path, number: str) -> str | None:
    """The lesson's page in the folder of ``page``, else its notebook in the course's folder; None where there is neither."""
    from fmlab.lessons.source import tutorials_folder

    folder = page.parent.resolve()
    for there in (*sorted(folder.glob(f"{number}_*.html")), *sorted(tutorials_folder().glob(f"{number}_*.ipynb"))):
        try:
            return Path(os.path.relpath(there, folder)).as_posix()
        except ValueError:  # another drive of Windows
            return there.as_uri()
    return None


def picture(each: Verdict, low: float, high: float) -> str:
    """A verdict's mark and interval on the scale from low to high, as an SVG that says in words what it shows."""
    from html import escape

    def at(value: float) -> float:
        return _EDGE + (value - low) / (high - low) * (_WIDE - 2 * _EDGE)

    kind, shape = _SHAPES[each.outcome]
    effect = each.effect
    lines = [f'<line class="zero" x1="{at(0):.1f}" x2="{at(0):.1f}" y1="0" y2="28"/>']
    if each.claim.least:
        lines.append(f'<line class="least" x1="{at(each.claim.least):.1f}" x2="{at(each.claim.least):.1f}" y1="0" y2="28"/>')
    if effect.has_interval:
        lines.append(f'<line class="{kind}" x1="{at(effect.low):.1f}" x2="{at(effect.high):.1f}" y1="14" y2="14"/>')
    mark = shape.format(x=at(effect.mean), left=at(effect.mean) - 5)
    return (f'<svg viewBox="0 0 {_WIDE} 28" role="img" aria-label="{escape(in_words(each))}">{"".join(lines)}'
            f'<g class="{kind}">{mark}</g></svg>')


def _units(verdicts: Sequence[Verdict]) -> list[str]:
    return list(dict.fromkeys(each.claim.unit for each in verdicts))


def _scale(group: Sequence[Verdict]) -> tuple[float, float]:
    """From the least to the most that claims of one unit have to show, zero included."""
    ends = [0.0]
    for each in group:
        if each.seeds:
            ends += [each.effect.mean, each.claim.least]
            ends += [each.effect.low, each.effect.high] if each.effect.has_interval else []
    return min(ends), max(ends) if max(ends) > min(ends) else min(ends) + 1


def _settings(stored: Sequence[Run]) -> list[str]:
    """The settings of the runs, each in a line, those that are equal once."""
    found = [run.details.get("setting") for run in stored]
    lines = [", ".join(f"{key} = {json.dumps(value)}" for key, value in each.items()) for each in found if isinstance(each, dict)]
    return list(dict.fromkeys(lines))


def _run(run: Run) -> dict[str, object]:
    """What the template shows of a run: its fields, and its numbers as JSON."""
    numbers = {"values": dict(run.values), "details": {key: value for key, value in run.details.items() if key != "setting"}}
    shown = ("seed", "mean", "date", "profile", "hardware", "version", "commit", "command", "seconds", "by_case")
    return {name: getattr(run, name) for name in shown} | {"numbers": json.dumps(numbers, indent=1)}
