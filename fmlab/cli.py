"""The command line: thin, each command calls one function of the package. Imports stand inside, so that ``--help`` is quick."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fmlab.errors import ClaimError, FmlabError, LessonError

app = typer.Typer(name="fmlab", help="fmlab: a course that runs, on foundation models for volumetric medical image segmentation.",
                  no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
data_app = typer.Typer(help="Real data sets by name: list, get, verify, seed.", no_args_is_help=True)
lessons_app = typer.Typer(help="For authors: build the notebooks from their sources, and check them.", no_args_is_help=True)
teach_app = typer.Typer(help="For teachers: notes, slides, a quiz key and a recall variant of a lesson, and a plan of the day.",
                        no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(teach_app, name="teach")
app.add_typer(lessons_app, name="lessons")

Folder = Annotated[Path, typer.Option(help="The folder of your notebooks and your progress.")]
Yes = Annotated[bool, typer.Option("--yes", help="Agree to licence and size without being asked.")]
Wanted = Annotated[list[str] | None, typer.Argument(help="Numbers or names of lessons; all, if none is named.")]
Written = Annotated[Path, typer.Option("-o", "--output", help="The folder to write into; what you changed is never replaced.")]
Runs = Annotated[Path, typer.Option(help="Where `fmlab run` left executed lessons, for the figures on the slides.")]
Online = Annotated[bool, typer.Option("--online/--offline", help="Let the lesson use the network.")]


def plain_streams() -> None:
    """A letter that the terminal's encoding does not have (cp1252, ASCII) is printed as \\xe9, and does not end the command."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def main() -> None:
    """Run the command line; what fmlab refuses ends in one sentence on stderr and exit code 2."""
    plain_streams()
    try:
        app()
    except FmlabError as error:
        print(f"fmlab: {error}", file=sys.stderr)
        raise SystemExit(2) from None


@app.command()
def lab(
    folder: Folder = Path("my_course"),
    lesson: Annotated[str, typer.Option(help="The lesson to open.")] = "0",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The first port to try.")] = 8888,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser.")] = True,
) -> None:
    """Copy the notebooks to your folder (never over your work) and open JupyterLab on 127.0.0.1."""
    from fmlab.lessons import lab as server
    from fmlab.lessons import source
    from fmlab.lessons.deliver import deliver

    first = source.lesson(lesson)
    for delivery in deliver(source.lessons(), folder):
        if delivery.action != "kept":
            print(delivery.note or f"{delivery.path} ({delivery.action})")
    server.start(folder, first.name, port, browser)


@app.command("list")
def list_lessons(folder: Folder = Path("my_course")) -> None:
    """The lessons, what they cost, and how far you are."""
    from fmlab.lessons.progress import summary
    from fmlab.lessons.records import read
    from fmlab.lessons.source import lessons, tutorials_folder

    there = lessons()
    if not there:
        raise LessonError(f"There are no lessons in {tutorials_folder()}; reinstall fmlab.")
    for lesson, row in zip(there, summary(read(folder / "progress.json")), strict=True):
        cost = lesson.budget
        print(f"{lesson.number}  {lesson.title}  [section {lesson.section}]")
        print(f"    {cost.minutes:g} min of yours, {cost.seconds:g} s and {cost.gigabytes:g} GB on {cost.hardware}, "
              f"{cost.download_mb:g} MB to download")
        print(f"    {row.sentence()}")


@app.command("run")
def run_lesson(
    lesson: Annotated[str, typer.Argument(help="Number or name of the lesson.")],
    html: Annotated[bool, typer.Option("--html", help="Write an HTML page too.")] = False,
    variant: Annotated[str, typer.Option(help="solution or learner.")] = "solution",
    output: Annotated[Path, typer.Option(help="Where the results go.")] = Path("runs"),
    online: Online = False,
) -> None:
    """Run a lesson without a browser; writes the executed notebook, and a page with --html."""
    from tqdm import tqdm

    from fmlab.lessons import run as runner
    from fmlab.lessons.source import lesson as find

    chosen = find(lesson)
    with tqdm(desc=chosen.name, unit="cell") as bar:
        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        result = runner.run(chosen, variant, offline=not online, pages=html, progress=show)
        bar.update((bar.total or 0) - bar.n)  # text cells after the last code cell report nothing
    print(result)
    for path in runner.write(result, output, html):
        print(path)
    if result.problems:
        raise LessonError(f"Lesson {chosen.number} ran with {len(result.problems)} problem(s); they are listed above.")


@app.command()
def doctor() -> None:
    """Python, torch, device, memory, cache, disk, widgets: what works here, and what to do about the rest."""
    from fmlab.doctor import examine

    findings = examine()
    print("\n".join(map(str, findings)))
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(1)


