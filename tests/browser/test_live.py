"""The viewer in JupyterLab, with a kernel."""

from __future__ import annotations

import ast

import pytest
from live_lab import Lab, pixel
from playwright.sync_api import Locator, Page, expect

from fmlab.vocabulary import colour

pytestmark = pytest.mark.browser

# Where things lie in the 320 px high axial picture of the 80 x 64 mm scan: fractions of the canvas, found from its own size.
LIVER, SPLEEN, PLAIN = (33, 25), (7, 9), (20, 25)  # voxels (i, j)


def place(canvas: Locator, ij: tuple[int, int]) -> tuple[float, float]:
    """Fractions of the canvas at which a voxel of an axial slice should be: right is left, front is up."""
    size = canvas.bounding_box()
    scale = min(size["width"] / 80, size["height"] / 64)
    left, top = (size["width"] - 80 * scale) / 2, (size["height"] - 64 * scale) / 2
    return ((left + (39.5 - ij[0]) * 2 * scale) / size["width"], (top + (31.5 - ij[1]) * 2 * scale) / size["height"])


def at(canvas: Locator, ij: tuple[int, int]) -> dict[str, float]:
    size = canvas.bounding_box()
    x, y = place(canvas, ij)
    return {"x": x * size["width"], "y": y * size["height"]}


def kernel(page: Page, expression: str) -> object:
    """Value of an expression in the kernel, when the browser's changes have arrived."""
    page.wait_for_timeout(250)
    return ast.literal_eval(Lab.run(page, f"print(repr(({expression})))"))


def painted(canvas: Locator, text: str) -> None:
    expect(canvas).to_have_attribute("data-painted", text)


def test_keys_move_through_slices_and_planes_and_the_kernel_follows(live, viewer):
    canvas = viewer(0).locator("canvas")
    canvas.focus()
    for key, seen in (("ArrowDown", "axial 14"), ("ArrowUp", "axial 15"), ("PageUp", "axial 25"), ("End", "axial 29"),
                      ("ArrowUp", "axial 29"), ("Home", "axial 0"), ("PageUp", "axial 10"), ("c", "coronal 16"),
                      ("ArrowDown", "coronal 15"), ("s", "sagittal 20")):
        live.keyboard.press(key)
        painted(canvas, seen)
    assert kernel(live, "plain.plane, plain.cursor, plain.index") == ("sagittal", [20, 15, 10], 20)


def test_keys_do_not_reach_the_notebook(live, viewer):
    root = viewer(0)
    cells = live.locator(".jp-Cell").count()
    for control in ("canvas", "input[type=number] >> nth=0", ".fm-row input >> nth=0"):
        root.locator(control).focus()
        for key in ("b", "a", "x", "d", "d"):
            live.keyboard.press(key)
        live.wait_for_timeout(150)
        assert live.locator(".jp-Cell").count() == cells
        assert root.evaluate("(e) => e.contains(document.activeElement)")


def test_tab_leaves_the_viewer(live, viewer):
    root = viewer(0)
    root.locator("canvas").focus()
    stops = 0
    while root.evaluate("(e) => e.contains(document.activeElement)") and stops < 20:
        live.keyboard.press("Tab")
        stops += 1
    assert 5 < stops < 20  # slider, fill, outline, opacity, all, none, two structures; then out


def test_right_is_left_and_window_presets_change_grey(live, viewer):
    canvas = viewer(0).locator("canvas")
    Lab.run(live, "plain.hidden = [42, 45]")
    live.wait_for_timeout(200)
    assert pixel(canvas, *place(canvas, LIVER)) == (255, 255, 255)  # 500 HU: above the soft tissue window
    assert pixel(canvas, *place(canvas, PLAIN)) == (102, 102, 102)  # 0 HU in 40/400
    assert pixel(canvas, *place(canvas, (6, 25))) == (102, 102, 102)  # nothing at the patient's left front
    canvas.focus()
    live.keyboard.press("3")  # bone, 400/1800
    live.wait_for_timeout(100)
    assert pixel(canvas, *place(canvas, LIVER)) == (142, 142, 142)
    assert kernel(live, "list(plain.window)") == [400, 1800]


def test_free_window_by_numbers_and_by_right_drag(live, viewer):
    root = viewer(0)
    root.get_by_label("width").fill("1000")
    assert kernel(live, "list(plain.window)") == [40, 1000]
    expect(root.get_by_label("Window", exact=True).locator("select")).to_have_value("free")
    box = root.locator("canvas").bounding_box()
    live.mouse.move(box["x"] + 100, box["y"] + 100)
    live.mouse.down(button="right")
    live.mouse.move(box["x"] + 140, box["y"] + 80)
    live.mouse.up(button="right")
    centre, width = kernel(live, "plain.window")
    assert centre == 140 and width == 1200
    assert not live.locator(".lm-Menu").is_visible()


