"""A deck in Chromium with the network cut: keyboard, notes, themes, one slide a page, nothing that overflows, no error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from fmlab.lessons.source import lesson
from fmlab.lessons.teaching.deck import deck
from fmlab.lessons.teaching.results import Figure, Result
from fmlab.lessons.teaching.slides import slides

pytestmark = pytest.mark.browser

SQUARE = "data:image/svg+xml;base64,PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciIHdpZHRoPSI0MDAiIGhlaWdodD0iNDAwIi8+"
LINES = "\n".join(f"structure {n:3d}   " + "Dice 0.123   " * 14 for n in range(40))


class Shown:
    """A deck that is open, every address that it asked for, and whatever it complained about."""

    def __init__(self, browser: Browser, path: Path) -> None:
        self.context = browser.new_context(viewport={"width": 1280, "height": 762}, color_scheme="light", offline=True)
        self.page: Page = self.context.new_page()
        self.asked: list[str] = []
        self.trouble: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.trouble.append(message.text))
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.goto(path.as_uri())

    @property
    def at(self) -> int:
        """The number of the slide that is seen."""
        [number] = self.page.evaluate("slides.flatMap((s, i) => getComputedStyle(s).visibility === 'visible' ? [i + 1] : [])")
        return number

    def press(self, *keys: str) -> int:
        for key in keys:
            self.page.keyboard.press(key)
        return self.at


@pytest.fixture(scope="module")
def shown(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    found = lesson("06")
    code = [cell.source for cell in found.notebook().cells if "figure(" in cell.source and "for k in" not in cell.source]
    gave = {source: Result("two\nlines" if place else LINES, (Figure(SQUARE, "a square"),)) for place, source in enumerate(code)}
    path = tmp_path_factory.mktemp("deck") / "a deck ä.html"
    path.write_text(deck(found, slides(found, gave)), encoding="utf-8")
    shown = Shown(browser, path)
    yield shown
    shown.context.close()


def test_the_keyboard_leads_through_the_deck(shown):
    last = shown.page.locator(".slide").count()
    assert shown.press("Home") == 1 and shown.press("ArrowLeft") == 1
    assert shown.press("ArrowRight", "ArrowDown", "PageDown", " ") == 5
    assert shown.press("ArrowLeft", "ArrowUp", "PageUp") == 2
    assert shown.press("End") == last and shown.press("ArrowRight") == last
    assert shown.page.locator("#at").inner_text() == f"{last} / {last}" and shown.page.url.endswith(f"#{last}")
    shown.page.reload()
    assert shown.at == last  # a deck that is opened again is where it was
    assert shown.page.locator(".slide:not([aria-hidden=true])").count() == 1


def test_notes_come_with_a_key_and_in_a_window(shown):
    shown.press("Home")
    notes = shown.page.locator("#notes")
    assert not notes.is_visible()
    shown.press("n")
    assert notes.is_visible() and "Notes for teachers" in notes.inner_text()
    slide, bar = shown.page.locator(".slide.now").bounding_box(), notes.bounding_box()
    assert slide["y"] + slide["height"] <= bar["y"] + 1  # they hide nothing
    shown.press("n")
    assert not notes.is_visible()
    with shown.context.expect_page() as opened:
        shown.page.keyboard.press("w")
    window = opened.value
    assert "Notes for teachers" in window.locator("body").inner_text()
    window.keyboard.press("ArrowRight")
    assert shown.at == 2 and "Notes for teachers" not in window.locator("body").inner_text()
    window.close()


def test_buttons_do_the_same(shown):
    shown.press("Home")
    shown.page.get_by_role("button", name="Next slide").click()
    assert shown.at == 2
    shown.page.keyboard.press("Space")  # the button has the focus: pressed once, not twice
    assert shown.at == 3
    shown.page.get_by_role("button", name="Previous slide").click()
    assert shown.at == 2


def test_light_and_dark(shown):
    colours = "[getComputedStyle(slides[0]).backgroundColor, getComputedStyle(slides[0]).color]"
    light = shown.page.evaluate(colours)
    shown.press("d")
    dark = shown.page.evaluate(colours)
    shown.press("d")
    assert light == shown.page.evaluate(colours) != dark
    assert light[0] == "rgb(255, 255, 255)" and int(dark[0][4:].split(",")[0]) < 40


def test_nothing_overflows_and_no_type_is_tiny(shown):
    found = shown.page.evaluate("""() => slides.map((slide, place) => {
        const body = slide.querySelector('.body'), figure = body.querySelector('img');
        return {place, over: !!over(body), size: parseFloat(getComputedStyle(body).fontSize),
                tall: figure ? figure.clientHeight : 999, bottom: body.scrollHeight - body.clientHeight};
    })""")
    assert not [row for row in found if row["over"] or row["bottom"] > 1]
    assert not [row for row in found if row["size"] < 18 or row["tall"] < 230]


def test_print_gives_one_slide_a_page(shown, tmp_path):
    shown.press("n")
    pages = shown.page.pdf(prefer_css_page_size=True, print_background=True)
    shown.press("n")
    assert pages.count(b"/Type /Page\n") == shown.page.locator(".slide").count()


def test_without_a_script_the_slides_follow_one_another(browser, shown):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(shown.page.url.split("#")[0])
    boxes = [page.locator(".slide").nth(place).bounding_box() for place in (0, 1)]
    assert boxes[1]["y"] >= boxes[0]["y"] + boxes[0]["height"] and page.locator(".slide").nth(1).is_visible()
    context.close()


def test_nothing_was_asked_for_and_nothing_complained(shown):
    assert [address for address in shown.asked if not address.startswith(("file:", "data:"))] == []
    assert shown.trouble == []
