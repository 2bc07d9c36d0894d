"""A text cell in blocks (headings, paragraphs, equations, tables, lists), and a block as HTML that loads nothing."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Literal

from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from fmlab.viewer.mathml import to_mathml

Kind = Literal["heading", "text", "math", "table", "list", "code"]
_NAMESPACE = ' xmlns="http://www.w3.org/1998/Math/MathML"'  # HTML needs none
_LIST = re.compile(r"^(?:[-*+]|1[.)]) ")  # another number in a paragraph's line is a year
_WHOLE = re.compile(r"\$[^$]+\$|`[^`]+`|\[[^\]]*\]\([^)]*\)")  # a full stop inside of these ends no sentence
_END = re.compile(r"(?<=[.!?])([)\"”*]*)\s+(?=[A-Z(*\"“`\[\x00])")
_SHORT = re.compile(r"(?:\bal|\bvs|\be\.g|\bi\.e|\bcf|\bFig|\bEq|\bNo|\bDr)\.$")


@dataclass(frozen=True)
class Block:
    """A piece of a text cell. text: its Markdown, without the marks of a heading. level: of a heading, else 0."""

    kind: Kind
    text: str
    level: int = 0

    @property
    def exercise(self) -> bool:
        """Whether an exercise is set here."""
        return self.kind == "text" and self.text.startswith("**Exercise")


def blocks(source: str) -> list[Block]:
    """A text cell in its blocks, in order."""
    found: list[Block] = []
    held: list[str] = []
    kind: Kind = "text"

    def close() -> None:
        nonlocal kind
        if any(line.strip() for line in held):
            found.append(Block(kind, "\n".join(held).strip()))
        held.clear()
        kind = "text"

    for line in source.splitlines():
        begins = _kind(line)
        if kind in ("math", "code") and held:  # only its own end ends it
            held.append(line)
            if _closes(kind, line):
                close()
        elif not line.strip():
            close()
        elif begins == "heading":
            close()
            marks, _, words = line.partition(" ")
            found.append(Block("heading", words.strip(), len(marks)))
        else:
            if begins != "text" and begins != kind:
                close()
                kind = begins
            held.append(line)
            if begins == "math" and line.count("$$") > 1:
                close()
    close()
    return found


def _kind(line: str) -> Kind:
    """What a line begins: a plain one goes on with what there is."""
    if re.match(r"#{1,6} ", line):
        return "heading"
    for mark, kind in (("$$", "math"), ("|", "table"), ("```", "code")):
        if line.startswith(mark):
            return kind
    return "list" if _LIST.match(line) else "text"


def _closes(kind: Kind, line: str) -> bool:
    return line.rstrip().endswith("$$" if kind == "math" else "```")


def sentences(text: str) -> list[str]:
    """The sentences of a paragraph; formulas, code and links are never cut."""
    kept: list[str] = []

    def keep(match: re.Match) -> str:
        kept.append(match[0])
        return f"\x00{len(kept) - 1}\x01"

    hidden = _WHOLE.sub(keep, " ".join(text.split()))
    parts, start = [], 0
    for end in _END.finditer(hidden):
        if not _SHORT.search(hidden[start:end.start()]):
            parts.append(hidden[start:end.end()].strip())
            start = end.end()
    parts.append(hidden[start:])
    return [re.sub("\x00(\\d+)\x01", lambda match: kept[int(match[1])], part) for part in parts if part]


class _Renderer(IPythonRenderer):
    def inline_math(self, text: str) -> str:
        return _formula(text, False)

    def block_math(self, text: str) -> str:
        return _formula(text, True)

    def link(self, text: str, url: str, title: str | None = None) -> str:
        """A page for a room without a network has no links: the DOI is printed, any other address left out."""
        doi = re.search(r"doi\.org/(10\.\S+)", url)
        return f"{text} <small>(doi:{html.escape(doi[1])})</small>" if doi else text


def _formula(tex: str, display: bool) -> str:
    return to_mathml(tex, display).replace(_NAMESPACE, "")


def to_html(text: str) -> str:
    """Markdown as HTML: formulas as MathML, markup in the text escaped, no address."""
    renderer = _Renderer(escape=True, exclude_anchor_links=True)
    return MarkdownWithMath(renderer=renderer).render(text).strip()


def inline_html(text: str) -> str:
    """A line of Markdown as HTML: emphasis, code and formulas, no paragraph around it, no list where it begins with a number."""
    line = re.sub(r"^(\d+)([.)]) ", r"\1\\\2 ", " ".join(text.split()))
    return re.sub(r"^<p>(.*)</p>$", r"\1", to_html(line), flags=re.DOTALL)
