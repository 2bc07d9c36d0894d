"""The sketch in JupyterLab, with a kernel: drawing by mouse and by keyboard, picking, undoing, the answer on the query."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import nbformat
import pytest
import torch
from live_lab import Lab, notebook, pixel
from playwright.sync_api import Locator, Page, expect

from fmlab.viewer import Sketch

pytestmark = pytest.mark.browser

# Three grey pictures of 40 x 40 pixels; a block on the first. The answer is the mean of the masks in the support.
CELL = """
import numpy as np, torch, fmlab
first = np.zeros((3, 40, 40), np.uint8); first[0, 10:20, 10:20] = 1
calls = []
def mean(sketch):
    images, masks = sketch.support()
    calls.append(len(images))
    if not len(images):
        raise ValueError("the support set is empty")
    return masks.mean(0)
drawn = fmlab.sketch(torch.full((3, 1, 40, 40), 0.4), first, names=["one", "two", "three"], query=np.full((40, 40), 0.4),
                     on_change=mean, title="Blocks")
drawn"""
GREY = (102, 102, 102)


@pytest.fixture(scope="module")
def page(lab: Lab) -> Iterator[Page]:
    page = lab.open(notebook(lab.folder / "sketch.ipynb", (CELL,)))
    page.wait_for_selector(".fm-sketch canvas[data-painted]", timeout=90_000)
    yield page
    page.close()


@pytest.fixture
def root(page: Page) -> Locator:
    """The sketch, as it was at first."""
    page.wait_for_timeout(200)  # the browser's last changes must not come after the reset
    Lab.run(page, "drawn.on_change = None; drawn.masks, drawn.picks, drawn.current = first, [True] * 3, 0\n"
                  "drawn.tool, drawn.brush = 'brush', 3; drawn.show(None); calls.clear(); drawn.on_change = mean")
    root = page.locator(".fm-sketch")
    root.scroll_into_view_if_needed()
    expect(paper(root)).to_have_attribute("data-painted", _begins("0 100"))
    expect(query(root)).to_have_attribute("data-painted", "")
    return root


def _begins(text: str) -> re.Pattern[str]:
    return re.compile("^" + re.escape(text) + " ")


def paper(root: Locator) -> Locator:
    return root.locator("canvas.fm-paper")


def query(root: Locator) -> Locator:
    return root.locator("canvas[role=img]")


def kernel(page: Page, expression: str) -> object:
    """Value of an expression in the kernel, when the browser's changes have arrived."""
    page.wait_for_timeout(250)
    return ast.literal_eval(Lab.run(page, f"print(repr(({expression})))"))


def comes(page: Page, expression: str, expected: object) -> bool:
    """Does the expression come to have this value? What is drawn while the kernel works reaches it when it is free."""
    seen = None
    for _ in range(20):
        if (seen := kernel(page, expression)) == expected:
            return True
    print(f"{expression} stays {seen!r}")
    return False


def drag(page: Page, canvas: Locator, *path: tuple[int, int]) -> None:
    """Draw with the mouse through pixels (column, row) of the picture."""
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    places = [(box["x"] + (x + 0.5) / 40 * box["width"], box["y"] + (y + 0.5) / 40 * box["height"]) for x, y in path]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place)
    page.mouse.up()


def at(x: int, y: int) -> tuple[float, float]:
    """Fractions of a canvas at the middle of a pixel."""
    return (x + 0.5) / 40, (y + 0.5) / 40


def test_reopened_without_its_kernel_it_shows_pictures_with_alt_text(lab):
    drawn = torch.zeros(3, 20, 20)
    drawn[0, 5:10, 5:10] = 1
    sketch = Sketch(torch.rand(3, 20, 20), drawn, query=torch.rand(20, 20))
    sketch.show(drawn[0])
    output = nbformat.v4.new_output("display_data", sketch._repr_mimebundle_()[0])
    path = notebook(lab.folder / "sketch_saved.ipynb", ("sketch",))
    saved = nbformat.read(path, as_version=4)
    saved.cells[0].outputs = [output]
    nbformat.write(saved, path)
    page = lab.open(path, run=False)
    images = page.locator(".jp-OutputArea-output figure img")
    expect(images).to_have_count(4)
    expect(images.last).to_be_visible()
    assert images.first.get_attribute("alt") == "Example 1: mask of 25 pixels, used."
    assert images.last.get_attribute("alt") == "Query: the answer, in blue, covers 25 pixels of 400 pixels."
    assert "not found" not in page.locator(".jp-OutputArea").first.inner_text().lower()
    page.close()


