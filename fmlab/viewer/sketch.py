"""A sketch: example pictures on which a learner draws masks, and a query on which a model's answer appears.

The widget knows no model. It hands its support set to the function ``on_change`` and paints what comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anywidget
import numpy as np
import torch
import traitlets as t

from fmlab.errors import ScanError
from fmlab.viewer import static
from fmlab.viewer.sketch_picture import figure_html, summary
from fmlab.viewer.stacks import Array, answer_of, grey, masks_of, names_of, pictures_of, query_of

LARGEST_BRUSH = 40


class Sketch(anywidget.AnyWidget):
    """Draw masks on examples and see the query change; show it by making it a cell's last line.

    pictures: (N, H, W) or (N, 1, H, W), array or tensor, values in [0, 1]. masks: of the same shape, 0 and 1; None: all empty.
    names: one for each picture. query: (H, W), the picture that is to be segmented. title: what is drawn, in a few words.
    on_change: called with the sketch after each stroke, each undo and each change of the picks; what it returns goes to ``show``.
    None wipes the query, as an old answer would not belong to the new masks, unless on_change has called ``show`` itself.
    If it raises, the widget shows the error in one sentence, and ``error`` holds the exception.

    picks: for each example, is it used? current: the example that is drawn on. tool: "brush" or "eraser". brush: its width in
    pixels of the picture. All of these can be read, set and observed.

    Raises ScanError if shapes or values do not fit.
    """

    _esm = static.module("sketch")
    _css = static.style("sketch")
    _spec = t.Dict().tag(sync=True)
    _pictures = t.Bytes().tag(sync=True)
    _query = t.Bytes().tag(sync=True)
    # The browser sends all masks after a stroke; an echo would send them back.
    _masks = t.Bytes().tag(sync=True, echo_update=False, from_json=lambda value, _: bytes(value))
    _answer = t.Bytes().tag(sync=True)
    _busy = t.Bool(False).tag(sync=True)
    _trouble = t.Unicode("").tag(sync=True)
    picks = t.List(t.Bool()).tag(sync=True)
    current = t.Int(0).tag(sync=True)
    tool = t.Enum(("brush", "eraser"), "brush").tag(sync=True)
    brush = t.Int(6, min=1, max=LARGEST_BRUSH).tag(sync=True)

    def __init__(self, pictures: Array, masks: Array | None = None, names: Sequence[str] | None = None,
                 query: Array | None = None, on_change: Callable[[Sketch], Array | None] | None = None, title: str = "") -> None:
        self._images = pictures_of(pictures)
        count, height, width = self._images.shape
        drawn = masks_of(masks, self._images.shape)
        self.names, self.title = names_of(names, count), title or "Sketch"
        self._query_image = None if query is None else query_of(query, (height, width))
        self._answer_map: np.ndarray | None = None
        if on_change is not None and not callable(on_change):
            raise ScanError(f"on_change is {on_change!r}; give a function that takes the sketch and returns a mask, or None.")
        self.on_change, self.error, self._answered = None, None, False
        largest = min(LARGEST_BRUSH, max(3, min(height, width) // 2))
        spec = {"shape": [count, height, width], "names": self.names, "title": self.title, "query": query is not None,
                "largest": largest}
        super().__init__(
            _spec=spec, _pictures=grey(self._images).tobytes(), _masks=drawn.tobytes(), picks=[True] * count,
            _query=b"" if query is None else grey(self._query_image).tobytes(),
            brush=max(1, min(largest, round(min(height, width) / 16))))
        self.on_change = on_change

    def __repr__(self) -> str:
        return f"Sketch: {self.alt}"

    @property
    def alt(self) -> str:
        """The sketch in words."""
        return summary(self.title, self.masks, self.picks, self._query_image, self._answer_map)

    @property
    def masks(self) -> np.ndarray:
        """What is drawn, (N, H, W) uint8 of 0 and 1: a copy. New masks may be assigned; undo in the widget takes them back."""
        return np.frombuffer(self._masks, np.uint8).reshape(self._images.shape).copy()

    @masks.setter
    def masks(self, masks: Array | None) -> None:
        self._masks = masks_of(masks, self._images.shape).tobytes()

    @property
    def answer(self) -> np.ndarray | None:
        """What ``show`` painted last on the query, (H, W) float32, or None."""
        return None if self._answer_map is None else self._answer_map.copy()

    def support(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Images and masks, each (n, 1, H, W) float32, of the n examples that are picked and have a mask; n may be 0."""
        masks = self.masks
        used = np.array(self.picks) & masks.any(axis=(1, 2))
        images = torch.from_numpy(self._images[used])
        return images[:, None], torch.from_numpy(masks[used]).float()[:, None]

    def show(self, answer: Array | None) -> None:
        """Paint a mask or probabilities (H, W) in [0, 1] on the query; None wipes it clean.

        Raises ScanError if there is no query, or the answer does not fit it.
        """
        if self._query_image is None:
            raise ScanError("The sketch has no query to paint on; make it with Sketch(pictures, query=...).")
        self._answer_map, self._answered = None if answer is None else answer_of(answer, self._query_image.shape), True
        self._answer = b"" if self._answer_map is None else grey(self._answer_map).tobytes()

    def ask(self) -> None:
        """Call ``on_change`` now, as after a stroke."""
        if self.on_change is None or self._busy:  # what on_change itself changes does not call it again
            return
        self.error, self._trouble, self._busy, self._answered = None, "", True, False
        try:
            answer = self.on_change(self)
            if answer is not None or not (self._answered or self._query_image is None):
                self.show(answer)
        except Exception as error:  # raised in the browser's message, it would be lost in a log that no learner opens
            self.error = error
            said = " ".join(str(error).split()) or "no reason given"
            self._trouble = f"on_change stopped with {type(error).__name__}: {said[:300]}"
        finally:
            self._busy = False

    def _repr_mimebundle_(self, **kwargs: object) -> tuple[dict[str, object], dict[str, object]]:
        """The live widget, and beside it the figure that is shown where no widget can live."""
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
        figure = figure_html(self._images, self.masks, self.names, self.picks, self._query_image, self._answer_map, self.title)
        return {**data, "text/plain": repr(self), "text/html": figure}, metadata

    @t.observe("_masks", "picks")
    def _changed(self, _: dict) -> None:
        self.ask()

    @t.validate("_masks")
    def _masks_fit(self, proposal: dict) -> bytes:
        return masks_of(np.frombuffer(proposal["value"], np.uint8).reshape(self._images.shape), self._images.shape).tobytes()

    @t.validate("picks")
    def _picks_fit(self, proposal: dict) -> list[bool]:
        if len(proposal["value"]) != len(self._images):
            raise ScanError(f"There are {len(proposal['value'])} picks for {len(self._images)} examples; give one for each.")
        return proposal["value"]

    @t.validate("current")
    def _current_exists(self, proposal: dict) -> int:
        if not 0 <= proposal["value"] < len(self._images):
            raise ScanError(f"There is no example {proposal['value']}; there are 0 to {len(self._images) - 1}.")
        return proposal["value"]
