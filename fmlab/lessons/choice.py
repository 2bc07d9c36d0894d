"""A question with options, in three renderings of one state: buttons in a live notebook, folded answers in a saved one, and text.

A live button needs no mouse: it is a native <button>. A saved notebook shows <details>, which survive JupyterLab's sanitiser.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fmlab.errors import LessonError
from fmlab.lessons.live import Live
from fmlab.lessons.show import Box, inline


@dataclass(frozen=True, repr=False)
class Choice(Live):
    """A question and its options.

    chosen: called with the option's index when it is picked, returns what to show. explanations: shown folded where there is no
    kernel (none for a prediction). call, keyword: how to answer by typing.
    """

    id: str
    question: str
    options: tuple[str, ...]
    chosen: Callable[[int], Box]
    explanations: tuple[str, ...] = ()
    call: str = "quiz"
    keyword: str = "answer"

    def answer(self, number: int) -> Box:
        """Pick an option by its number, counted from 1; LessonError if there is no such option."""
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= len(self.options):
            raise LessonError(f"{self.id} has no option {number!r}; choose a number from 1 to {len(self.options)}.")
        return self.chosen(number - 1)

    def __repr__(self) -> str:
        lines = [f"  {number}. {text}" for number, text in enumerate(self.options, start=1)]
        return "\n".join([self.question, *lines, f"Answer by number: {self._how()}"])

    def _how(self) -> str:
        between = "..., ..., " if self.call == "predict" else ""
        return f'{self.call}("{self.id}", {between}{self.keyword}=1)'

    def _repr_html_(self) -> str:
        if self.explanations:
            pairs = zip(self.options, self.explanations, strict=True)
            rows = "".join(f"<details><summary>{inline(o)}</summary><p>{inline(e)}</p></details>" for o, e in pairs)
        else:
            rows = "<ol>" + "".join(f"<li>{inline(option)}</li>" for option in self.options) + "</ol>"
        return f"<p><strong>{inline(self.question)}</strong></p>{rows}<p>Answer by number: <code>{inline(self._how())}</code></p>"

    def widget(self) -> object:
        """The live form: an ipywidgets box of buttons and a place for the answer."""
        import ipywidgets

        reply = ipywidgets.HTML()
        buttons = [ipywidgets.Button(description=f"{number}", tooltip=text, layout=ipywidgets.Layout(width="3em"))
                   for number, text in enumerate(self.options, start=1)]

        def press(index: int) -> None:
            reply.value = self.chosen(index)._repr_html_()

        for index, button in enumerate(buttons):
            button.on_click(lambda _, index=index: press(index))
        rows = [ipywidgets.HBox([button, ipywidgets.HTML(f"<span>{inline(text)}</span>")])
                for button, text in zip(buttons, self.options, strict=True)]
        return ipywidgets.VBox([ipywidgets.HTML(f"<strong>{inline(self.question)}</strong>"), *rows, reply])
