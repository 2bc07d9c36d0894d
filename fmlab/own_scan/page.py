"""The report as one HTML file: no script, no font and no picture from elsewhere; light and dark; on paper too."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

import fmlab
from fmlab import metrics
from fmlab.hardware import hardware
from fmlab.own_scan import pictures
from fmlab.own_scan.clicks import Click
from fmlab.own_scan.shot import Adapted, millilitres
from fmlab.own_scan.sources import LIBRARIES, Source, installed
from fmlab.settings import device
from fmlab.viewer.planes import plane_named
from fmlab.volume import Volume

TEMPLATE = Path(__file__).with_name("page.html")
PRIVACY = (
    "Everything was computed on this machine, and nothing was sent anywhere. This page loads nothing: its policy forbids it.",
    "Of the scan's files only voxels, their places in mm and the kind of machine were read on. No name, number, date, comment, "
    "path or file name of them is in the files of this folder.",
    "The voxels themselves were not looked at for identity: a face in a head scan, or text burnt into the picture, would remain "
    "in the pictures above. An outline of organs is a person's, too.",
    "The adapter was trained on this scan. What a network learnt from a patient is to be kept as the patient's data is.",
)
_GROUPS = {"weights": "Weights", "method": "Methods", "data": "Data", "software": "Software"}


def render(content: Mapping[str, object]) -> str:
    """The page as text, of what ``content`` of this module gives."""
    from jinja2 import Environment

    template = Environment(autoescape=True, trim_blocks=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(**content) + "\n"


def scan_table(volume: Volume) -> dict:
    """Its grid and values."""
    image = volume.image
    sides = [f"{n * step:.0f}" for n, step in zip(volume.shape, volume.spacing)]
    rows = [("voxels", " x ".join(map(str, volume.shape))), ("their size, mm", " x ".join(f"{s:.3g}" for s in volume.spacing)),
            ("field of view, mm", " x ".join(sides)), ("axes in the file", str(volume.info.get("orientation", "RAS"))),
            ("kind", volume.modality), ("values, HU", f"{float(image.min()):.0f} to {float(image.max()):.0f}")]
    return {"caption": "As it was read", "head": ("", "found"), "rows": rows}


def zero_shot_section(found: Volume, reference: Volume | None) -> dict:
    """Pictures and volumes of everything that was found."""
    ml = {name: value for name, value in millilitres(found, sorted(found.annotated)).items() if value}
    scores = _dice(found, reference, list(ml))
    rows = [(name.replace("_", " "), f"{value:.1f}", *((scores[name],) if reference else ()))
            for name, value in sorted(ml.items(), key=lambda pair: -pair[1])]
    head = ("structure", "ml", *(("Dice",) if reference else ()))
    return {"rows": pictures.overview(found), "legend": pictures.legend([found]),
            "table": {"caption": "Volumes, parts included" + (", and Dice against the reference, n = 1" if reference else ""),
                      "head": head, "rows": rows}}


def corrected_section(found: Volume, fixed: Volume, clicks: Sequence[Click], reference: Volume | None, simulated: bool) -> dict:
    """The clicked slices before and after, and what the clicks changed."""
    if not clicks:
        return {"text": "No click was made. The labels of section 2 are used as they are, mistakes included: what learns from "
                        "them learns these, too.", "rows": [], "legend": [], "table": None}
    names = list(dict.fromkeys(click.structure for click in clicks))
    before, after = pictures.only(found, names), pictures.only(fixed, names)
    maps = {"zero-shot": before, "corrected": after}
    rows = [pictures.row(maps, *key, clicks) for key in pictures.clicked_slices(clicks, found)]
    slices = {(click.axis, click.voxel(found)[plane_named(click.axis).axis]) for click in clicks}
    was, now = millilitres(found, names), millilitres(fixed, names)
    scores = [_dice(volume, reference, names) for volume in (found, fixed)]
    count = {name: sum(click.structure == name for click in clicks) for name in names}
    cells = [(name.replace("_", " "), str(count[name]), f"{was[name]:.1f}", f"{now[name]:.1f}",
              *([each[name] for each in scores] if reference else ())) for name in names]
    head = ("structure", "clicks", "ml before", "ml after", *(("Dice before", "Dice after") if reference else ()))
    who = ("They were simulated, in the middle of the largest error, by somebody who knew the reference. That flatters: a person "
           "sees picture and mask only." if simulated else "They were made by a person or read from a file.")
    text = (f"{_count(len(clicks), 'click')} on {_count(len(slices), 'slice')}. {who} A small SAM says what lies under a click; "
            "what changed on a slice is carried on to its neighbours, less and less.")
    return {"text": text, "rows": rows, "legend": pictures.legend([before, after]),
            "table": {"caption": "Before and after" + (", Dice against the reference, n = 1" if reference else ""), "head": head,
                      "rows": cells}}


def adapted_section(adapted: Adapted, tested: Sequence[tuple[Mapping[str, Volume], Volume | None]], new: Sequence[str],
                    second_part: bool) -> dict:
    """What was trained, pictures of what it was not shown, and the numbers.

    tested: for each tested volume its answers by title, and its reference. new: structures that the base model does not know.
    """
    adapter, names = adapted.adapter, adapted.structures
    where = "the other part of the same scan" if second_part else _count(len(tested), "other scan")
    fresh = f" New to the base model: {', '.join(_words(new))}; their rows of the head began at random." if new else ""
    text = (f"The corrected labels of {', '.join(_words(names))} were one shot for {adapter.method.replace('_', ' ')}"
            f"{' with the decoder' if adapter.decoder else ''}: {adapter.count:,} numbers, {len(adapted.losses)} steps, "
            f"{adapted.seconds:.0f} s. It was tried on {where}.{fresh}")
    maps = [{title: pictures.only(answer, names) for title, answer in answers.items()} for answers, _ in tested[:2]]
    rows = [pictures.row(each, "axial", pictures.busiest(each)) for each in maps]
    references = [(answers, reference) for answers, reference in tested if reference is not None]
    tables = [_volumes(tested[0][0], names, "the other part" if second_part else "the first other scan")]
    if references:
        tables.insert(0, _scored(references, names))
    return {"text": text, "rows": rows, "legend": pictures.legend([volume for each in maps for volume in each.values()]),
            "tables": tables, "curve": _safe(pictures.losses_svg(adapted.losses)), "note": alone(len(references), second_part)}


def alone(cases: int, second_part: bool) -> str:
    """What so few cases cannot say; "" where there are enough for an interval."""
    if cases == 0:
        return "n = 0: there is no reference for what was tried, so nothing says how right it is. Volumes are no evidence."
    if second_part:
        return ("n = 1, and it is another part of the person who taught. There is no interval, and this says nothing about "
                "other people.")
    if cases == 1:
        return "n = 1: one scan has no interval, and this is an anecdote, not an estimate."
    return f"n = {cases}: the intervals resample {cases} people, who are few; they are wider in truth than they look."


def settings(plan: Mapping[str, object], seconds: float) -> list[tuple[str, str]]:
    """Versions, seeds, hardware and the command; without any path."""
    versions = ", ".join(f"{name} {installed(name)}" for name in LIBRARIES)
    said = [("fmlab", fmlab.__version__), ("Python", platform.python_version()), ("libraries", versions),
            ("device", str(device())), ("hardware", hardware()), ("seconds in all", f"{seconds:.0f}")]
    return said + [(name.replace("_", " "), str(value)) for name, value in plan.items()]


def grouped(found: Sequence[Source]) -> list[tuple[str, list[Source]]]:
    """Sources under their headings."""
    order = list(_GROUPS)
    ordered = sorted(found, key=lambda one: order.index(one.what))
    return [(_GROUPS[what], list(rows)) for what, rows in groupby(ordered, key=lambda one: one.what)]


def today() -> str:
    """The day, in UTC."""
    return datetime.now(UTC).date().isoformat()


def _scored(tested: Sequence[tuple[Mapping[str, Volume], Volume]], names: Sequence[str]) -> dict:
    """Dice by structure and answer; with intervals from two cases on."""
    titles = list(tested[0][0])
    found = {title: {reference.name: metrics.evaluate(answers[title], reference, names) for answers, reference in tested}
             for title in titles}
    rows = []
    for name in names:
        cells = []
        for title in titles:
            if name not in tested[0][0][title].annotated:
                cells.append("not known")
                continue
            summary = metrics.summarise(found[title])
            cells.append(next((row.dice.format(2) for row in summary.rows if row.structure == name), "-"))
        rows.append((name.replace("_", " "), *cells))
    interval = ", 95% interval over people" if len(tested) > 1 else ""
    return {"caption": f"Dice against the reference, n = {len(tested)}{interval}", "head": ("structure", *titles), "rows": rows}


def _volumes(answers: Mapping[str, Volume], names: Sequence[str], where: str) -> dict:
    rows = [(name.replace("_", " "), *(f"{millilitres(answer, [name])[name]:.1f}" if name in answer.annotated else "not known"
                                       for answer in answers.values())) for name in names]
    return {"caption": f"Volumes in {where}, ml", "head": ("structure", *answers), "rows": rows}


def _dice(found: Volume, reference: Volume | None, names: Sequence[str]) -> dict[str, str]:
    """Structure -> Dice in words, "-" where it is not to be scored."""
    if reference is None:
        return {}
    return {score.structure: f"{score.dice:.2f}" if score.scored else "-" for score in metrics.evaluate(found, reference, names)}


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _words(names: Sequence[str]) -> list[str]:
    return [name.replace("_", " ") for name in names]


def _safe(markup: str):
    from markupsafe import Markup

    return Markup(markup)
