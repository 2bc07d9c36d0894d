"""Write the site: pages for the chosen lessons, the home page, the search index, and the files that all pages share."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from fmlab.errors import LessonError
from fmlab.lessons.claims import page as claims_page
from fmlab.lessons.files import write_bytes
from fmlab.lessons.source import Lesson, lesson, lessons
from fmlab.site import outline
from fmlab.site.executed import cache_folder, executed
from fmlab.site.frame import WEB, redirected, render, way
from fmlab.site.headings import sections
from fmlab.site.pages import LIMIT, lesson_page
from fmlab.systems import AXES
from fmlab.viewer import static

MARK = ".fmlab-site"  # stands in a folder that we may write over
SHARED = ("site.css", "theme.js", "page.js", "find.js")
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Built:
    """A page that was written. problem: why it has no outputs, "" if it has them or none were asked for."""

    path: Path
    ran: bool
    problem: str = ""

    def __str__(self) -> str:
        size = self.path.stat().st_size
        large = f", more than a page's {LIMIT / 1e6:g} MB: show fewer or smaller figures" if size > LIMIT else ""
        return f"{self.path}  {size / 1e6:.2f} MB{large}{'' if self.ran else ', without outputs'}"


def build(folder: Path, chosen: Sequence[str] = (), run: bool = True, fresh: bool = False, cache: Path | None = None,
          progress: Progress | None = None, course: Path | None = None) -> tuple[Built, ...]:
    """Write the pages of the chosen lessons (default: all) and bring home, search and links up to date; returns the pages.

    Pages of other lessons that are in the folder stay. run: execute what is not in the cache. fresh: execute in any case.
    cache: where executed lessons are kept. progress: called with a lesson's name, cells done and cells in all. course: where the
    lessons' sources lie. Raises LessonError for an unknown lesson, or a folder that is not ours or cannot be written.
    """
    everything = lessons(course)
    wanted = [lesson(number, course) for number in dict.fromkeys(chosen)] or list(everything)
    if not wanted:
        raise LessonError(f"There are no lessons in {course or 'the course'}; reinstall fmlab, or name a folder that has some.")
    try:
        _claim(folder)
        numbers = {one.number for one in wanted}
        built = [one for one in everything if one.number in numbers or (folder / f"{one.name}.html").is_file()]
        pages = []
        for one in sorted(wanted, key=lambda one: one.number):
            report = (lambda done, total, name=one.name: progress(name, done, total)) if progress else None
            made = executed(one, cache or cache_folder(), run, fresh, report)
            path = folder / f"{one.name}.html"
            write_bytes(path, lesson_page(one, made, built).encode())
            pages.append(Built(path, made.ran, made.problem))
        _share(folder)
        _bring_together(folder, everything, built)
    except OSError as error:
        raise LessonError(f"The site cannot be written to {folder} ({error}); name another folder.") from error
    return tuple(pages)


def _claim(folder: Path) -> None:
    """Make the folder ours, or refuse one that holds something else."""
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / MARK).is_file())):
        raise LessonError(f"{folder} holds files that `fmlab site` did not write; name an empty or a new folder.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()


def _share(folder: Path) -> None:
    """Style, scripts and the viewer's module, which a page opened from disk can load only as a plain script."""
    for name in SHARED:
        shutil.copyfile(WEB / name, folder / name)
    module = static.module().replace("export default ", "const viewer = ")
    script = f"window.fmlabViewer = (() => {{\n{module}\nreturn viewer;\n}})();\nwindow.fmlabStandIn = {static.stand_in()}"
    write_bytes(folder / "viewer.js", script.encode())
    write_bytes(folder / "viewer.css", static.style().encode())


def _bring_together(folder: Path, everything: Sequence[Lesson], built: Sequence[Lesson]) -> None:
    """Home, ledger, links between neighbours, and the index over all pages that are there."""
    files = {one.number: f"{one.name}.html" for one in built}
    mains = {}
    for one in built:
        path = folder / files[one.number]
        page = path.read_text(encoding="utf-8")
        linked = redirected(page, way(one, built))
        if linked != page:
            write_bytes(path, linked.encode())
        mains[path.name, f"{one.number} · {one.title}"] = page[page.index("<main"):page.index("</main>")]
    ledger = _ledger(files)
    mains["claims.html", "Claims"] = ledger
    write_bytes(folder / "claims.html", render("claims.html.j2", body=ledger, live=False, title="Claims", home=True).encode())
    index = [[number, part.anchor, " ".join(part.title.split()), part.text]
             for number, main in enumerate(mains.values()) for part in sections(main) if part.text]
    content = json.dumps({"pages": list(mains), "sections": index}, ensure_ascii=False, separators=(",", ":"))
    write_bytes(folder / "search.js", f"window.fmlabIndex = {content};\n".encode())
    home = render("home.html.j2", parts=outline.parts(everything, files.values()), grid=outline.grid(files), depths=AXES["B"],
                  live=False, title="fmlab", home=True)
    write_bytes(folder / "index.html", home.encode())


def _ledger(files: Mapping[str, str]) -> Markup:
    """The main part of the claims' own page, its lessons linked to their pages here."""
    page = claims_page.html(link=files.get)
    return Markup(page[page.index(">", page.index("<main")) + 1:page.index("</main>")])