@app.command("view")
def view_scan(
    scan: Annotated[Path, typer.Argument(help=".nii, .nii.gz, .nrrd or a folder of DICOM slices.")],
    labels: Annotated[Path | None, typer.Argument(help="A label map on the scan's grid.")] = None,
    scheme: Annotated[str | None, typer.Option(help="What the ids mean: fmlab, totalsegmentator_v2, btcv ...")] = None,
    output: Annotated[Path | None, typer.Option(help="The page to write; a temporary file if not named.")] = None,
    browser: Annotated[bool, typer.Option("--open/--no-open", help="Open it in a browser.")] = True,
) -> None:
    """Write a page that scrolls through a scan with no network, and open it."""
    from fmlab.scan_page import write_page

    path = write_page(scan, labels, scheme, output)
    print(path)
    if browser:
        import webbrowser

        webbrowser.open(path.resolve().as_uri())


@app.command("segment")
def segment_scan(
    scan: Annotated[Path, typer.Argument(help="A CT in HU: .nii, .nii.gz, .nrrd or a folder of DICOM slices.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The label map to write, .nii.gz; names go to .json beside it.")],
    model: Annotated[str, typer.Option(help="Weights of the universal model: nano, or a file.")] = "nano",
    structures: Annotated[str, typer.Option(help="Only these, with commas between: liver,spleen.")] = "",
    reference: Annotated[Path | None, typer.Option(help="A label map to score against.")] = None,
    scheme: Annotated[str | None, typer.Option(help="What the reference's ids mean: totalsegmentator_v2, btcv ...")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
) -> None:
    """Segment a CT with the course's own small model: for teaching, not for diagnosis."""
    from fmlab.segment_scan import segment_file

    wanted = [name.strip() for name in structures.split(",") if name.strip()] or None
    print(segment_file(scan, output, model, wanted, reference, scheme, overwrite))


@app.command("report")
def report_scan(
    scan: Annotated[Path, typer.Argument(help="Your CT in HU: .nii, .nii.gz, .nrrd or a folder of DICOM slices.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="A new folder for the report and its files.")],
    reference: Annotated[Path | None, typer.Option(help="A label map to score against.")] = None,
    scheme: Annotated[str | None, typer.Option(help="What the reference's ids mean: totalsegmentator_v2, btcv ...")] = None,
    clicks: Annotated[Path | None, typer.Option(help="Clicks that correct: what canvas.save_recording wrote, or a list.")] = None,
    also: Annotated[list[Path] | None, typer.Option(help="Another scan to try the adapted model on; may be repeated.")] = None,
    also_reference: Annotated[list[Path] | None, typer.Option(help="Its labels; one for each --also, in their order.")] = None,
    method: Annotated[str, typer.Option(help="What is trained: lora, decoder, linear_probe ...")] = "lora",
    structures: Annotated[str, typer.Option(help="To adapt to, with commas between; by default those clicked on.")] = "",
    steps: Annotated[int, typer.Option(min=1, help="Of the adaptation.")] = 40,
    seed: Annotated[int, typer.Option(min=0, help="Of the adaptation.")] = 0,
    name: Annotated[str, typer.Option(help="What the scan is called in the report; no patient's name.")] = "scan",
) -> None:
    """Segment, correct, adapt to and write up a scan of yours; nothing leaves the machine, and no name is written."""
    from fmlab.own_scan import Plan, make_report
    from fmlab.own_scan.making import paired

    wanted = tuple(each.strip() for each in structures.split(",") if each.strip())
    plan = Plan(method, steps, seed=seed, structures=wanted, name=name)
    print(make_report(scan, output, reference, scheme, clicks or (), paired(also or [], also_reference or []), plan))


@app.command("claims")
def show_claims(
    claim: Annotated[list[str] | None, typer.Argument(help="In full, such as C05; without it, all in short.")] = None,
    own: Annotated[bool, typer.Option("--own", help="Your own runs (in FMLAB_DATA/ledger), not those that ship.")] = False,
    rerun: Annotated[str, typer.Option(help="Run this claim's experiment here, into your own ledger.")] = "",
    seeds: Annotated[list[str] | None, typer.Option(help="For --rerun: --seeds 0 1 2; without it, 0.")] = None,
    again: Annotated[bool, typer.Option("--again", help="For --rerun: also seeds that your ledger has already.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write all claims, with their runs, as one page.")] = None,
) -> None:
    """What the slides claim, what our experiments measured, and the verdict computed from it."""
    from fmlab.lessons.claims import details, overview, page
    from fmlab.lessons.claims.rerun import rerun as run_again
    from fmlab.lessons.claims.rerun import seeds_of

    source = "own" if own else "shipped"
    if rerun:
        print(run_again(rerun, seeds_of([*(seeds or []), *(claim or [])]), again))  # words after --seeds 0 are seeds too
    elif seeds or again:
        raise ClaimError("--seeds and --again belong to --rerun; name the claim, such as --rerun C05.")
    elif html:
        print(page.write(html, source))
    else:
        print("\n\n".join(details(each, source) for each in claim or []) or overview(source))


@app.command("site")
def write_site(
    words: Annotated[list[str] | None, typer.Argument(metavar="[FOLDER]", help="What to write; site if not named.")] = None,
    lessons: Annotated[str, typer.Option(metavar="NN [NN ...]", help="Only these: 0 5, or 0,5; pages that are there stay.")] = "",
    run: Annotated[bool, typer.Option("--run/--no-run", help="Execute what is not in the cache; else its page has no outputs, "
                                                             "and says so.")] = True,
    fresh: Annotated[bool, typer.Option("--fresh", help="Execute again what is in the cache: after a change of code.")] = False,
    cache: Annotated[Path | None, typer.Option(help="Where executed lessons are kept; FMLAB_DATA/site if not named.")] = None,
) -> None:
    """Build the course as static pages: executed, offline, with viewers that scroll; open index.html in a browser."""
    from fmlab.site.command import write

    for line in write(words or [], lessons, run, fresh, cache):
        print(line)


@data_app.command("list")
def data_list() -> None:
    """Every known data set: in the cache or not, size, licence, what it holds."""
    from fmlab.hub import data

    for entry in data.registry():
        print(f"{entry.name:<32} {data.status(entry):<8} {entry.size / 1e6:8.1f} MB  {entry.licence}\n    {entry.holds}")


@data_app.command("get")
def data_get(name: str, yes: Yes = False) -> None:
    """Bring a data set into the cache, after licence and size were shown."""
    from fmlab.hub import data

    print(data.fetch(name, confirm=True if yes else None))


@data_app.command("verify")
def data_verify(name: Annotated[str, typer.Argument(help="A data set, or all.")] = "all") -> None:
    """Check the bytes of what is in the cache; a corrupt file is moved aside."""
    from fmlab.hub import data

    checks = [check for check in data.verify(name) if name != "all" or check.state != "absent"]
    print("\n".join(map(str, checks)) or "The cache is empty.")
    if any(check.state == "corrupt" for check in checks):
        raise typer.Exit(1)


@data_app.command("seed")
def data_seed(folder: Path) -> None:
    """Copy data sets that lie in a folder (a USB stick, a shared drive) into the cache."""
    from fmlab.hub import data

    copied = data.seed_cache(folder)
    print("\n".join(map(str, copied)) or "Nothing new was found there.")


@teach_app.command("kit")
def teach_kit(lessons: Wanted = None, output: Written = Path("teaching"), runs: Runs = Path("runs")) -> None:
    """Everything for these lessons: notes, slides, key, recall variant, and the plan."""
    _teach(lessons, output, ("notes", "slides", "key", "recall"), runs)
    teach_plan(output)


@teach_app.command("notes")
def teach_notes(lessons: Wanted = None, output: Written = Path("teaching")) -> None:
    """The teacher's notebook: notes, solutions, hints, what people get wrong."""
    _teach(lessons, output, ("notes",))


@teach_app.command("slides")
def teach_slides(lessons: Wanted = None, output: Written = Path("teaching"), runs: Runs = Path("runs")) -> None:
    """One HTML file a lesson, without a network; keys: arrows, Home, End, N notes, W notes in a window, D dark."""
    _teach(lessons, output, ("slides",), runs)


@teach_app.command("key")
def teach_key(lessons: Wanted = None, output: Written = Path("teaching")) -> None:
    """Every question with the right option and why each other one is wrong; and a sheet of questions to hand out."""
    _teach(lessons, output, ("key",))


@teach_app.command("recall")
def teach_recall(lessons: Wanted = None, output: Written = Path("teaching")) -> None:
    """The learner's notebook from memory: headings and exercises, no text, no example."""
    _teach(lessons, output, ("recall",))


@teach_app.command("plan")
def teach_plan(output: Annotated[Path | None, typer.Option("-o", "--output", help="Write it there too.")] = None) -> None:
    """Half a day and a whole day: lessons, minutes, breaks, what to leave out, what the machines need."""
    from fmlab.lessons.teaching import kit
    from fmlab.lessons.teaching.plan import markdown

    print("\n".join(map(str, kit.teach_plan(output))) if output else markdown())


def _teach(wanted: list[str] | None, output: Path, kinds: tuple[str, ...], runs: Path | None = None) -> None:
    from fmlab.lessons.source import lesson, lessons
    from fmlab.lessons.teaching.kit import teach

    chosen = [lesson(name) for name in wanted] if wanted else lessons()
    print("\n".join(map(str, teach(chosen, output, kinds, runs))) or f"Nothing has changed in {output}.")


@lessons_app.command("build")
def lessons_build() -> None:
    """Write the learner's notebook beside each tutorials/NN_name.py."""
    from fmlab.lessons.build import build

    print("\n".join(f"wrote {path}" for path in build()) or "All notebooks are up to date.")


@lessons_app.command("check")
def lessons_check() -> None:
    """Say what a lesson breaks: stale notebooks, lengths, exercises, hints, solutions, quizzes."""
    from fmlab.lessons.build import stale
    from fmlab.lessons.lint import lint
    from fmlab.lessons.source import lessons

    found = [*stale(), *(sentence for lesson in lessons() for sentence in lint(lesson))]
    print("\n".join(found) or "All lessons are in order.")
    if found:
        raise typer.Exit(1)


if __name__ == "__main__":
    main()
