"""The course's pages in Chromium, opened from disk with the network cut: viewers, search, links, themes, print, accessibility."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect

from fmlab.site import build
from fmlab.site.pages import LIMIT

pytestmark = pytest.mark.browser
WELCOME, SAM = "00_welcome.html", "08_sam.html"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lesson 00 as it runs (kept in the reader's own cache, for the next time) and lesson 08 without outputs."""
    folder = tmp_path_factory.mktemp("seite") / "mein Kurs, é"
    (page,) = build(folder, ["0"])
    assert page.ran, page.problem
    build(folder, ["8"], run=False, cache=tmp_path_factory.mktemp("empty"))
    return folder


class Reader:
    """A browser without network: what it asked for, and what went wrong in its pages."""

    def __init__(self, browser: Browser, site: Path, **settings: object) -> None:
        self.site = site
        settings = {"viewport": {"width": 1280, "height": 900}} | settings
        self.context: BrowserContext = browser.new_context(**settings, offline=True)
        self.trouble: list[str] = []
        self.page: Page = self.context.new_page()
        self.page.on("console", lambda said: self.trouble.append(said.text) if said.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.on("request", lambda asked: self._asked(asked.url))

    def _asked(self, url: str) -> None:
        if not url.startswith((self.site.as_uri(), "data:", "blob:")):
            self.trouble.append(f"asked for {url[:100]}")

    def open(self, name: str) -> Page:
        self.page.goto((self.site / name.partition("#")[0]).as_uri() + name[len(name.partition("#")[0]):])
        return self.page

    def scan(self, number: int = 0):
        """A living viewer, scrolled to, with its first slice painted."""
        place = self.page.locator(".scan").nth(number)
        place.scroll_into_view_if_needed()
        canvas = place.locator("canvas")
        expect(canvas).to_have_attribute("data-painted", re.compile("axial|coronal|sagittal"), timeout=30_000)
        return place


@pytest.fixture
def reader(browser: Browser, site: Path) -> Iterator[Reader]:
    reader = Reader(browser, site)
    yield reader
    reader.context.close()
    assert reader.trouble == []


def test_pages_are_small(site: Path):
    sizes = {path.name: path.stat().st_size for path in site.glob("*.html")}
    assert {WELCOME, SAM, "index.html", "claims.html"} == sizes.keys()
    assert max(sizes.values()) < LIMIT, sizes


def test_a_viewer_scrolls_in_the_page(reader: Reader):
    page = reader.open(WELCOME)
    place = reader.scan()
    canvas = place.locator("canvas")
    expect(place.locator("figure")).to_be_hidden()
    plane, index = canvas.get_attribute("data-painted").split()
    canvas.focus()
    page.keyboard.press("ArrowUp")
    expect(canvas).to_have_attribute("data-painted", f"{plane} {int(index) + 1}")
    grey = "(c) => new Set(c.getContext('2d').getImageData(c.width / 3, c.height / 2, c.width / 3, 1).data).size"
    assert canvas.evaluate(grey) > 20  # a body, not a black square
    page.keyboard.press("s")
    expect(canvas).to_have_attribute("data-painted", re.compile("sagittal"))
    place.get_by_role("button", name="None").click()
    expect(place.locator(".fm-row input").first).not_to_be_checked()
    assert "compressed" in place.locator(".fm-note").inner_text()


def test_every_viewer_comes_to_life(reader: Reader):
    page = reader.open(WELCOME)
    for number in range(page.locator(".scan").count()):
        reader.scan(number)
    assert page.locator(".scan.alive").count() == page.locator(".scan").count() >= 3


def test_the_search_finds_and_leads_there(reader: Reader):
    page = reader.open("index.html")
    page.keyboard.press("/")
    expect(page.locator("#query")).to_be_focused()
    page.keyboard.type("hausdorff distance")
    expect(page.locator(".found li").first).to_contain_text("HD95")
    assert page.locator(".found mark").first.inner_text().lower() == "hausdorff"
    page.keyboard.press("ArrowDown")
    expect(page.locator(".found a").first).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url("**/00_welcome.html#*")
    heading = page.locator(f"[id='{page.evaluate('location.hash.slice(1)')}']")
    assert "HD95" in heading.inner_text() and 0 <= heading.bounding_box()["y"] < 450


def test_the_search_says_when_there_is_nothing_and_closes(reader: Reader):
    page = reader.open(SAM)
    page.locator("#query").fill("zzyzx")
    expect(page.locator(".found .count")).to_have_text("Nothing found")
    page.keyboard.press("Escape")
    expect(page.locator(".found")).to_be_hidden()
    page.locator("#query").fill("two-way attention")
    expect(page.locator(".found li").first).to_contain_text("08")


def test_next_and_previous(reader: Reader):
    page = reader.open("index.html")
    page.get_by_role("link", name="Welcome: scans, labels, metrics").click()
    page.locator("a[rel=next]").click()
    page.wait_for_url(f"**/{SAM}")
    expect(page.locator("main")).to_contain_text("built without running its cells")
    page.locator("a[rel=prev]").click()
    page.wait_for_url(f"**/{WELCOME}")
    page.locator(".brand").click()
    page.wait_for_url("**/index.html")
    page.get_by_role("link", name="Claims").click()
    expect(page.locator("h1")).to_contain_text("claim")


BACKGROUND = "getComputedStyle(document.body).backgroundColor"


def test_the_theme_is_chosen_once_for_all_pages(reader: Reader):
    page = reader.open(SAM)
    light = page.evaluate(BACKGROUND)
    button = page.locator("button.theme")
    expect(button).to_have_attribute("aria-pressed", "false")
    button.click()
    dark = page.evaluate(BACKGROUND)
    expect(button).to_have_attribute("aria-pressed", "true")
    assert sum(map(int, dark[4:-1].split(", "))) < 120 < 600 < sum(map(int, light[4:-1].split(", ")))
    reader.open("claims.html")
    assert page.evaluate(BACKGROUND) == dark
    page.locator("button.theme").click()
    page.reload()
    assert page.evaluate(BACKGROUND) == light


def test_the_system_decides_until_the_reader_does(browser: Browser, site: Path):
    reader = Reader(browser, site, color_scheme="dark")
    page = reader.open(SAM)
    expect(page.locator("button.theme")).to_have_attribute("aria-pressed", "true")
    dark = page.evaluate(BACKGROUND)
    page.emulate_media(color_scheme="light")
    assert page.evaluate(BACKGROUND) != dark
    expect(page.locator("button.theme")).to_have_attribute("aria-pressed", "false")
    reader.context.close()


def test_a_prediction_is_remembered_and_the_first_one_counts(reader: Reader):
    page = reader.open(WELCOME)
    box, again = page.locator("[data-predict='00-p1']"), page.locator("[data-recall='00-p1']")
    expect(again).to_have_text("Compare this with what you predicted.")
    box.get_by_label("on the right of the picture").check()
    expect(again).to_have_text("You predicted: on the right of the picture")
    box.get_by_label("on the left of the picture").check()
    expect(box.locator(".note")).to_have_text("Your first prediction is kept: on the right of the picture")
    page.reload()
    expect(page.locator("[data-recall='00-p1']")).to_have_text("You predicted: on the right of the picture")
    expect(page.locator("[data-predict='00-p1']").get_by_label("on the right of the picture")).to_be_checked()


def test_a_quiz_is_answered_by_keyboard(reader: Reader):
    page = reader.open(f"{WELCOME}#9-quiz")
    option = page.locator(".quiz details").first
    option.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(option.locator("p")).to_be_visible()
    assert option.locator("p").inner_text().startswith(("Right.", "Not right."))


def test_print_has_no_navigation_and_answers_unfolded(reader: Reader):
    page = reader.open(WELCOME)
    place = reader.scan()
    page.emulate_media(media="print", color_scheme="dark")
    for hidden in (".banner", ".contents", ".way", ".hints"):
        expect(page.locator(hidden).first).to_be_hidden()
    expect(place.locator("figure")).to_be_visible()
    expect(place.locator("canvas")).to_be_hidden()
    assert page.locator(".quiz details p").first.bounding_box()["height"] > 10
    assert page.evaluate(BACKGROUND) == "rgb(255, 255, 255)"
    assert page.pdf()[:5] == b"%PDF-"


def test_without_scripts_everything_can_be_read(browser: Browser, site: Path):
    reader = Reader(browser, site, java_script_enabled=False)
    page = reader.open(WELCOME)
    expect(page.locator(".scan figure img").first).to_be_visible()
    assert page.locator(".scan figure img").first.get_attribute("alt").startswith("Axial slice")
    page.locator(".quiz summary").first.click()
    expect(page.locator(".quiz details p").first).to_be_visible()
    expect(page.locator(".contents a").first).to_be_visible()
    reader.context.close()


@pytest.mark.parametrize("name", ["index.html", WELCOME, SAM, "claims.html"])
def test_nothing_sticks_out_of_a_phone(browser: Browser, site: Path, name: str):
    reader = Reader(browser, site, viewport={"width": 390, "height": 800})
    page = reader.open(name)
    if name == WELCOME:
        reader.scan()
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 390
    reader.context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", ["index.html", WELCOME, SAM, "claims.html"])
def test_axe_finds_nothing_serious(browser: Browser, site: Path, name: str, theme: str):
    reader = Reader(browser, site, color_scheme=theme)
    page = reader.open(name)
    if name == WELCOME:
        reader.scan()
        page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    page.locator("#query").fill("dice")
    expect(page.locator(".found li").first).to_be_visible()
    found = Axe().run(page).response["violations"]
    serious = [f"{one['id']}: {one['help']}: {[node['target'] for node in one['nodes']][:3]} "
               f"{one['nodes'][0]['any'][:1]}" for one in found if one["impact"] in ("serious", "critical")]
    print([f"{one['id']} ({one['impact']})" for one in found])
    assert serious == []
    reader.context.close()
