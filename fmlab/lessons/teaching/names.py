"""Which names a cell binds, and which it needs from the cells before it: a cell whose names nobody needs can be emptied."""

from __future__ import annotations

import ast
from collections.abc import Iterable

_INNER = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


def bound_by(node: ast.AST) -> set[str]:
    """The names that a piece of code binds, at any depth."""
    found = {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
    found |= {one.name for one in ast.walk(node) if isinstance(one, ast.FunctionDef | ast.ClassDef)}
    found |= {one.name for one in ast.walk(node) if isinstance(one, ast.ExceptHandler) and one.name}
    imports = [one for one in ast.walk(node) if isinstance(one, ast.Import | ast.ImportFrom)]
    return found | {alias.asname or alias.name.split(".")[0] for one in imports for alias in one.names}


def needed_by(body: Iterable[ast.stmt], bound: set[str] | None = None) -> set[str]:
    """The names that statements read before they bind them; ``bound`` is told what they bind for sure.

    What stands in a branch may not be bound afterwards, so it counts as needed later: too many needs are safe, too few are not.
    """
    bound = set() if bound is None else bound
    needed: set[str] = set()
    for statement in body:
        match statement:
            case ast.For():
                needed |= _read(statement.iter) - bound
                inside = bound | bound_by(statement.target)
                needed |= needed_by([*statement.body, *statement.orelse], inside)
            case ast.With():
                for item in statement.items:
                    needed |= _read(item.context_expr) - bound
                    bound |= bound_by(item.optional_vars) if item.optional_vars else set()
                needed |= needed_by(statement.body, bound)
            case ast.If() | ast.While():
                needed |= _read(statement.test) - bound
                both = [set(bound), set(bound)]
                needed |= needed_by(statement.body, both[0]) | needed_by(statement.orelse, both[1])
                bound |= both[0] & both[1]
            case ast.Try():
                ways = [set(bound)]
                needed |= needed_by([*statement.body, *statement.orelse], ways[0])
                for handler in statement.handlers:
                    ways.append(bound | ({handler.name} if handler.name else set()))
                    needed |= needed_by(handler.body, ways[-1])
                bound |= set.intersection(*ways)
                needed |= needed_by(statement.finalbody, bound)
            case ast.FunctionDef():
                own = {one.arg for one in ast.walk(statement.args) if isinstance(one, ast.arg)} | {statement.name}
                needed |= needed_by(statement.body, own) - bound
                needed |= {name for default in (*statement.args.defaults, *statement.args.kw_defaults) if default
                           for name in _read(default)} - bound
                bound.add(statement.name)
            case _:
                needed |= _read(statement) - bound
                bound |= bound_by(statement)
    return needed


def _read(node: ast.AST) -> set[str]:
    """The names that an expression or a plain statement reads from outside of itself."""
    if isinstance(node, ast.Name):
        return {node.id} if isinstance(node.ctx, ast.Load) else set()
    if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
        return {node.target.id} | _read(node.value)
    own: set[str] = set()
    outside: set[str] = set()
    if isinstance(node, ast.Lambda):
        own = {one.arg for one in ast.walk(node.args) if isinstance(one, ast.arg)}
    elif isinstance(node, _INNER):
        own = {name for part in node.generators for name in bound_by(part.target)}
        outside = _read(node.generators[0].iter)  # read before any of its own names is bound
    return outside | {name for child in ast.iter_child_nodes(node) for name in _read(child)} - own
