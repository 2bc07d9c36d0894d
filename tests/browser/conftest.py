"""One JupyterLab and one Chromium for all browser tests."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page

sys.path.insert(0, str(Path(__file__).parent))  # pytest's importlib mode leaves the test folders out
from live_lab import CELLS, CHROMIUM, Lab, chromium, jupyterlab, notebook  # noqa: E402


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not Path(CHROMIUM).exists():
        pytest.skip(f"{CHROMIUM} is not installed; .ci/run installs it")
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def lab(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with jupyterlab(browser, tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture(scope="session")
def live(lab: Lab) -> Page:
    """The notebook of CELLS, run, with its four viewers painted: plain, pair, drawn, late."""
    page = lab.open(notebook(lab.folder / "live.ipynb", CELLS))
    page.wait_for_function("() => document.querySelectorAll('.fm-viewer canvas[data-painted]').length === 4", timeout=90_000)
    return page


@pytest.fixture
def viewer(live: Page) -> Callable[[int], Locator]:
    """A viewer of the live notebook by its place (0 plain, 1 pair, 2 drawn, 3 late), reset by the kernel to its first state."""
    names = ("plain", "pair", "drawn", "late")

    def chosen(place: int) -> Locator:
        name = names[place]
        live.wait_for_timeout(200)  # the browser's last changes reach the kernel within 100 ms, and must not come after the reset
        layout = "side by side" if name == "pair" else "single"
        Lab.run(live, f"{name}.plane, {name}.cursor, {name}.window, {name}.hidden = 'axial', [20, 16, 15], 'soft tissue', []\n"
                      f"{name}.layout, {name}.swipe, {name}.tool, {name}.sign, {name}.fill = {layout!r}, 0.5, 'look', 1, True\n"
                      f"{name}.clear()")
        root = live.locator(".fm-viewer").nth(place)
        root.scroll_into_view_if_needed()
        painted = "(n) => document.querySelectorAll('.fm-viewer canvas')[n].dataset.painted === 'axial 15'"
        live.wait_for_function(painted, arg=place)
        return root

    return chosen
