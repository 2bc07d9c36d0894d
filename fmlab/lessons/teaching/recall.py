"""A lesson from memory, for whoever has done it once: headings and exercises stay, texts and what one could copy from go.

Why: taking a test after learning keeps more of it than reading it again (Roediger and Karpicke 2006,
doi:10.1111/j.1467-9280.2006.01693.x), and a learner who has the text before her does not notice what she has forgotten.

What goes, by rule. Text: all but headings and exercises. Solutions: the function that is asked for becomes a stub.
``show_source`` is commented out, as it is the answer; hints are commented out in any lesson. A code cell of some lines that
nothing after it needs is emptied to one comment that says what it did, unless it asks, shows a viewer or canvas, reads the
claims, or waits for a scan of the learner's own. So every cell that is left finds what it needs, and the notebook runs to its
end with nothing filled in.
"""

from __future__ import annotations

import ast
import builtins
import re
from typing import TYPE_CHECKING

from fmlab.lessons.build import notebook, stubbed
from fmlab.lessons.check import STUB_MARK
from fmlab.lessons.lint import code_lines
from fmlab.lessons.source import Lesson
from fmlab.lessons.teaching.asked import asked
from fmlab.lessons.teaching.cells import numbered, text_cell
from fmlab.lessons.teaching.markdown import Block, blocks
from fmlab.lessons.teaching.names import bound_by, needed_by

if TYPE_CHECKING:
    from nbformat import NotebookNode

HOW = ("**From memory.** The text is gone, the exercises are open again, and of some cells only a first line is left: write "
       "them again. At each heading first say what stood below it, equations too. Stuck? Run a hint without its `#`; the lesson "
       "itself comes last.")
_CUT = {"solution", "instructor"}
_KEPT = re.compile(r"\b(?:claims|view)\b|[Cc]anvas|[Ss]ketch|^my_\w+(?:, \w+)* = |except DataError", re.MULTILINE)
_SOURCE = re.compile(r"^(show_source\()", re.MULTILINE)
_LINES = 3  # what a cell has to have at least to be worth writing again
_WIDE = 120


def recall(lesson: Lesson) -> NotebookNode:
    """The notebook to learn by, without outputs."""
    made = notebook(lesson, "solution")
    made.cells = [cell for cell in made.cells if not _CUT & set(cell.metadata.get("tags", []))]
    for cell in made.cells:
        if cell.cell_type == "code":
            cell.source = stubbed(cell.source)
    trees = [ast.parse(cell.source) if cell.cell_type == "code" else None for cell in made.cells]
    cells = []
    for place, cell in enumerate(made.cells):
        if cell.cell_type == "markdown":
            cell.source = _remaining(cell.source) if place != 1 else HOW  # the second cell is the header
        elif may_go(cell.source, trees[place], [tree for tree in trees[place + 1:] if tree]):
            cell.source = f"{first_line(cell.source)}\n{STUB_MARK}"
        else:
            cell.source = _SOURCE.sub(r"# \1", cell.source)
        if cell.source.strip():
            cells.append(text_cell(cell.source) if cell.cell_type == "markdown" else cell)
    made.cells = cells
    return numbered(made, "recall")


def may_go(source: str, tree: ast.Module, later: list[ast.Module]) -> bool:
    """Whether a code cell can be emptied: it is none of those that stay, and nothing later needs what it makes."""
    if code_lines(source) < _LINES or any(one.call != "hint" for one in asked(source)) or _KEPT.search(source):
        return False
    if all(isinstance(node, ast.Import | ast.ImportFrom) for node in tree.body):
        return False
    made = bound_by(tree)
    for other in later:
        bound: set[str] = set()
        if made & needed_by(other.body, bound):
            return False
        made -= bound  # made anew from here on
    return True


def first_line(source: str) -> str:
    """The comment that stays of a cell: its own first line, what its figure shows, or which functions it called."""
    begin = source.lstrip().splitlines()[0]
    if begin.startswith("#"):
        return begin
    alts = [word.value for word in ast.walk(ast.parse(source)) if isinstance(word, ast.keyword) and word.arg == "alt"]
    if alts and (words := _literal(alts[0])):
        return _short(f"# Show it: {words}")
    used = _used(source)
    return _short("# Write it again" + (f", with {', '.join(used)}" if used else ""))


def _remaining(source: str) -> str:
    """The headings and exercises of a text cell; an exercise goes on to the equation, list or table below it."""
    kept: list[Block] = []
    inside = False
    for block in blocks(source):
        inside = block.exercise or (inside and block.kind in ("math", "list", "table"))
        if inside or block.kind == "heading":
            kept.append(block)
    return "\n\n".join(f"{'#' * block.level} {block.text}" if block.kind == "heading" else block.text for block in kept)


def _literal(alt: ast.expr) -> str:
    """The words of an alt text up to its first number, or its first sentence."""
    while isinstance(alt, ast.BinOp):
        alt = alt.left
    parts = alt.values if isinstance(alt, ast.JoinedStr) else [alt]
    words = parts[0].value if isinstance(parts[0], ast.Constant) and isinstance(parts[0].value, str) else ""
    return _LOOSE.sub("", re.split(r"(?<=[.:;])\s", words.strip())[0].rstrip(" .:;,"))


def _used(source: str) -> list[str]:
    """What a cell uses of others: the functions that it calls and the attributes that it reads, as written, each once."""
    tree = ast.parse(source)
    own = bound_by(tree)
    found = []
    for node in ast.walk(tree):
        name = node.func if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else node
        if name is not node or isinstance(node, ast.Attribute):
            found.append((name.lineno, name.col_offset, -len(ast.unparse(name)), ast.unparse(name)))
    names = [name for *_, name in sorted(found) if re.fullmatch(r"[\w.]+", name) and name.split(".")[0] not in own | _EVERYDAY]
    kept = [name for name in dict.fromkeys(names) if not any(other.startswith(f"{name}.") for other in names)]
    return kept


def _short(line: str) -> str:
    line = " ".join(line.split())
    return line if len(line) <= _WIDE else line[:_WIDE - 4].rsplit(" ", 1)[0].rstrip(",;:") + " ..."


_LOOSE = re.compile(r"(?: (?:the|a|an|of|with|and|for|in|is|at|to|from|by|on))+$")
_EVERYDAY = {*dir(builtins), "figure", "display"}
