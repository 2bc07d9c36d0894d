"""What ``fmlab site`` does: its words to a folder and lessons, a progress bar, and one line a page."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from fmlab.errors import LessonError
from fmlab.lessons.source import lesson
from fmlab.site.build import build


def parsed(words: Sequence[str], chosen: str) -> tuple[Path, list[str]]:
    """The folder, and the lessons' numbers; LessonError for two folders.

    ``--lessons 0 5`` reaches us as the option "0" and the word "5": where lessons are chosen, words of digits are lessons, and a
    folder of such a name is written ./5.
    """
    numbers = chosen.replace(",", " ").split()
    folders = [word for word in words if not (numbers and word.isdecimal())]
    numbers += [word for word in words if numbers and word.isdecimal()]
    if len(folders) > 1:
        raise LessonError(f"fmlab site writes one folder, and {' and '.join(folders)} were named; to choose lessons, write "
                          f"--lessons {' '.join(folders)}.")
    return Path(folders[0] if folders else "site"), numbers


def write(words: Sequence[str], chosen: str = "", run: bool = True, fresh: bool = False,
          cache: Path | None = None) -> Iterator[str]:
    """Build, and yield one line a page, then where to begin. Raises LessonError at the end if a lesson stopped."""
    from tqdm import tqdm

    folder, numbers = parsed(words, chosen)
    for number in numbers:
        lesson(number)  # a wrong one is said before hours of running
    seen = sys.stderr.isatty()
    with tqdm(unit="cell", disable=not seen) as bar:
        def show(name: str, done: int, total: int) -> None:
            if bar.desc != f"{name}: ":
                bar.reset(total)
                bar.set_description(name)
            bar.update(done - bar.n)

        pages = build(folder, numbers, run, fresh, cache, show if seen else None)  # a disabled bar has no words to change
    yield from map(str, pages)
    yield f"Open {folder / 'index.html'} in a browser."
    if stopped := [page for page in pages if page.problem]:
        names = ", ".join(page.path.stem for page in stopped)
        raise LessonError(f"{names} did not run to the end and has no outputs: {stopped[0].problem}")
