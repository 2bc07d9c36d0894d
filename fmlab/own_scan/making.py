"""The whole way, from a file to a folder with a report; either all of it is written, or nothing."""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from fmlab import __version__, grids, scan_files
from fmlab.adaptation.attach import METHODS
from fmlab.errors import ModelError, ScanError
from fmlab.own_scan import page
from fmlab.own_scan.clicks import Click, as_json, read_clicks
from fmlab.own_scan.correcting import correct
from fmlab.own_scan.reading import NEUTRAL, Own, checked_name, read_own, taken, without_names
from fmlab.own_scan.shot import KNOWN, Adapted, adapt_to, applied, base, best_cut, halves, millilitres, worth_learning, zero_shot
from fmlab.own_scan.sources import sources
from fmlab.vocabulary import structure
from fmlab.volume import Volume

Scan = str | Path | Volume
Other = tuple[Scan, str | Path | None]


@dataclass(frozen=True)
class Plan:
    """What is done. method, steps, cubes, seed: of the adaptation. decoder: tune it too; None: where a structure is new to the
    base model, as lesson 17 advises. structures: to adapt to; by default those clicked on, else the largest. name: in the files.
    overlap: of the zero-shot model's cubes. simulated: whether the clicks were. Raises ScanError, ModelError or VocabularyError
    for a name, a method or a structure that will not do."""

    method: str = "lora"
    steps: int = 40
    cubes: int = 12
    seed: int = 0
    decoder: bool | None = None
    structures: tuple[str, ...] = ()
    name: str = NEUTRAL
    overlap: float = 0.25
    simulated: bool = False

    def __post_init__(self) -> None:
        checked_name(self.name)
        if self.method not in METHODS:
            raise ModelError(f"No method is called {self.method!r}; choose one of {', '.join(METHODS)}.")
        object.__setattr__(self, "structures", tuple(structure(name).name for name in self.structures))


@dataclass(frozen=True)
class Answers:
    """Of one tested volume: title -> labels, and the reference, where there is one."""

    by_title: dict[str, Volume]
    reference: Volume | None


