"""Lesson 01's widgets over the table of systems: a filter, and two systems side by side. Each has three renderings of one state.

Live, native <select> and text fields of ipywidgets, so a keyboard alone will do; without a kernel, the table or the chosen pair
as plain HTML, which survives in a saved notebook and on the site; and text.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass, field

from fmlab.lessons.live import Live
from fmlab.systems import AXES, USAGES, System, html_table, select, system, systems
from fmlab.systems.page import SHORT, rows

ANY = "any"
_LEFT = "text-align:left;vertical-align:top"  # inline, as JupyterLab keeps nothing else and would set words to the right
_LABELS = {"A": "A: generalist or specialised", "B": "B: 2-D or 3-D", "C": "C: text", "usage": "usage", "words": "words"}


@dataclass(frozen=True, repr=False)
class Explorer(Live):
    """The table with a filter: a value on each axis, a usage, words. wanted: what is chosen at first, as for ``select``."""

    wanted: dict[str, str] = field(default_factory=dict)

    @property
    def found(self) -> tuple[System, ...]:
        """What the filter lets through at first."""
        return select(**self.wanted)

    def __repr__(self) -> str:
        lines = [f"  {one.name}: {', '.join(one.place)}; {', '.join(one.usage)}" for one in self.found]
        return "\n".join([_counted(self.found), *lines])

    def _repr_html_(self) -> str:
        return f"<details><summary>{html.escape(_counted(self.found))}, as a table</summary>{_wide(self.found)}</details>"

    def widget(self) -> object:
        """The live form: four lists, a field for words, and the table of what is left."""
        import ipywidgets

        wide = {"description_width": "initial"}
        fields = {name: ipywidgets.Dropdown(options=[ANY, *options], value=self.wanted.get(name) or ANY, style=wide,
                                            description=_LABELS[name]) for name, options in {**AXES, "usage": USAGES}.items()}
        fields["words"] = ipywidgets.Text(value=self.wanted.get("words", ""), description=_LABELS["words"], style=wide,
                                          placeholder="in name, data or note")
        table = ipywidgets.HTML()

        def show(_: object = None) -> None:
            table.value = _answer(select(**{name: "" if each.value == ANY else each.value for name, each in fields.items()}))

        _watch(fields.values(), show)
        return ipywidgets.VBox([ipywidgets.HBox(list(fields.values()), layout=ipywidgets.Layout(flex_flow="row wrap")), table])


@dataclass(frozen=True, repr=False)
class Comparison(Live):
    """Two systems side by side; one, other: their keys or names."""

    one: str
    other: str

    def __repr__(self) -> str:
        left, right = system(self.one), system(self.other)
        lines = [f"{label:30s} {a}  |  {b}" for label, (a, b) in _pair(left, right).items()]
        return "\n".join([f"{left.name}  |  {right.name}", *lines])

    def _repr_html_(self) -> str:
        return _side_by_side(system(self.one), system(self.other))

    def widget(self) -> object:
        """The live form: two lists of systems, and the table of what is the same and what is not."""
        import ipywidgets

        options = [(one.name, one.key) for one in sorted(systems(), key=lambda one: one.name.casefold())]
        lists = [ipywidgets.Dropdown(options=options, value=system(key).key, description=label)
                 for key, label in ((self.one, "one"), (self.other, "the other"))]
        table = ipywidgets.HTML()

        def show(_: object = None) -> None:
            table.value = _side_by_side(*(system(each.value) for each in lists))

        _watch(lists, show)
        return ipywidgets.VBox([ipywidgets.HBox(lists, layout=ipywidgets.Layout(flex_flow="row wrap")), table])


def explore(**wanted: str) -> Explorer:
    """The table of systems with a filter: ``explore(B="3-D", usage="interactive")``. Raises DataError as ``select`` does."""
    select(**wanted)
    return Explorer(wanted)


def compare(one: str, other: str) -> Comparison:
    """Two systems side by side, by key or name. Raises DataError with the nearest names for one that there is not."""
    return Comparison(system(one).key, system(other).key)


def _watch(fields: object, show: Callable[[object], None]) -> None:
    for each in fields:
        each.observe(show, names="value")
    show(None)


def _counted(found: tuple[System, ...]) -> str:
    return f"{len(found)} of {len(systems())} systems"


def _answer(found: tuple[System, ...]) -> str:
    status = f'<p role="status"><strong>{_counted(found)}</strong></p>'
    return status + (_wide(found) if found else "<p>Nobody has built that, as far as this table knows. Drop one wish.</p>")


def _wide(found: tuple[System, ...]) -> str:
    return f'<div style="overflow-x:auto">{html_table(found, columns=SHORT)}</div>'


def _pair(left: System, right: System) -> dict[str, tuple[str, str]]:
    return {label: (text, rows(right)[label]) for label, text in rows(left).items()}


def _side_by_side(left: System, right: System) -> str:
    body = []
    for label, texts in _pair(left, right).items():
        weight = "{}" if texts[0] == texts[1] else "<strong>{}</strong>"
        cells = "".join(f'<td style="{_LEFT}">{weight.format(_linked(text))}</td>' for text in texts)
        body.append(f'<tr><th scope="row" style="{_LEFT}">{html.escape(label)}</th>{cells}</tr>')
    names = [html.escape(one.name) for one in (left, right)]
    head = "".join(f'<th scope="col" style="{_LEFT}">{word}</th>' for word in ("property", *names))
    return (f"<table><caption>{' and '.join(names)}; what differs is bold</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{''.join(body)}</tbody></table>")


def _linked(text: str) -> str:
    doi = text.startswith("10.") and "/" in text
    address = f"https://doi.org/{text}" if doi else text if text.startswith("https://") else ""
    return f'<a href="{html.escape(address)}">{html.escape(text)}</a>' if address else html.escape(text)
