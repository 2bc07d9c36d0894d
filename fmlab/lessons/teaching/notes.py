"""What the author of a lesson tells its teachers: the cells tagged ``instructor``, the times they state, the places they name."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fmlab.lessons.source import Lesson
from fmlab.lessons.teaching.markdown import blocks, sentences

_TIMES = re.compile(r"(\d+) minutes alone, (\d+) in a room")
_PLACES = re.compile(r"\b(\d\d-[a-z]\w*)|\b([Ss]ections?|[Ee]xercises?) (\d+(?:(?:, | and | to )\d+)*)")


@dataclass(frozen=True)
class Notes:
    """A lesson's notes for teachers. text: Markdown, "" without any. alone, room: minutes, as the notes say; None where not."""

    text: str
    alone: int | None
    room: int | None

    @property
    def misconceptions(self) -> str:
        """The paragraph about what people typically get wrong, "" without one."""
        return next((block.text for block in blocks(self.text) if "misconception" in block.text.lower()), "")

    def about(self, place: str) -> list[str]:
        """The sentences that name a place: "06-p2", "section 4", "exercise 1"."""
        return [sentence for block in blocks(self.text) for sentence in sentences(block.text) if place in places(sentence)]


def is_note(cell: object) -> bool:
    """Whether a cell is for teachers."""
    return "instructor" in cell.metadata.get("tags", [])


def notes_of(lesson: Lesson) -> Notes:
    """All cells of a lesson that are for teachers."""
    text = "\n\n".join(cell.source for cell in lesson.notebook().cells if is_note(cell))
    said = _TIMES.search(" ".join(text.split()))
    return Notes(text, int(said[1]) if said else None, int(said[2]) if said else None)


def places(sentence: str) -> set[str]:
    """What a sentence names: ids as they are, "section N" and "exercise N" for each number of "sections 5 to 7"."""
    found: set[str] = set()
    for name, what, numbers in _PLACES.findall(sentence):
        if name:
            found.add(name)
            continue
        first, *others = re.findall(r"(to )?(\d+)", numbers)
        given = [int(first[1])]
        for upto, number in others:
            given += range(given[-1] + 1, int(number) + 1) if upto else [int(number)]
        found |= {f"{what.lower().rstrip('s')} {number}" for number in given}
    return found
