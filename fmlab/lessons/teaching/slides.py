"""A lesson as slides, by rule and not by hand, from the same cells that the learner reads.

- The title, the goals and the opening text begin; each heading begins a slide.
- Of a paragraph a slide shows the beginning, each sentence that sets a term in bold, and the one that leads to an equation; a
  short paragraph whole. Equations, tables and lists are shown. The whole text is in the speaker's notes. Where little text leads
  to a figure, a question or an exercise, it stands on the same slide.
- A prediction is a question slide. An exercise is a slide with its signature; hints, wrong ideas and solution are in the notes.
- A figure of an executed cell is a slide, with the beginning of the "What to see" that follows under it; printed lines likewise.
- A quiz question is a slide, and its right answer the next one; why the others are wrong is in the notes.
- What the teacher's notes say of a section, an exercise or a question is in the notes of its slide.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping

from fmlab.lessons.build import solved, stubbed
from fmlab.lessons.exercise import exercises
from fmlab.lessons.quiz import questions
from fmlab.lessons.source import Lesson
from fmlab.lessons.teaching.asked import Asked, asked
from fmlab.lessons.teaching.instructor import helps
from fmlab.lessons.teaching.key import answered, right
from fmlab.lessons.teaching.markdown import Block, blocks, inline_html, sentences
from fmlab.lessons.teaching.minutes import sections
from fmlab.lessons.teaching.notes import is_note, notes_of
from fmlab.lessons.teaching.results import Result
from fmlab.lessons.teaching.slide import Slide, lines_of, options, paragraph, picture, printed

_SHORT = 300  # characters of a paragraph that is shown whole
_BEGIN = 240  # and of the beginning of a longer one; its first sentence is shown in any case
_SEEN = 420  # what is to be seen, where there is no figure above it
_CAPTION = 230
_LEAD = {"figure": 2.6, "printed": 3.0, "question": 5.0, "exercise": 6.5}  # lines of text that may stand above
_OPENING = "What it is about"
_SEE = "*What to see"


def slides(lesson: Lesson, results: Mapping[str, Result] | None = None) -> list[Slide]:
    """The slides of a lesson. results: source of a cell -> what it gave, for the figures; without them there are none."""
    made = _Deck(lesson, results or {})
    for cell in lesson.notebook().cells:
        if is_note(cell):
            continue
        (made.text if cell.cell_type == "markdown" else made.code)(cell.source)
    return made.slides


class _Deck:
    """The slides so far, and where in the lesson we are."""

    def __init__(self, lesson: Lesson, results: Mapping[str, Result]) -> None:
        self.lesson, self.results, self.told = lesson, results, notes_of(lesson)
        self.section = ""
        self.slides = [_title(lesson, bool(results))]
        self.slides[0].notes.append(self.told.text)
        parts = sections(lesson)
        self.times, self.minutes = {f"section {part.number}": part.room for part in parts}, sum(part.room for part in parts)
        self.defined: dict[str, str] = {}  # name of a function -> its source
        self.quiz = {question.id: question for question in questions(lesson.number)}
        self.exercises = [spec.id for spec in exercises(lesson.number)]
        self.named: set[str] = set()  # places whose notes have been given
        self.latest = ""  # the heading above
        self.open: Slide | None = None  # an exercise whose cell has not come
        self.waiting: Slide | None = None  # a heading whose first block has not come

    def text(self, source: str) -> None:
        found = blocks(source)
        following = [*found[1:], None]
        for block, after in zip(found, following):
            if block.kind == "heading":
                self.heading(block)
            elif block.exercise:
                self.exercise(block)
            elif block.text.startswith(_SEE):
                self.seen(block)
            else:
                self.block(block, after)

    def heading(self, block: Block) -> None:
        if block.level == 1 and len(self.slides) == 1 and self.waiting is None:  # the lesson's own title has its slide
            self.latest = _OPENING
            self.waiting = Slide("text", _OPENING)
            return
        self.latest = block.text
        if block.level < 3:
            self.section = block.text
        self.waiting = Slide("text", block.text, "" if block.level < 3 else self.section)
        number = block.text.split(".")[0]
        if block.level < 3 and number.isdigit():
            place = f"section {number}"
            if place in self.times:
                self.waiting.notes.append(f"About {self.times[place]:.0f} of {self.minutes:.0f} minutes.")
            self.waiting.notes += self.notes_on(place)

    def block(self, block: Block, after: Block | None) -> None:
        text = shown(block, after)
        lines = lines_of(block, text)
        slide = self.waiting or self.slides[-1]
        if slide is self.open and block.kind in ("math", "list", "table"):  # the exercise goes on
            slide.add(paragraph(text, block.kind), lines)
            return
        if self.waiting:
            self.slides.append(slide)
            self.waiting = None
        elif slide.kind != "text" or not slide.fits(lines):
            slide = Slide("text", self.where(), self.section if self.section != self.where() else "")
            self.slides.append(slide)
        slide.add(paragraph(text, block.kind), lines)
        if text != block.text:
            slide.notes.append(block.text)

    def exercise(self, block: Block) -> None:
        bold, _, task = block.text.removeprefix("**").partition("**")
        slide = self.open = self.begun(Slide("exercise", bold.strip(" ."), self.section))
        slide.add(paragraph(task.strip(), "text"), lines_of(block, task))
        slide.notes += self.notes_on(f"exercise {''.join(filter(str.isdigit, bold))}")

    def seen(self, block: Block) -> None:
        text = block.text.partition("*What to see")[2].partition("*")[2].strip()
        last = self.slides[-1]
        if last.kind in ("figure", "printed") and self.waiting is None and "caption" not in last.body[-1]:
            last.add(f"<p class=caption>{inline_html(_begin(text, _CAPTION))}</p>", 1)
        else:
            last = self.begun(Slide("text", "What to see", self.section))
            last.add(paragraph(_begin(text, _SEEN), "text"), lines_of(block, _begin(text, _SEEN)))
        last.notes.append(text)

    def code(self, source: str) -> None:
        self.defined |= functions_of(source)
        for one in asked(source):
            if one.call == "predict" and one.question:
                self.prediction(one)
            elif one.call == "quiz" and one.name in self.quiz:
                self.question(one)
            elif one.call == "check":
                self.checked(one)
            elif one.call == "show_source":
                self.slides[-1].notes.append(f"Then meet the package's own: `{one.name}`.")
            elif one.call == "predict":
                self.slides[-1].notes.append(f"Back to the vote on {one.name}.")
        self.result(self.results.get(source, Result()))

    def prediction(self, one: Asked) -> None:
        slide = self.begun(Slide("question", "What do you expect?", self.section))
        slide.add(f"<p class=asked>{inline_html(one.question)}</p>{options(one.options)}", 6)
        slide.notes += [f"{one.name}: let everybody choose before the cell is run; the first choice counts."]
        slide.notes += self.notes_on(one.name)

    def question(self, one: Asked) -> None:
        question = self.quiz[one.name]
        texts = tuple(option.text for option in question.options)
        place = next(place for place, option in enumerate(question.options) if option.right)
        asking = self.begun(Slide("question", question.id, self.section))
        asking.add(f"<p class=asked>{inline_html(question.text)}</p>{options(texts)}", 8)
        asking.notes += [*self.notes_on(one.name), answered(question).partition("\n\n")[2].partition("\n\n")[2]]
        answer = Slide("answer", question.id, self.section)
        answer.add(f"<p class=asked>{inline_html(question.text)}</p>{options(texts, place)}", 8)
        answer.add(f"<p class=why>{inline_html(right(question)[1].why)}</p>", 2)
        self.slides.append(answer)

    def checked(self, one: Asked) -> None:
        slide = self.open or self.begun(Slide("exercise", f"Exercise: {one.name}", self.section))
        self.open = None
        written = self.defined.get(one.question, "")  # the second argument of ``check``
        if written:
            code = stubbed(written)
            slide.add(printed(code), 1 + code.count("\n"))
        slide.notes += self.notes_on(one.name)
        if one.name in self.exercises:
            slide.notes.append(helps(one.name))
        slide.notes.append(f"**The lesson's solution**\n\n```python\n{solved(written)}\n```")

    def result(self, result: Result) -> None:
        text = result.printed
        if text and not (result.figures and text.count("\n") < 3):
            slide = self.begun(Slide("printed", self.where(), self.section))
            slide.add(printed(text), text.count("\n"))
            text = ""
        for figure in result.figures:
            slide = self.begun(Slide("figure", self.where(), self.section))
            if text:
                slide.add(printed(text), text.count("\n"))
                text = ""
            slide.add(picture(figure), 8)
            slide.notes.append(figure.alt)

    def where(self) -> str:
        """The title of a result: the latest heading."""
        return self.latest or self.section

    def begun(self, slide: Slide) -> Slide:
        """Begin a slide; a heading that waits for its text gives its notes to it, and little text before it stands above."""
        last = self.slides[-1]
        if self.waiting:  # what stands before its heading is of another section
            slide.notes += self.waiting.notes
            self.waiting = None
        elif last.kind == "text" and last.weight <= _LEAD.get(slide.kind, 0) and last.title != "What to see":
            self.slides.pop()
            slide.add(f"<div class=lead>{''.join(last.body)}</div>", last.weight)
            slide.notes += last.notes
            slide.over = last.over if slide.title == last.title else last.title
        if slide.over == slide.title:
            slide.over = ""
        self.slides.append(slide)
        return slide

    def notes_on(self, place: str) -> list[str]:
        """What the teacher's notes say of a place, once."""
        if place in self.named:
            return []
        self.named.add(place)
        return [f"*From the notes:* {sentence}" for sentence in self.told.about(place)]