def make_report(scan: Scan, folder: str | Path, reference: str | Path | None = None, scheme: str | None = None,
                clicks: str | Path | Sequence[Click] = (), others: Sequence[Other] = (), plan: Plan | None = None,
                found: Volume | None = None, tell: Callable[[str], None] = print) -> Path:
    """Read, segment, correct, adapt, apply and write ``folder``/report.html, with labels, clicks and adapter beside it.

    scan: a file, a DICOM folder, or a Volume (whose labels are its reference). folder: a new or an empty one. reference, scheme:
    labels to score against, and what their ids mean. clicks: a list, or a file of them. others: further scans, each with its
    labels or None, that the adapted model is tried on; by default the part of the scan that did not teach. found: the scan with
    ``zero_shot``'s labels, where that has run already.

    Raises ScanError, PromptError, ModelError, DataError or VocabularyError, with nothing written.
    """
    plan, target, begun = plan or Plan(), _free(Path(folder)), time.monotonic()
    mine = _own(scan, reference, scheme, plan.name)
    tried = [_own(path, labels, scheme, f"{plan.name}-{number}") for number, (path, labels) in enumerate(others, 2)]
    made = read_clicks(clicks, mine.volume) if isinstance(clicks, str | Path) else list(clicks)
    for click in made:
        click.voxel(mine.volume)  # outside it is refused before any work
    tell(f"{mine.volume}, {len(made)} clicks")
    found = zero_shot(mine.volume, plan.overlap) if found is None else mine.volume.with_labels(without_names(found, plan.name))
    tell(f"zero-shot: {len(found.structures)} structures")
    fixed = correct(found, made) if made else found
    wanted = plan.structures or tuple(dict.fromkeys(click.structure for click in made))
    cut = best_cut(fixed, wanted or worth_learning([fixed]))
    shot, tested = (fixed, tried) if tried else _parts(mine, fixed, made, cut)
    names = worth_learning([shot] if tried else [shot, tested[0].volume], wanted)
    new = [name for name in names if name not in KNOWN]
    decoder = bool(new) if plan.decoder is None else plan.decoder
    adapted = adapt_to(shot, names, plan.method, decoder, plan.steps, plan.cubes, plan.seed)
    tell(f"adapted to {', '.join(names)}: {adapted.adapter.count:,} numbers, {adapted.seconds:.0f} s")
    start_from = base()
    if tried:
        answers = [_answers(one, adapted, start_from, zero_shot(one.volume, plan.overlap)) for one in tested]
    else:  # the models look at the whole scan, as a thin part shows them little of a body, and are judged in the other part
        seen = _answers(Own(mine.volume), adapted, start_from, found)
        answers = [Answers({title: _same(labels, tested[0].volume, cut) for title, labels in seen.by_title.items()},
                           tested[0].reference)]
    models = ["universal", *(["sam"] if made else []), "fseft"]
    origin = scan.info if isinstance(scan, Volume) else {}
    said = _settings(plan, decoder, names, adapted.adapter.base_hash, bool(reference), bool(made), len(tried))
    content = {
        "name": plan.name, "version": __version__, "date": page.today(), "findings": mine.findings, "privacy": page.PRIVACY,
        "scan": page.scan_table(mine.volume), "zero": page.zero_shot_section(found, mine.reference),
        "corrected": page.corrected_section(found, fixed, made, mine.reference, plan.simulated),
        "adapted": page.adapted_section(adapted, [(one.by_title, one.reference) for one in answers], new, not tried),
        "settings": page.settings(said, time.monotonic() - begun), "sources": page.grouped(sources(models, plan.method, origin)),
        "short": _short(found, made, names, answers, not tried),
        "alone": page.alone(sum(one.reference is not None for one in answers), not tried)}
    ml = {what: millilitres(volume, sorted(volume.annotated)) for what, volume in (("zero-shot", found), ("corrected", fixed))}
    numbers = {"name": plan.name, "settings": dict(content["settings"]), "structures": list(names), "ml": ml,
               "losses": list(adapted.losses),
               "tables": {what: [list(row) for row in each["rows"]] for what, each in (
                   ("zero-shot", content["zero"]["table"]), ("corrected", content["corrected"]["table"] or {"rows": []}),
                   *((each["caption"], each) for each in content["adapted"]["tables"]))}}
    files = {"labels-zero-shot": found, "labels-corrected": fixed} if made else {"labels-zero-shot": found}
    files |= {f"labels-adapted-{number}" if tried else "labels-adapted-part": one.by_title["adapted"]
              for number, one in enumerate(answers, 2)}
    return _write(target, page.render(content), numbers, files, made, adapted)


def paired(scans: Sequence[Path], labels: Sequence[Path]) -> list[Other]:
    """Each further scan with its labels. ScanError where there are labels for some of them only."""
    if labels and len(labels) != len(scans):
        raise ScanError(f"{len(labels)} references were given for {len(scans)} further scans; give one for each, in their order, "
                        "or none.")
    return list(zip(scans, labels or [None] * len(scans)))


def _own(scan: Scan, labels: str | Path | None, scheme: str | None, name: str) -> Own:
    """Read, or taken as it is, without names."""
    if not isinstance(scan, Volume):
        return read_own(scan, labels, scheme, name)
    if labels is not None:
        raise ScanError("A Volume brings its own labels as its reference; give a reference's file with a scan's file only.")
    return taken(scan, name)


def _parts(mine: Own, fixed: Volume, clicks: Sequence[Click], cut: int) -> tuple[Volume, list[Own]]:
    """The shot, which is the part of the scan with more clicks, and the other one, on which it is tried."""
    both = halves(fixed, cut)
    shot = 0 if 2 * sum(click.voxel(fixed)[2] < cut for click in clicks) >= len(clicks) else 1
    rest = both[1 - shot]
    return both[shot], [Own(rest, None if mine.reference is None else _same(mine.reference, rest, cut))]