def test_a_stroke_of_the_mouse_is_a_mask_in_python_and_one_call(page, root):
    root.get_by_role("button", name="Draw on two").click()
    drag(page, paper(root), (5, 30), (20, 30), (35, 30))
    assert comes(page, "np.argwhere(drawn.masks[1].any(1)).ravel().tolist()", [29, 30, 31])
    assert comes(page, "np.argwhere(drawn.masks[1][30]).ravel().tolist()", [*range(4, 37)])
    assert comes(page, "calls, np.array_equal(drawn.masks[0], first[0])", ([2], True))
    assert pixel(paper(root), *at(20, 30)) != GREY and pixel(paper(root), *at(20, 35)) == GREY
    expect(root.locator(".fm-tally")).to_have_text("2 of 3 examples in the support")
    root.get_by_role("button", name="Eraser").click()
    drag(page, paper(root), (20, 27), (20, 33))
    assert comes(page, "int(drawn.masks[1].sum()), calls", (3 * 33 - 9, [2, 2]))


def test_a_picture_is_drawn_by_keyboard_alone(page, root):
    canvas = paper(root)
    canvas.click(position={"x": 5, "y": 5})  # puts the brush at a known place
    page.keyboard.press("u")
    for key in ("n", "]", "[", "[", "["):  # the second example, a brush of one pixel
        page.keyboard.press(key)
    expect(canvas).to_have_attribute("data-painted", "1 0 0 0")
    for key in "Shift+ArrowDown ArrowRight Space ArrowRight Enter ArrowRight ArrowRight ArrowDown Enter".split():
        page.keyboard.press(key)
    spoken = root.locator(".fm-hidden[aria-live=polite]")
    expect(spoken).to_have_text("Painted 4 pixels; the mask has 5 pixels")
    assert comes(page, "np.argwhere(drawn.masks[1]).tolist(), drawn.current, drawn.brush", (
        [[10, 1], [10, 2], [10, 3], [10, 4], [11, 4]], 1, 1))
    page.keyboard.down("Space")
    page.keyboard.press("ArrowLeft")
    page.keyboard.up("Space")
    page.keyboard.press("e")
    page.keyboard.press("Space")  # erases where it has just painted
    assert comes(page, "np.argwhere(drawn.masks[1][11]).ravel().tolist(), drawn.tool", ([4], "eraser"))
    calls = kernel(page, "len(calls)")
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")  # the stroke is given up
    assert comes(page, "int(drawn.masks[1].sum()), len(calls)", (5, calls))
    page.keyboard.press("Delete")
    assert comes(page, "int(drawn.masks[1].sum())", 0)


def test_a_finger_draws_and_does_not_scroll(page, root):
    box = paper(root).bounding_box()
    send = page.context.new_cdp_session(page).send
    place = lambda x, y: [{"x": box["x"] + (x + 0.5) / 40 * box["width"], "y": box["y"] + (y + 0.5) / 40 * box["height"]}]  # noqa: E731
    send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": place(30, 25)})
    for row in (28, 31, 35):
        send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": place(30, row)})
    send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert comes(page, "np.argwhere(drawn.masks[0][:, 30]).ravel().tolist(), len(calls)", ([*range(24, 37)], 1))
    assert paper(root).bounding_box() == box


def test_drawing_goes_on_while_the_model_works(page, root):
    Lab.run(page, "import time; drawn.on_change = lambda sketch: time.sleep(0.6)")
    for row in (25, 29, 33):
        drag(page, paper(root), (5, row), (35, row))
    expect(root.get_by_text("Working")).to_be_visible()
    expect(root).to_have_attribute("aria-busy", "false", timeout=5000)
    expect(paper(root)).to_have_attribute("data-painted", _begins("0 397"))
    assert comes(page, "int(drawn.masks[0].sum())", 100 + 3 * 99)
    page.keyboard.press("u")
    assert comes(page, "int(drawn.masks[0].sum())", 100 + 2 * 99)


