"""Notebooks that are made here: cells with ids from their content, so that the same source always gives the same bytes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbformat import NotebookNode


def text_cell(source: str, tag: str = "") -> NotebookNode:
    """A text cell."""
    import nbformat

    return nbformat.v4.new_markdown_cell(source, metadata={"tags": [tag]} if tag else {})


def numbered(made: NotebookNode, variant: str) -> NotebookNode:
    """The notebook with its variant in its metadata and an id for each cell."""
    made.metadata.fmlab.variant = variant
    for place, cell in enumerate(made.cells):
        cell.id = hashlib.sha256(f"{place}\n{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
    return made
