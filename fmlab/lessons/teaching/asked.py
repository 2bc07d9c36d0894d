"""What a code cell asks of the learner: the calls of ``predict``, ``quiz``, ``check``, ``hint`` and ``show_source`` in it."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Literal

Call = Literal["predict", "quiz", "check", "hint", "show_source", "progress"]
CALLS = ("predict", "quiz", "check", "hint", "show_source", "progress")
_HINT = re.compile(r"^#\s*hint\(\"([^\"]+)\"", re.MULTILINE)


@dataclass(frozen=True)
class Asked:
    """One call. name: its first argument.

    question, options: of a prediction that is asked for, "" and () where it is recalled; of ``check``, question is the function.
    """

    call: Call
    name: str
    question: str = ""
    options: tuple[str, ...] = ()


def asked(source: str) -> list[Asked]:
    """The calls of a code cell in their order; hints also where they are commented out, as a lesson has them."""
    nodes = sorted((node for node in ast.walk(ast.parse(source)) if _named(node) in CALLS), key=lambda node: node.lineno)
    return [_read(node) for node in nodes] + [Asked("hint", name) for name in _HINT.findall(source)]


def asks_only(source: str) -> bool:
    """Whether a cell does nothing but ask."""
    body = ast.parse(source).body
    return all(isinstance(node, ast.Expr) and _named(node.value) in CALLS for node in body)


def _named(node: ast.AST) -> str:
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""


def _read(node: ast.Call) -> Asked:
    name, question, options = ([_value(argument) for argument in node.args] + ["", "", []])[:3]
    return Asked(node.func.id, name, question, tuple(options))


def _value(node: ast.expr) -> object:
    """A literal as its value, anything else as its source: a title may be computed."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        return [ast.unparse(one) for one in node.elts] if isinstance(node, ast.List) else ast.unparse(node)