def shown(block: Block, after: Block | None) -> str:
    """What of a block a slide shows: a short paragraph whole, of a long one the sentences of the rule."""
    if block.kind != "text" or len(block.text) <= _SHORT:
        return block.text
    there = sentences(block.text)
    leads = len(there) - 1 if after is not None and after.kind in ("math", "list", "table") else 0
    kept, length = [], 0
    for place, text in enumerate(there):
        runs_in = place > 0 and there[place - 1] in kept and there[place - 1].endswith(".**")  # a title within the line
        if place in (0, leads) or "**" in text or runs_in or (place == len(kept) and length + len(text) <= _BEGIN):
            kept.append(text)
            length += len(text)
    return " ".join(kept)


def functions_of(source: str) -> dict[str, str]:
    """Name -> source of the functions that a cell defines."""
    lines = source.splitlines()
    return {node.name: "\n".join(lines[node.lineno - 1:node.end_lineno]) for node in ast.parse(source).body
            if isinstance(node, ast.FunctionDef)}


def _begin(text: str, most: int) -> str:
    """The first sentence, and those after it while they have at most so many characters together."""
    there = sentences(text)
    kept = there[0]
    for sentence in there[1:]:
        if len(kept) + len(sentence) > most:
            break
        kept += f" {sentence}"
    return kept


def _title(lesson: Lesson, executed: bool) -> Slide:
    section = f" · section {lesson.section}" if lesson.section != "-" else ""
    slide = Slide("title", lesson.title, f"Lesson {lesson.number}{section}")
    goals = "".join(f"<li>{inline_html(goal)}</li>" for goal in lesson.goals)
    slide.add(f"<p>After this lesson you can</p><ul>{goals}</ul>", 2 + len(lesson.goals))
    slide.add(f"<p class=small>Before it: {inline_html(', '.join(lesson.prerequisites) or 'nothing')}.</p>", 1)
    if not executed:
        slide.notes.append(f"This deck has no figures: run `fmlab run {lesson.number}` first, and make it again.")
    return slide
