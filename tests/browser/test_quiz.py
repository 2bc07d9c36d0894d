"""The quiz in a real JupyterLab: answered by keyboard alone, and still readable in a saved notebook without its kernel."""

from __future__ import annotations

from pathlib import Path

import pytest
from live_lab import notebook

CELL = "import os\nos.environ['FMLAB_COURSE'] = os.getcwd()\nfrom fmlab.lessons import quiz\nquiz('00-q1')"


@pytest.fixture(scope="module")
def page(lab):
    page = lab.open(notebook(lab.folder / "quiz.ipynb", (CELL,)))
    page.wait_for_selector(".jp-OutputArea-output button", timeout=60_000)
    return page


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_answered_by_keyboard(lab, page, key):
    buttons = page.locator(".jp-OutputArea-output button")
    cells = page.locator(".jp-Cell").count()
    place = 0 if key == "Enter" else 1
    buttons.nth(place).focus()
    page.keyboard.press(key)
    words = "the error is the same" if place == 0 else "nearly all surface. Compare"
    said = "words => document.querySelector('.jp-OutputArea-output').innerText.includes(words)"
    page.wait_for_function(said, arg=words, timeout=15_000)
    assert page.locator(".jp-Cell").count() == cells
    assert (lab.folder / "progress.json").is_file()


def test_tab_leads_from_option_to_option(page):
    page.locator(".jp-OutputArea-output button").nth(0).focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText.trim()") == "2"


def test_reopened_without_its_kernel_it_can_still_be_read(lab, tmp_path, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    path = notebook(lab.folder / "saved.ipynb", (CELL,))
    made = nbformat.read(path, as_version=4)
    NotebookClient(made, resources={"metadata": {"path": str(tmp_path)}}).execute()
    nbformat.write(made, path)
    again = lab.open(path, run=False)
    again.wait_for_selector(".jp-OutputArea-output details", timeout=60_000)
    again.locator(".jp-OutputArea-output summary").nth(1).click()
    assert "nearly all surface" in again.locator(".jp-OutputArea-output details").nth(1).inner_text()
    assert "not found" not in again.locator(".jp-OutputArea-output").first.inner_text().lower()
