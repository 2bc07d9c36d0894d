"""The sketch's Python side: what it accepts, what it hands on, what it says; the browser's side is in tests/browser."""

from __future__ import annotations

import base64
import html
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

import fmlab
from fmlab.errors import ScanError
from fmlab.lessons.alt_text import silent_images
from fmlab.viewer import Sketch, static

N, H, W = 3, 12, 16


def pictures() -> torch.Tensor:
    return torch.rand(N, 1, H, W, generator=torch.Generator().manual_seed(0))


def masks() -> np.ndarray:
    """A block of 12 pixels in the first, nothing in the second, 2 pixels in the third."""
    drawn = np.zeros((N, H, W), np.uint8)
    drawn[0, 2:5, 3:7], drawn[2, 0, 0:2] = 1, 1
    return drawn


def heard_by(calls: list, answer: object = None) -> object:
    def on_change(sketch: Sketch) -> object:
        calls.append(len(sketch.support()[0]))
        return answer

    return on_change


def stroke(sketch: Sketch, drawn: np.ndarray) -> None:
    """What the browser does at the end of a stroke."""
    sketch.set_state({"_masks": memoryview(np.ascontiguousarray(drawn).tobytes())})


def test_it_is_found_beside_view():
    assert fmlab.sketch is Sketch


def test_the_support_holds_picked_examples_with_a_mask():
    images, drawn = Sketch(pictures(), masks()).support()
    assert images.shape == drawn.shape == (2, 1, H, W) and images.dtype == drawn.dtype == torch.float32
    assert torch.equal(images, pictures()[[0, 2]])  # as given, not as rounded for the screen
    assert np.array_equal(drawn[:, 0].numpy(), masks()[[0, 2]])
    sketch = Sketch(pictures(), masks())
    sketch.picks = [False, True, True]
    assert torch.equal(sketch.support()[0], pictures()[[2]])
    sketch.picks = [False] * 3
    assert sketch.support()[0].shape == sketch.support()[1].shape == (0, 1, H, W)


@pytest.mark.parametrize("form", ["torch", "numpy", "channel", "bool", "float", "bfloat16"])
def test_masks_in_every_form_come_back_as_they_are(form):
    plain = torch.from_numpy(masks())
    forms = {"torch": plain, "numpy": masks(), "channel": plain[:, None], "bool": plain.bool(), "float": plain.double(),
             "bfloat16": plain.bfloat16()}
    sketch = Sketch(pictures()[:, 0].numpy(), forms[form])
    assert np.array_equal(sketch.masks, masks()) and sketch.masks.dtype == np.uint8
    sketch.masks[:] = 1
    assert np.array_equal(sketch.masks, masks())  # a copy


def test_what_the_browser_needs_travels_as_bytes():
    query = torch.linspace(0, 1, H * W).reshape(H, W)
    sketch = Sketch(pictures(), names=["a", "b", "c"], query=query, title="Liver")
    state = sketch.get_state()
    assert state["_spec"] == {"shape": [N, H, W], "names": ["a", "b", "c"], "title": "Liver", "query": True, "largest": 6}
    seen = np.frombuffer(state["_pictures"], np.uint8).reshape(N, H, W) / 255
    assert np.abs(seen - pictures()[:, 0].numpy()).max() <= 0.5 / 255 + 1e-6
    assert state["_query"][0] == 0 and state["_query"][-1] == 255
    assert not any(state["_masks"]) and state["_answer"] == b"" and state["picks"] == [True] * N


def test_a_stroke_calls_on_change_once_and_so_does_a_pick():
    calls: list[int] = []
    sketch = Sketch(pictures(), masks(), on_change=heard_by(calls))
    assert calls == []
    drawn = masks()
    drawn[1, 5, 5] = 1
    stroke(sketch, drawn)
    assert calls == [3] and np.array_equal(sketch.masks, drawn)
    stroke(sketch, drawn)  # nothing new
    assert calls == [3]
    sketch.set_state({"picks": [True, True, False]})
    assert calls == [3, 2]
    sketch.set_state({"current": 2, "tool": "eraser", "brush": 3})
    assert calls == [3, 2]
    sketch.masks = masks()
    assert calls == [3, 2, 1]


def test_a_stroke_is_not_sent_back(monkeypatch):
    sketch, sent = Sketch(pictures(), masks(), query=pictures()[0, 0], on_change=lambda s: s.masks[0]), []
    monkeypatch.setattr(Sketch, "_send", lambda self, message, buffers=None: sent.append(str(message)))
    stroke(sketch, np.roll(masks(), 1))  # an old mask that comes back would wipe out what is drawn meanwhile
    assert any("_answer" in message for message in sent) and not any("_masks" in message for message in sent)


def test_what_on_change_returns_is_shown():
    answer = torch.zeros(1, 1, H, W)
    answer[..., 3, 4] = 0.8
    sketch = Sketch(pictures(), masks(), query=pictures()[0, 0], on_change=lambda s: answer)
    assert sketch.answer is None
    sketch.ask()
    assert sketch.answer.shape == (H, W) and sketch.answer[3, 4] == np.float32(0.8)
    assert sketch._answer[3 * W + 4] == 204 and sum(sketch._answer) == 204
    sketch.on_change = lambda s: s.show(np.ones((H, W)))  # returns None, but has answered
    sketch.picks = [True, True, False]
    assert sketch.answer.all()
    sketch.on_change = lambda s: None  # as a lesson does when nothing is drawn
    sketch.picks = [False] * N
    assert sketch.answer is None and sketch._answer == b"" and sketch.error is None