def _same(whole: Volume, part: Volume, cut: int) -> Volume:
    """That part of another labelling of the scan."""
    return next(half for half in halves(whole, cut) if half.name == part.name)


def _answers(one: Own, adapted: Adapted, start_from: nn.Module, universal: Volume) -> Answers:
    """What the universal model, the base model and the adapted one say of a tested volume."""
    said = {"universal, zero-shot": universal}
    if known := [name for name in adapted.structures if name in KNOWN]:
        said["base, zero-shot"] = applied(start_from, one.volume, known)
    return Answers(said | {"adapted": applied(adapted.model, one.volume, adapted.structures)}, one.reference)


def _short(found: Volume, clicks: Sequence[Click], names: Sequence[str], answers: Sequence[Answers], half: bool) -> list[str]:
    """The report in three lines."""
    where = "the part of the scan that did not teach" if half else f"{len(answers)} other scan{'s' * (len(answers) != 1)}"
    return [f"{len(found.structures)} structures were found by a model that never saw a patient.",
            f"{len(clicks)} clicks corrected {len({click.structure for click in clicks})} of them." if clicks else
            "Nothing was corrected.",
            f"A base model was adapted to {', '.join(name.replace('_', ' ') for name in names)} and tried on {where}."]


def _settings(plan: Plan, decoder: bool, names: Sequence[str], base_hash: str, reference: bool, clicks: bool,
              others: int) -> dict[str, object]:
    """The plan as it was carried out, and a command that repeats it; paths are left out, as they may hold names."""
    command = "fmlab report SCAN -o FOLDER" + " --reference LABELS --scheme SCHEME" * reference + " --clicks CLICKS" * clicks
    command += " --also SCAN" * others + f" --method {plan.method} --steps {plan.steps} --seed {plan.seed}"
    return {"method": plan.method + (" + decoder" if decoder else ""), "structures": ", ".join(names), "steps": plan.steps,
            "cubes of the shot": plan.cubes, "seed": plan.seed, "hash of the base model's weights": base_hash, "command": command}


def _free(folder: Path) -> Path:
    """ScanError unless the folder is new or empty, and its parent is there."""
    if folder.is_dir() and any(folder.iterdir()):
        raise ScanError(f"{folder} is not empty, and what is in it was left as it is; name a new folder.")
    if folder.exists() and not folder.is_dir():
        raise ScanError(f"{folder} is a file, which was left as it is; name a new folder.")
    if not folder.resolve().parent.is_dir():
        raise ScanError(f"{folder}: the folder {folder.parent} does not exist; make it first.")
    return folder


def _write(folder: Path, text: str, numbers: dict, labels: dict[str, Volume], clicks: Sequence[Click],
           adapted: Adapted) -> Path:
    """All files under a temporary name beside the folder, then renamed at once."""
    draft = folder.resolve().parent / f".fmlab-{uuid.uuid4().hex}"
    try:
        draft.mkdir()
        for name, volume in labels.items():
            values, affine = grids.from_ras(volume.labels[0].cpu().numpy(), volume.affine,
                                            str(volume.info.get("orientation", "RAS")))
            comment = {"name": volume.name, "annotated": sorted(volume.annotated or ())}
            scan_files.write_nifti(draft / f"{name}.nii.gz", values, affine, comment, False)
        if clicks:
            _json(draft / "clicks.json", {"clicks": as_json(clicks)})
        _json(draft / "numbers.json", numbers)
        adapted.adapter.save(draft / "adapter.safetensors")
        (draft / "report.html").write_text(text, encoding="utf-8")
        if folder.is_dir():
            folder.rmdir()  # empty, as was checked; else it is refused here
        os.replace(draft, folder)
    except OSError as error:
        raise ScanError(f"{folder} cannot be written ({error.strerror or error}); check the disk and the folder's rights."
                        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder / "report.html"


def _json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
