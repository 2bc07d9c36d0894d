"""Slides as one HTML file that loads nothing: keyboard, notes, light and dark, one slide a page in print."""

from __future__ import annotations

import html

from fmlab.lessons.source import Lesson
from fmlab.lessons.teaching.markdown import inline_html, to_html
from fmlab.lessons.teaching.page import WEB, fill
from fmlab.lessons.teaching.slide import Slide


def deck(lesson: Lesson, slides: list[Slide]) -> str:
    """The page of a lesson's slides."""
    body = "\n".join(_slide(slide, number, len(slides)) for number, slide in enumerate(slides, start=1))
    return fill("deck.html", title=html.escape(f"{lesson.number} {lesson.title}"), body=body,
                style=(WEB / "deck.css").read_text(encoding="utf-8"), script=(WEB / "deck.js").read_text(encoding="utf-8"))


def _slide(slide: Slide, number: int, count: int) -> str:
    level = "h1" if slide.kind == "title" else "h2"
    over = f"<p class=over>{inline_html(slide.over)}</p>" if slide.over else ""
    notes = "\n".join(f"<div>{to_html(note)}</div>" for note in slide.notes if note.strip())
    return (f'<section class="slide {slide.kind}" aria-roledescription="slide" aria-label="{number} of {count}">'
            f"<header>{over}<{level}>{inline_html(slide.title)}</{level}></header>"
            f'<div class=body>{"".join(slide.body)}</div><footer aria-hidden="true">{number} / {count}</footer>'
            f"<aside hidden>{notes or '<p>No notes.</p>'}</aside></section>")
