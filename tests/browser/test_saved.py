"""The viewer without a kernel: the figure in a reopened notebook, and the scrollable page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from live_lab import Lab, pixel
from playwright.sync_api import Browser, FrameLocator, Page, expect

from fmlab.viewer import static, view
from fmlab.volume import Volume

pytestmark = pytest.mark.browser

FORMULAS = r"""# A page
Dice is $\frac{2|A \cap B|}{|A| + |B|}$, and with a sum

$$\mathrm{Dice}_\varepsilon = \frac{2 \sum_i p_i g_i + \varepsilon}{\sum_i p_i + \sum_i g_i + \varepsilon}$$

![a remote picture](https://example.org/picture.png) cost in $ and not a formula.
"""


def scan() -> Volume:
    image = torch.zeros(1, 30, 24, 20) + 20.0 * torch.arange(20) - 100
    labels = torch.zeros(1, 30, 24, 20, dtype=torch.uint8)
    labels[:, 20:28, 14:22] = 42
    return Volume(image, np.diag([2.0, 2.0, 2.0, 1.0]), labels=labels, name="blocks")


def executed(monkeypatch: pytest.MonkeyPatch, record: bool) -> nbformat.NotebookNode:
    """A notebook as it is after execution: a viewer's output, a formula's, another widget's."""
    monkeypatch.setenv(static.RECORD, "1" if record else "0")
    data, _ = view(scan(), height=300)._repr_mimebundle_()
    v4 = nbformat.v4
    slider = {static.WIDGET: {"model_id": "0" * 32, "version_major": 2}, "text/plain": "IntSlider(value=3)"}
    outputs = [v4.new_output("display_data", one) for one in (data, {"text/latex": r"$\sqrt{2}$"}, slider)]
    named = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}, "widgets": {"a": {}}}
    cells = [v4.new_markdown_cell(FORMULAS), v4.new_code_cell("view(scan)", outputs=outputs)]
    return v4.new_notebook(cells=cells, metadata=named)


def test_a_reopened_notebook_shows_the_figure_with_alt_text(lab: Lab, monkeypatch):
    path = lab.folder / "reopened.ipynb"
    nbformat.write(executed(monkeypatch, record=False), path)
    page = lab.open(path, run=False)
    figure = page.locator(".jp-OutputArea-output figure img").first
    expect(figure).to_be_visible()
    assert figure.get_attribute("alt").startswith("Axial slice 11 of 20 of blocks, soft tissue window; liver 10 ml")
    assert figure.evaluate("(e) => e.naturalWidth > 100 && e.naturalHeight > 100")
    page.wait_for_timeout(1000)
    assert not re.search("model not found|error displaying widget", page.locator(".jp-Notebook").inner_text(), re.I)
    page.close()


class Saved:
    """The page of an executed notebook, opened from a file, and every address that it asked for."""

    def __init__(self, browser: Browser, path: Path) -> None:
        self.page: Page = browser.new_page(viewport={"width": 1200, "height": 1000})
        self.asked: list[str] = []
        self.refused: list[str] = []  # by the page's own policy, before anything travels
        self.trouble: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("requestfailed", lambda request: self.refused.append(request.url) if request.failure == "csp" else None)
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.goto(path.as_uri())

    def frame(self) -> FrameLocator:
        return self.page.frame_locator("iframe")


@pytest.fixture
def saved(browser: Browser, tmp_path: Path, monkeypatch) -> Iterator[Saved]:
    path = static.notebook_to_html(executed(monkeypatch, record=True), tmp_path / "page.html")
    saved = Saved(browser, path)
    yield saved
    saved.page.close()


def test_the_page_scrolls_and_asks_the_network_for_nothing(saved: Saved):
    canvas = saved.frame().locator("canvas")
    expect(canvas).to_have_attribute("data-painted", "axial 10")
    assert pixel(canvas, 0.5, 0.5) == (166, 166, 166)  # 100 HU in 40/400
    canvas.focus()
    saved.page.keyboard.press("ArrowUp")
    expect(canvas).to_have_attribute("data-painted", "axial 11")
    assert pixel(canvas, 0.5, 0.5) == (179, 179, 179)
    saved.page.keyboard.press("s")
    expect(canvas).to_have_attribute("data-painted", "sagittal 15")
    saved.frame().get_by_role("button", name="None").click()
    expect(saved.frame().locator(".fm-row input")).not_to_be_checked()
    outside = [url for url in saved.asked if not url.startswith(("file:", "data:", "about:", "blob:"))]
    assert outside == saved.refused == ["https://example.org/picture.png"]
    assert saved.trouble == []


def test_formulas_are_mathml_and_widgets_leave_words(saved: Saved):
    assert saved.page.locator("math").count() == 3
    assert saved.page.locator("math[display=block]").bounding_box()["height"] > 20  # drawn as a fraction, not as a line of text
    text = saved.page.locator("main").inner_text()
    assert "cost in $ and not a formula" in text and "\\frac" not in text
    assert "IntSlider(value=3)" in text and "works in the running notebook" in text
    assert saved.page.locator("iframe").get_attribute("title").startswith("Axial slice 11 of 20")


def test_the_kernel_sends_the_figure_beside_the_widget(live: Page):
    kinds = Lab.run(live, "print(sorted(plain._repr_mimebundle_()[0]))")
    assert kinds == str(["application/vnd.jupyter.widget-view+json", "text/html", "text/plain"])
