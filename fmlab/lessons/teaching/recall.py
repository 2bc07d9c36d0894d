"""A lesson from memory, for whoever has done it once: headings and exercises stay, texts and what one could copy from go.

Why: taking a test after learning keeps more of it than reading it again (Roediger and Karpicke 2006,
doi:10.1111/j.1467-9280.2006.01693.x), and a learner who has the text before her does not notice what she has forgotten.

What goes, by rule. Text: all but headings and exercises. Solutions: as in the learner's notebook. ``show_source``: commented out,
as it is the answer; hints are commented out in any lesson. A code cell that nothing after it needs is emptied to one comment that
says what it did, unless it asks, shows a viewer or canvas, reads the claims, or waits for a scan of the learner's own. So every
cell that is left finds what it needs, and the notebook runs to its end with nothing filled in.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from fmlab.lessons.build import notebook
from fmlab.lessons.check import STUB_MARK
from fmlab.lessons.source import Lesson
from fmlab.lessons.teaching.asked import asked, asks_only
from fmlab.lessons.teaching.cells import numbered, text_cell
from fmlab.lessons.teaching.markdown import Block, blocks

if TYPE_CHECKING:
    from nbformat import NotebookNode

HOW = ("**From memory.** The text is gone, the exercises are open again, and of some cells only a first line is left: write "
       "them again. At each heading first say what stood below it, equations too. Stuck? Run a hint without its `#`; the lesson "
       "itself comes last.")
_KEPT = re.compile(r"\b(?:claims|view|Canvas|Sketch)\b|\bmy_\w+ = (?:None|\[\])|\bmy_\w+, \w+ = |except DataError")
_SOURCE = re.compile(r"^(show_source\()", re.MULTILINE)
_WIDE = 120


def recall(lesson: Lesson) -> NotebookNode:
    """The notebook to learn by, without outputs."""
    made = notebook(lesson, "learner")
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
    if not tree.body or asks_only(source) or any(one.call != "hint" for one in asked(source)) or _KEPT.search(source):
        return False
    if all(isinstance(node, ast.Import | ast.ImportFrom) for node in tree.body):
        return False
    return not made_by(tree) & {name for other in later for name in needed_by(other)}


def made_by(tree: ast.Module) -> set[str]:
    """The names that a cell binds, at any depth: too many is safe."""
    found = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    found |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    return found | {alias.asname or alias.name.split(".")[0] for node in imports for alias in node.names}


def needed_by(tree: ast.Module) -> set[str]:
    """The names that a cell reads."""
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


def first_line(source: str) -> str:
    """The comment that stays of a cell: its own first line, what its figure shows, or which functions it called."""
    begin = source.lstrip().splitlines()[0]
    if begin.startswith("#"):
        return begin
    alts = [word.value for word in ast.walk(ast.parse(source)) if isinstance(word, ast.keyword) and word.arg == "alt"]
    if alts and (words := _literal(alts[0])):
        return _short(f"# Show it: {words}")
    return _short(f"# Write it again, with {', '.join(_called(source))}")


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
    return re.split(r"(?<=[.:;])\s", words.strip())[0].rstrip(" .:;,")


def _called(source: str) -> list[str]:
    """The functions and methods that a cell calls, as written, each once."""
    nodes = sorted((node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)),
                   key=lambda node: (node.lineno, node.col_offset))
    names = [ast.unparse(node.func) for node in nodes if isinstance(node.func, ast.Name | ast.Attribute)]
    return [name for name in dict.fromkeys(names) if re.fullmatch(r"[\w.]+", name) and name not in _EVERYDAY] or ["print"]


def _short(line: str) -> str:
    line = " ".join(line.split())
    return line if len(line) <= _WIDE else line[:_WIDE - 4].rsplit(" ", 1)[0].rstrip(",;:") + " ..."


_EVERYDAY = {"print", "len", "range", "zip", "enumerate", "list", "dict", "str", "int", "float", "max", "min", "sum", "sorted",
             "next", "iter", "round", "figure", "tuple"}