def test_readout_tells_value_and_structure_and_speaks_only_for_keys(live, viewer):
    root = viewer(0)
    canvas, readout, spoken = root.locator("canvas"), root.locator(".fm-readout"), root.locator("[aria-live=polite]")
    before = spoken.text_content()
    canvas.hover(position=at(canvas, LIVER))
    expect(readout).to_contain_text("500 HU · liver")
    expect(readout).to_contain_text("R 66.0, A 50.0, S 45.0 mm")
    canvas.hover(position=at(canvas, SPLEEN))
    expect(readout).to_contain_text("0 HU · spleen")
    assert spoken.text_content() == before
    canvas.focus()
    live.keyboard.press("ArrowUp")
    expect(spoken).to_contain_text("slice 17 of 30")


def test_wheel_scrolls_slices_only_after_a_click(live, viewer):
    canvas = viewer(0).locator("canvas")
    live.evaluate("() => document.activeElement.blur()")
    canvas.hover()
    live.mouse.wheel(0, 20)
    painted(canvas, "axial 15")
    canvas.scroll_into_view_if_needed()
    canvas.click(position=at(canvas, PLAIN))
    live.mouse.wheel(0, 100)
    painted(canvas, "axial 14")


def test_a_structure_is_switched_off_and_on(live, viewer):
    root = viewer(0)
    canvas, box = root.locator("canvas"), root.locator(".fm-row", has_text="spleen").locator("input")
    coloured = pixel(canvas, *place(canvas, SPLEEN))
    assert coloured != (102, 102, 102)
    box.focus()
    live.keyboard.press("Space")
    live.wait_for_timeout(100)
    assert pixel(canvas, *place(canvas, SPLEEN)) == (102, 102, 102)
    assert pixel(canvas, *place(canvas, LIVER)) != (255, 255, 255)
    assert kernel(live, "plain.hidden") == [45]
    live.keyboard.press("Space")
    live.wait_for_timeout(100)
    assert pixel(canvas, *place(canvas, SPLEEN)) == coloured


def test_fill_outline_and_opacity(live, viewer):
    root = viewer(0)
    canvas = root.locator("canvas")
    root.get_by_label("Fill").uncheck()
    assert pixel(canvas, *place(canvas, SPLEEN)) == (102, 102, 102)
    x, y = place(canvas, (11, 9))  # the outermost voxel: its left edge carries the outline
    width = canvas.bounding_box()["width"]
    step = 320 / 64 / width
    line = [pixel(canvas, x - step + k / width, y) for k in range(-1, 2)]
    assert any(colour != (102, 102, 102) for colour in line)
    root.get_by_label("Outline").uncheck()
    line = [pixel(canvas, x - step + k / width, y) for k in range(-1, 2)]
    assert all(colour == (102, 102, 102) for colour in line)
    Lab.run(live, "plain.fill, plain.outline, plain.opacity = True, True, 1.0")
    live.wait_for_timeout(200)
    assert pixel(canvas, *place(canvas, SPLEEN)) == colour("spleen")
    Lab.run(live, "plain.opacity = 0.35")


def test_fast_keys_are_never_taken_back_by_the_kernel(live, viewer):
    canvas = viewer(0).locator("canvas")
    canvas.focus()
    live.evaluate("""() => { window.seen = []; const canvas = document.activeElement;
        window.watch = new MutationObserver(() => window.seen.push(Number(canvas.dataset.painted.split(" ")[1])));
        window.watch.observe(canvas, { attributes: true, attributeFilter: ["data-painted"] }); }""")
    for _ in range(12):
        live.keyboard.press("ArrowUp", delay=15)
        live.wait_for_timeout(25)
    assert kernel(live, "plain.index") == 27
    seen = live.evaluate("() => (window.watch.disconnect(), window.seen)")
    assert seen == sorted(seen) and seen[-1] == 27


def test_python_moves_the_view_and_refuses_nonsense(live, viewer):
    canvas = viewer(0).locator("canvas")
    Lab.run(live, "plain.plane = 'coronal'; plain.index = 3")
    painted(canvas, "coronal 3")
    assert Lab.run(live, "plain.index = 32").startswith("ScanError: Voxel 32")
    assert Lab.run(live, "plain.plane = 'oblique'").startswith("ScanError: There is no plane")
    assert Lab.run(live, "plain.window = 'brain'").startswith("ScanError: There is no window")


def test_side_by_side_and_swipe_compare_two_label_maps(live, viewer):
    root = viewer(1)
    canvas = root.locator("canvas")
    for side, seen in ((0.25, True), (0.75, False)):  # only reader 1 drew the spleen
        box = canvas.bounding_box()
        scale = min(box["width"] / 2 / 80, box["height"] / 64)
        x = side + (20 - SPLEEN[0] - 0.5) * 2 * scale / box["width"]
        y = 0.5 + (16 - SPLEEN[1] - 0.5) * 2 * scale / box["height"]
        assert (pixel(canvas, x, y) != (102, 102, 102)) is seen
    root.get_by_role("button", name="Swipe").click()
    swipe = root.get_by_label("Swipe", exact=True).and_(live.locator("input"))
    for value, seen in (("100", True), ("0", False)):
        swipe.fill(value)
        assert (pixel(canvas, *place(canvas, SPLEEN)) != (102, 102, 102)) is seen
    assert kernel(live, "pair.swipe, pair.layout") == (0.0, "swipe")
    canvas.hover(position=at(canvas, SPLEEN))
    expect(root.locator(".fm-readout")).to_contain_text("reader 1: spleen · reader 2: no label")


