"""What a lesson shows besides text: a calm box with a text fallback, a figure with alt text, a piece of source code.

JupyterLab strips styles, scripts and ids from a saved notebook that is not trusted, so a box carries its meaning in its words and
marks its tone by an inline border only; it follows the light or dark theme.
"""

from __future__ import annotations

import base64
import html
import importlib
import inspect
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fmlab.errors import LessonError

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Tone = Literal["good", "open", "look", "plain"]
_BORDER = {"good": "#009E73", "open": "#999999", "look": "#E69F00", "plain": "#0072B2"}  # Okabe-Ito; the title says it in words


@dataclass(frozen=True)
class Box:
    """A titled message: HTML in a notebook, the same words as text elsewhere. Words between backticks are code."""

    title: str
    lines: tuple[str, ...] = ()
    code: str = ""
    tone: Tone = "plain"

    def __repr__(self) -> str:
        parts = [self.title, *(f"  {line}" for line in self.lines)]
        return "\n".join(parts + ([self.code] if self.code else []))

    def _repr_html_(self) -> str:
        body = "".join(f'<p style="margin:0.3em 0">{inline(line)}</p>' for line in self.lines)
        code = f"<pre>{html.escape(self.code)}</pre>" if self.code else ""
        style = f"border-left:4px solid {_BORDER[self.tone]};padding:0.2em 0.8em;margin:0.4em 0"
        title = f'<p style="margin:0.3em 0"><strong>{inline(self.title)}</strong></p>'
        return f'<div role="status" style="{style}">{title}{body}{code}</div>'


def inline(text: str) -> str:
    """Plain text to HTML: everything escaped, `backticks` to <code>, and *stars* about words to <em>."""
    parts = re.split(r"`([^`]+)`", html.escape(text))
    parts[::2] = [re.sub(r"(?<![\w*])\*(\w[^*]*?)(?<=\w)\*(?![\w*])", r"<em>\1</em>", part) for part in parts[::2]]
    parts[1::2] = [f"<code>{part}</code>" for part in parts[1::2]]
    return "".join(parts)


@dataclass(frozen=True)
class Picture:
    """A rendered figure: png bytes and the words for those who do not see it."""

    png: bytes
    alt: str
    caption: str = ""

    def __repr__(self) -> str:
        return f"[figure: {self.alt}]"

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.png).decode()
        caption = f"<figcaption>{inline(self.caption)}</figcaption>" if self.caption else ""
        image = f'<img alt="{html.escape(self.alt)}" src="data:image/png;base64,{data}" style="max-width:100%">'
        return f"<figure>{image}{caption}</figure>"


def figure(fig: Figure, alt: str, caption: str = "", dpi: int = 100) -> Picture:
    """A matplotlib figure as a picture with alt text; make it the last line of a cell, or ``display`` it.

    alt: what a reader who does not see the figure has to know. The figure is closed, so that the notebook does not show it twice.
    Raises LessonError without an alt text.
    """
    if not alt.strip():
        raise LessonError("The figure has no alt text; say in alt= what is to be seen in it.")
    from matplotlib import pyplot

    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight")
    pyplot.close(fig)
    return Picture(buffer.getvalue(), alt.strip(), caption)


def panels(inches: tuple[float, float], count: int = 1) -> tuple[Figure, Axes | np.ndarray]:
    """An empty figure (width, height) and its axes, ``count`` side by side; without pyplot, which would show it a second time."""
    from matplotlib.figure import Figure  # takes a while to import

    fig = Figure(figsize=inches, layout="constrained")
    return fig, fig.subplots(1, count)


@dataclass(frozen=True)
class Source:
    """The source of a function or class, coloured in a notebook."""

    name: str
    file: str
    code: str

    def __repr__(self) -> str:
        return f"{self.name}  ({self.file})\n{self.code}"

    def _repr_html_(self) -> str:
        from pygments import highlight
        from pygments.formatters import HtmlFormatter
        from pygments.lexers import PythonLexer

        # inline styles: a <style> element would be stripped on reopening; JupyterLab would break long lines within words
        body = highlight(self.code, PythonLexer(), HtmlFormatter(
            noclasses=True, nobackground=True, style="friendly", prestyles="white-space:pre;overflow-x:auto"))
        return f"<p><strong>{html.escape(self.name)}</strong> in <code>{html.escape(self.file)}</code></p>{body}"


def show_source(what: Callable | str) -> Source:
    """The package's own version of a function, class or module, to read beside yours: an object, or its dotted name.

    Raises LessonError if there is no source to show.
    """
    thing = inspect.unwrap(resolve(what) if isinstance(what, str) else what)
    try:
        code = inspect.getsource(thing)
    except (OSError, TypeError) as error:
        raise LessonError(f"There is no Python source of {what!r} to show; give a function written in Python.") from error
    module = thing.__name__ if inspect.ismodule(thing) else getattr(thing, "__module__", "") or ""
    name = module if inspect.ismodule(thing) else f"{module}.{getattr(thing, '__qualname__', '')}"
    place = module.replace(".", "/") + ".py" if module.startswith("fmlab") else (module or "this notebook")
    return Source(name, place, inspect.cleandoc("\n" + code))


def resolve(dotted: str) -> object:
    """The object behind a dotted name such as "fmlab.metrics.dice"; LessonError if there is none."""
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            thing = importlib.import_module(".".join(parts[:cut]))
            for part in parts[cut:]:
                thing = getattr(thing, part)
        except (ImportError, AttributeError):
            continue
        return thing
    raise LessonError(f"There is nothing called {dotted!r}; check the dotted name.")
