"""Headings that can be linked to, and the words under each, for the table of contents and the search."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from html import unescape
from html.parser import HTMLParser

_HEADING = re.compile(r"<h([2-4])(?: id=\"[^\"]*\")?>(.*?)</h\1>", re.DOTALL)
_SKIPPED = {"script", "style", "template", "annotation", "details"}  # a search must not give away what a reader unfolds
_QUIZ = "quiz"


@dataclass
class Section:
    """A heading, the id to link to, and the plain text that follows it."""

    level: int
    anchor: str
    title: str
    words: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The words with single spaces."""
        return " ".join("".join(self.words).split())


def anchored(html: str) -> str:
    """The same HTML with an id on each heading of level 2 to 4, made of its words and unique in the page."""
    used: set[str] = set()

    def named(found: re.Match) -> str:
        stem = slug(unescape(re.sub(r"<[^>]+>", "", found[2]))) or "section"
        name, number = stem, 1
        while name in used:
            number += 1
            name = f"{stem}-{number}"
        used.add(name)
        return f'<h{found[1]} id="{name}">{found[2]}</h{found[1]}>'

    return _HEADING.sub(named, html)


def slug(words: str) -> str:
    """Words as an id: "1. A body!" -> "1-a-body"."""
    plain = unicodedata.normalize("NFKD", words).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def sections(html: str) -> list[Section]:
    """The sections of a page's main part; the first one, before any heading of level 2, has no title."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.sections


class _Reader(HTMLParser):
    """Collects text under headings; leaves out scripts, folded answers and the words of formulas' markup."""

    def __init__(self) -> None:
        super().__init__()
        self.sections = [Section(1, "", "")]
        self.skipped: list[str] = []  # the tags that are open since something that is left out began
        self.heading = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        if self.skipped:
            self.skipped += [tag] * (tag == self.skipped[0])
        elif tag in _SKIPPED or _QUIZ in (said.get("class") or "").split():
            self.skipped.append(tag)
        elif tag in ("h2", "h3", "h4") and said.get("id"):
            self.sections.append(Section(int(tag[1]), said["id"], ""))
            self.heading = True

    def handle_endtag(self, tag: str) -> None:
        if self.skipped:
            if tag == self.skipped[0]:
                self.skipped.pop()
        elif tag in ("h2", "h3", "h4"):
            self.heading = False
        elif tag in ("p", "div", "li", "pre", "td", "th", "figcaption", "summary"):
            self.sections[-1].words.append(" ")

    def handle_data(self, data: str) -> None:
        if self.skipped:
            return
        here = self.sections[-1]
        if self.heading:
            here.title += data
        else:
            here.words.append(data)