def test_points_by_mouse_and_keyboard_reach_python(live, viewer):
    root = viewer(2)
    canvas = root.locator("canvas")
    root.get_by_role("button", name="Point").click()
    canvas.click(position=at(canvas, LIVER))
    root.get_by_role("button", name="− not this").click()
    canvas.focus()
    live.keyboard.press("Shift+ArrowRight")  # one voxel to the patient's left
    live.keyboard.press("Shift+ArrowDown")
    live.keyboard.press("Enter")
    assert kernel(live, "drawn.points") == [{"plane": "axial", "sign": 1, "ijk": [33, 25, 15]},
                                            {"plane": "axial", "sign": -1, "ijk": [32, 24, 15]}]
    assert kernel(live, "heard")[-2:] == [1, 2]
    live.keyboard.press("u")
    assert len(kernel(live, "drawn.points")) == 1
    root.get_by_role("button", name="Clear").click()
    assert kernel(live, "drawn.points") == []
    root.get_by_role("button", name="Undo").click()
    assert len(kernel(live, "drawn.points")) == 1


def test_box_and_scribble_by_mouse_and_keyboard(live, viewer):
    root = viewer(2)
    canvas = root.locator("canvas")
    root.get_by_role("button", name="Box").click()
    start, end = at(canvas, (30, 28)), at(canvas, (12, 6))
    canvas.drag_to(canvas, source_position=start, target_position=end)
    assert kernel(live, "drawn.box") == {"plane": "axial", "start": [12, 6, 15], "stop": [31, 29, 16]}
    root.get_by_role("button", name="Scribble").click()
    canvas.focus()
    for key in ("Enter", "Shift+ArrowUp", "Shift+ArrowUp", "Enter"):
        live.keyboard.press(key)
    assert kernel(live, "drawn.scribble") == [{"plane": "axial", "sign": 1, "ijk": [[12, 6, 15], [12, 7, 15], [12, 8, 15]]}]
    root.get_by_role("button", name="Look").click()
    Lab.run(live, "drawn.box = {'plane': 'axial', 'start': [5, 5, 15], 'stop': [20, 20, 16]}")
    live.wait_for_timeout(200)
    x, y = place(canvas, (12, 19))
    edge = [pixel(canvas, x, y - (2.5 - k / 2) / 320) for k in range(-4, 8)]
    assert any(red > 200 and green > 190 and blue < 120 for red, green, blue in edge)  # the box's yellow upper edge


def test_slabs_that_did_not_travel_with_the_widget_come_from_the_kernel(live, viewer):
    canvas = viewer(3).locator("canvas")
    assert kernel(live, "len(late._first), slabs.slab_count(late.scene.shape)") == (1, 10)
    canvas.focus()
    for key, grey in (("End", 255), ("Home", 0), ("PageUp", 38)):  # 280, -300, -100 HU in 40/400
        live.keyboard.press(key)
        live.wait_for_timeout(150)
        assert pixel(canvas, *place(canvas, PLAIN)) == (grey, grey, grey)


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_contrast_in_both_themes(live, viewer, dark):
    root = viewer(0)
    theme = "JupyterLab Dark" if dark else "JupyterLab Light"
    live.evaluate("(theme) => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", theme)
    live.wait_for_timeout(600)
    colours = root.locator(".fm-help").evaluate("""(e) => {
        const own = getComputedStyle(e), back = getComputedStyle(e.closest('.fm-viewer'));
        return [own.color, back.backgroundColor, Number(own.opacity)]; }""")
    assert contrast(*colours) >= 4.5
    live.evaluate("() => window.jupyterapp.commands.execute('apputils:change-theme', { theme: 'JupyterLab Light' })")


def contrast(text: str, back: str, opacity: float) -> float:
    """WCAG 2.1 contrast ratio of two CSS colours rgb(a), the text's alpha applied."""
    (r, g, b, *a), under = [[float(n) for n in c[c.index("(") + 1:-1].split(",")] for c in (text, back)]
    alpha = opacity * (a[0] if a else 1)
    seen = [alpha * t + (1 - alpha) * u for t, u in zip((r, g, b), under, strict=False)]

    def light(rgb: list[float]) -> float:
        linear = [c / 255 / 12.92 if c / 255 <= 0.03928 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb[:3]]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    one, two = sorted((light(seen), light(under)))
    return (two + 0.05) / (one + 0.05)