def test_a_picture_of_whole_numbers_and_a_mask_of_booleans_are_shown():
    sketch = Sketch(np.ones((1, H, W), np.uint8), query=np.zeros((H, W), bool))
    sketch.show(np.eye(H, W, dtype=bool))
    assert sketch.answer.sum() == H and sketch._pictures[0] == 255


def test_an_exception_in_on_change_is_shown_and_kept():
    sketch = Sketch(pictures(), masks(), query=pictures()[0, 0], on_change=lambda s: {}["missing\nkey"])
    sketch.picks = [True, True, False]
    assert isinstance(sketch.error, KeyError) and "\n" not in sketch._trouble
    assert sketch._trouble.startswith("on_change stopped with KeyError: ") and not sketch._busy
    sketch.on_change = lambda s: np.zeros((H, W + 1))  # an answer that does not fit is told in the same place
    sketch.ask()
    assert sketch._trouble.startswith("on_change stopped with ScanError: The answer has the shape (12, 17)")
    sketch.on_change = lambda s: np.zeros((H, W))
    sketch.ask()
    assert sketch.error is None and sketch._trouble == "" and sketch.answer is not None


def test_what_on_change_itself_changes_does_not_call_it_again():
    calls: list[bool] = []

    def on_change(sketch: Sketch) -> None:
        calls.append(sketch._busy)
        sketch.picks = [not pick for pick in sketch.picks]

    sketch = Sketch(pictures(), masks(), on_change=on_change)
    sketch.ask()
    assert calls == [True] and sketch.picks == [False] * N


def test_the_figure_says_and_shows_what_is_seen():
    answer = np.zeros((H, W))
    answer[:4] = 0.9
    sketch = Sketch(pictures(), masks(), names=["one", "<two>", "three"], query=pictures()[0, 0], title="Liver")
    sketch.picks = [True, True, False]
    sketch.show(answer)
    bundle, _ = sketch._repr_mimebundle_()
    figure = bundle["text/html"]
    assert static.WIDGET in bundle and silent_images(figure) == 0 and not re.search("<(script|style|iframe)", figure)
    images = re.findall(r'<img alt="(.+?)" src="data:image/png;base64,(.+?)">', figure)
    assert [html.unescape(alt) for alt, _ in images] == [
        "one: mask of 12 pixels, used.", "<two>: no mask, not used.", "three: mask of 2 pixels, left out.",
        "Query: the answer, in blue, covers 64 pixels of 192 pixels."]
    words = "Liver: 3 examples with masks in orange, 1 of them in the support."
    assert sketch.alt == f"{words} {images[3][0]}" and repr(sketch) == f"Sketch: {sketch.alt}" and words in figure
    first, query = (np.asarray(Image.open(io.BytesIO(base64.b64decode(images[k][1])))).astype(int) for k in (0, 3))
    assert first.shape[1] / first.shape[0] == pytest.approx(W / H, rel=0.02)
    assert tuple(first[round(2.02 / H * first.shape[0]), round(5 / W * first.shape[1])]) == (230, 159, 0)  # the mask's outline
    inside, outside = query[int(query.shape[0] * 0.25)], query[int(query.shape[0] * 0.75)]
    assert (inside[:, 2] > inside[:, 0]).all() and (outside[:, 2] == outside[:, 0]).all()


def test_a_saved_page_keeps_the_figure():
    import nbformat

    data, _ = Sketch(pictures())._repr_mimebundle_()
    output = nbformat.v4.new_output("display_data", data)
    page = static.embed(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("sketch", outputs=[output])]))
    kept = page.cells[0].outputs[0].data
    assert static.WIDGET not in kept and kept["text/html"].count("<img") == N
    assert "Example 2: no mask, not used." in kept["text/html"]


@pytest.mark.parametrize(("arguments", "words"), [
    ({"pictures": torch.rand(H, W)}, r"shape \(12, 16\); give \(N, H, W\)"),
    ({"pictures": torch.rand(N, 3, H, W)}, "give"),
    ({"pictures": torch.rand(0, H, W)}, "at least one"),
    ({"pictures": 40 * pictures()}, r"run from .* bring them to \[0, 1\]"),
    ({"pictures": pictures() - 0.5}, "bring them to"),
    ({"pictures": torch.full((N, H, W), torch.nan)}, "bring them to"),
    ({"pictures": "scan.nii.gz"}, "are str, not an array"),
    ({"masks": masks()[:2]}, "one mask for each picture"),
    ({"masks": 42 * masks()}, "other values than 0 and 1"),
    ({"names": ["one"]}, "one name for each of the 3"),
    ({"names": "abc"}, "one name for each of the 3"),
    ({"query": torch.rand(H, W + 1)}, "the examples need one picture"),
    ({"query": 300 * torch.ones(H, W)}, "bring them to"),
    ({"on_change": 3}, "give a function"),
])
def test_bad_input_is_refused_in_one_sentence(arguments, words):
    with pytest.raises(ScanError, match=words) as caught:
        Sketch(**({"pictures": pictures()} | arguments))
    assert len(str(caught.value)) < 300 and "\n" not in str(caught.value)


def test_bad_changes_are_refused_and_nothing_is_lost():
    sketch = Sketch(pictures(), masks())
    for name, value, words in (("masks", masks()[0], "give"), ("picks", [True], "give one for each"), ("current", 3, "0 to 2"),
                               ("current", -1, "0 to 2")):
        with pytest.raises(ScanError, match=words):
            setattr(sketch, name, value)
    with pytest.raises(ScanError, match="no query to paint on"):
        sketch.show(np.zeros((H, W)))
    assert np.array_equal(sketch.masks, masks()) and sketch.picks == [True] * N and sketch.current == 0