def test_undo_takes_back_several_strokes_and_goes_where_they_were(page, root):
    canvas = paper(root)
    drag(page, canvas, (30, 30), (35, 30))
    drag(page, canvas, (30, 35), (35, 35))
    root.get_by_role("button", name="Draw on three").click()
    drag(page, canvas, (5, 5), (9, 5))
    sums = "drawn.masks.sum((1, 2)).tolist()"
    assert comes(page, sums, [100 + 2 * 24, 0, 21])
    Lab.run(page, "again = drawn.masks; again[1] = 1; drawn.masks = again")  # what Python draws can be undone too
    assert comes(page, sums, [100 + 2 * 24, 1600, 21])
    canvas.focus()
    for expected in ([148, 0, 21], [148, 0, 0], [124, 0, 0]):
        page.keyboard.press("u")
        assert comes(page, sums, expected)
    root.get_by_role("button", name="Undo").click()
    assert comes(page, f"{sums}, drawn.current", ([100, 0, 0], 0))


def test_use_changes_the_support_and_an_error_is_shown(page, root):
    drag(page, paper(root), (30, 30), (35, 30))
    box = root.get_by_label("use one", exact=True)
    box.focus()
    page.keyboard.press("Space")
    expect(root.locator("[role=alert]")).to_have_text("on_change stopped with ValueError: the support set is empty")
    assert comes(page, "drawn.picks, len(drawn.support()[0]), str(drawn.error)", (
        [False, True, True], 0, "the support set is empty"))
    expect(root.get_by_text("from before the error")).to_be_visible()
    paper(root).focus()
    page.keyboard.press("x")
    expect(box).to_be_checked()
    expect(root.locator("[role=alert]")).to_have_text("")
    assert comes(page, "len(drawn.support()[0])", 1)


def test_the_answer_is_painted_on_the_query(page, root):
    canvas = query(root)
    assert pixel(canvas, *at(15, 15)) == pixel(canvas, *at(30, 15)) == GREY
    root.get_by_role("button", name="Draw on two").click()
    drag(page, paper(root), (30, 15), (30, 16))
    expect(root.get_by_text("Answer: 112 pixels")).to_be_visible()  # half sure counts: 100 of one, 12 of two
    red, _, blue = pixel(canvas, *at(15, 15))
    assert blue > red + 10 and pixel(canvas, *at(20, 30)) == GREY
    Lab.run(page, "drawn.show(first[0] * 0.2)")
    expect(canvas).to_have_attribute("data-painted", "0")
    assert pixel(canvas, *at(15, 15)) != GREY and pixel(canvas, *at(30, 15)) == GREY


def test_keys_do_not_reach_the_notebook_and_tab_leaves(page, root):
    cells = page.locator(".jp-Cell").count()
    for control in ("canvas.fm-paper", ".fm-tile button >> nth=0", ".fm-tile input >> nth=1", "input[type=range]"):
        root.locator(control).focus()
        for key in ("b", "a", "x", "d", "d"):
            page.keyboard.press(key)
        page.wait_for_timeout(100)
        assert page.locator(".jp-Cell").count() == cells
        assert root.evaluate("(e) => e.contains(document.activeElement)")
    paper(root).focus()
    page.keyboard.press("Tab")
    assert not root.evaluate("(e) => e.contains(document.activeElement)")


def test_a_second_view_shares_the_drawing_and_everything_has_a_name(page, root):
    from test_live import contrast

    drag(page, paper(root), (30, 30), (35, 30))
    shown = root.locator(".fm-readout").first
    expect(shown).to_contain_text("Mask: 124 pixels")
    silent = root.evaluate("""(e) => [...e.querySelectorAll("canvas, button, input")].filter((n) => n.ariaHidden !== "true"
        && !n.ariaLabel && !n.textContent && !n.labels?.[0]?.textContent).length""")
    assert silent == 0
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        page.evaluate("(theme) => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", theme)
        page.wait_for_timeout(600)
        assert contrast(*root.locator(".fm-keys").evaluate("""(e) => [getComputedStyle(e).color,
            getComputedStyle(e.closest('.fm-viewer')).backgroundColor, Number(getComputedStyle(e).opacity)]""")) >= 4.5
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:create-output-view')")
    expect(page.locator(".fm-sketch")).to_have_count(2)
    expect(page.locator(".fm-sketch .fm-readout >> nth=2")).to_contain_text("Mask: 124 pixels")
