"""Published weights: where they are, under which licence, what loads them, what our tests compare (``official.toml``).

    weights_of("sam")                 every file that fits hub.build("sam", ...)
    print(page())                     docs/weights.md, by data_scripts/weights_page.py
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

STORED = Path(__file__).with_name("official.toml")


@dataclass(frozen=True)
class Official:
    """One published file, or several of a kind; the fields are explained in ``official.toml``."""

    model: str
    files: tuple[str, ...]
    address: str
    licence: str
    tested: str
    by: str
    config: Mapping[str, Any] = field(default_factory=dict)
    load: str = ""
    note: str = ""

    @property
    def call(self) -> str:
        """What a reader types; FILE is the downloaded file."""
        options = "".join(f", {name}={value!r}" for name, value in self.config.items())
        return self.load or f"hub.load({self.model!r}, FILE{options})"

    def __str__(self) -> str:
        return f"{self.address}, {', '.join(self.files)} ({self.licence})"


@cache
def every() -> tuple[Official, ...]:
    """All of them, in the order of the file."""
    rows = tomllib.loads(STORED.read_text(encoding="utf-8"))["weights"]
    return tuple(Official(**row | {"files": tuple(row["files"])}) for row in rows)


def weights_of(model: str) -> tuple[Official, ...]:
    """Those that fit a model of ``hub.build``; none where none are known."""
    return tuple(weights for weights in every() if weights.model == model)


def page() -> str:
    """The Markdown page of all."""
    lines = [TOP, "| weights | of | what loads them | licence | tested |", "|---|---|---|---|---|"]
    for weights in every():
        files = "<br>".join(f"`{name}`" for name in weights.files)
        call = f"`{weights.call}`" + (f"<br>{weights.note}" if weights.note else "")
        lines.append(f"| {files} | {weights.address} | {call} | {weights.licence} | {weights.tested}, "
                     f"[{Path(weights.by).name}](../{weights.by}) |")
    return "\n".join(lines) + "\n"


TOP = """\
# Official weights

fmlab ships none of these and fetches none by itself: download the file, read its licence, and give its path. Names are checked
one by one, and what does not match is said; a file that would run code when it is read is refused.

```python
from fmlab import hub

model = hub.load("sam", "sam_vit_b_01ec64.pth", size="vit_b")          # builds it, checks every name and shape
hub.load_official(model, state_dict)                                    # the same for a state_dict that you have read
```

Tested: "outputs" means that our network, with weights under the official names, gives the official code's outputs (files of
`tests/parity`, whole or at a smaller size); "names" that each name and shape of the published layout finds its place. The files
themselves are too large for a test.
"""
