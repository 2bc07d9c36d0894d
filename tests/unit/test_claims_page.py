"""The ledger for the eye: all claims in 100 columns, and one page that needs no network, no script and no colour."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from typer.testing import CliRunner

from fmlab import cli
from fmlab.errors import ClaimError
from fmlab.lessons import claims
from fmlab.lessons.claims import ledger, page

DATE = "2026-11-24T10:00:00+00:00"


@pytest.fixture(autouse=True)
def shipped(tmp_path, monkeypatch, fresh_cache):
    """A ledger in which C05 holds, C06 does not, C08 is undecided, C09 has one case, and C20 has to come up to a click."""
    monkeypatch.setattr(ledger, "SHIPPED", tmp_path / "shipped")
    for claim, values in (("C05", (0.4, 0.5, 0.45)), ("C06", (-0.4, -0.5, -0.3)), ("C08", (-0.4, 0.5, 0.1)), ("C09", (0.1,)),
                          ("C20", (300.0, 400.0, 350.0))):
        for seed in range(2):
            claims.record(run(claim, seed, values), tmp_path / "shipped")
    return tmp_path / "shipped"


def run(claim: str, seed: int, values: tuple[float, ...], **changed: object) -> claims.Run:
    given = {"profile": "laptop", "hardware": "a CPU, 2 threads", "date": DATE, "version": "0.1.0", "commit": "abc123",
             "command": f"python -m run {claim}", "details": {"setting": {"steps": 600, "spacing": 6.0}, "mean": {"masked": 0.5}}}
    return claims.Run(claim=claim, seed=seed, values={f"body {k}": v for k, v in enumerate(values)}, **(given | changed))


class Page(HTMLParser):
    """Tags with their attributes, and whether all were closed."""

    EMPTY = {"meta", "line", "circle", "rect", "path", "link", "img", "br"}

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def section(text: str, claim: str) -> str:
    return re.search(rf'<section id="{claim}".*?</section>', text, re.S).group()


# ---- in short


def test_all_claims_fit_into_100_columns_with_what_they_rest_on():
    lines = claims.overview().splitlines()
    assert max(map(len, lines)) <= 100
    text = "\n".join(lines)
    expected = {"C05": "holds", "C06": "does not hold", "C08": "undecided", "C09": "undecided", "C01": "not run"}
    for claim, outcome in expected.items():
        row, below = re.search(rf"^({claim} .*)\n(    .*)", text, re.M).groups()
        assert outcome in row and f"lesson {claims.find(claim).lesson}" in below
        if claim != "C01":
            assert re.search(r"-?\d\.\d{3}", row) and all(
                part in below for part in ("Dice", "2 seeds x", "2026-11-24", "a CPU, 2 threads"))
    assert "5 of 20 claims have been run." in text and "C06 contradicts the slides" in text


def test_a_long_list_of_machines_is_wrapped():
    for number in range(8):
        claims.record(run("C05", 10 + number, (0.4, 0.5), hardware=f"machine {number} of a long name, {number} threads"))
    text = claims.overview("own")
    assert max(map(len, text.splitlines())) <= 100 and "machine 7" in " ".join(text.split())


# ---- the page


def test_the_page_has_every_claim_with_all_that_is_asked_for():
    text = page.html()
    assert re.findall(r'<section id="(C\d\d)"', text) == [claim.id for claim in claims.declared()]
    for claim in claims.declared():
        part = section(text, claim.id)
        assert claim.sentence.split("'")[0] in part and f">{claim.lesson}<" in part
    holds = section(text, "C05")
    assert "<strong>holds</strong>" in holds and str(claims.verdict("C05").effect) in holds
    assert holds.count("spacing = 6.0, steps = 600") == 1 and holds.count('<th scope="row">') == 2  # settings once, runs each
    assert "python -m run C05" in holds and "abc123" in holds and "&#34;masked&#34;: 0.5" in holds
    assert "This contradicts the slides" in section(text, "C06") and "This contradicts" not in holds
    assert "80.3" in section(text, "C09") and 'href="https://doi.org/10.48550/arXiv.2309.08842"' in section(text, "C09")
    assert "<strong>not run yet</strong>" in section(text, "C01") and "Runs" not in section(text, "C01")
    assert "above\n1" in section(text, "C20") and "5 of 20 claims" in text


def test_the_page_is_one_file_that_follows_the_theme_and_prints():
    text = page.html()
    there = Page(text)
    assert not there.open and text.startswith("<!doctype html>")
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in there.tags}
    assert not re.search(r"url\(|@import|src=", text)
    assert all(at["href"].startswith(("#", "https://doi.org/")) for at in there.all("a"))
    assert "prefers-color-scheme: dark" in text and "@media print" in text
    ids = [at["id"] for _, at in there.tags if "id" in at]
    assert len(ids) == len(set(ids)) and all(at["href"][1:] in ids for at in there.all("a") if at["href"][0] == "#")


def test_the_page_can_be_heard():
    there = Page(page.html())
    assert there.all("html") == [{"lang": "en"}] and len(there.all("h1")) == 1 and len(there.all("title")) == 1
    pictures = there.all("svg")
    assert len(pictures) == 5 and all(at["role"] == "img" for at in pictures)
    labels = [at["aria-label"] for at in pictures]
    assert any("holds" in label and "from 0." in label for label in labels)
    assert any("without interval" in label for label in labels)
    assert all("scope" in at for at in there.all("th")) and len(there.all("caption")) == len(there.all("table"))


def test_marks_differ_in_shape_and_lie_where_they_belong():
    text = page.html()
    shapes = dict(zip(("C05", "C06", "C08"), ("<circle", "<rect", "<path")))
    for claim, shape in shapes.items():
        row = re.search(rf'<tr><th scope="row"><a href="#{claim}">.*?</tr>', text, re.S).group()
        assert shape in row and sum(other in row for other in shapes.values()) == 1
        zero = float(re.search(r'class="zero" x1="([\d.]+)"', row)[1])
        low, high = map(float, re.search(r'<line class="\w+" x1="([\d.]+)" x2="([\d.]+)" y1="14"', row).groups())
        assert {"C05": zero < low < high, "C06": low < high < zero, "C08": low < zero < high}[claim]
        assert 0 <= low and high <= 240
    assert 'class="least"' in re.search(r'<a href="#C20">.*?</tr>', text, re.S).group()


def test_what_a_run_says_is_text_and_no_markup():
    claims.record(run("C05", 0, (0.1, 0.2), hardware="<script>alert(1)</script> & co", command='"><img src=x>'))
    text = page.html("own")
    assert "<script" not in text and "<img" not in text and "&lt;script&gt;" in text and "your own runs" in text


def test_lessons_are_linked_where_they_lie(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "12_partial_labels.html").write_text("a lesson")
    assert page.lesson_beside(tmp_path / "out" / "claims.html", "12") == "12_partial_labels.html"
    beside = page.lesson_beside(tmp_path / "out" / "claims.html", "13")
    assert (tmp_path / "out" / beside).resolve().name.startswith("13_") and (tmp_path / "out" / beside).is_file()
    assert page.lesson_beside(tmp_path / "claims.html", "99") is None
    text = page.html(link=lambda number: f"lessons/{number}.html" if number == "12" else None)
    assert '<a href="lessons/12.html">Lesson 12</a>' in section(text, "C05") and "lessons/" not in section(text, "C06")


def test_the_command_writes_the_page_or_says_why_not(tmp_path):
    target = tmp_path / "a folder" / "claims.html"
    done = CliRunner().invoke(cli.app, ["claims", "--html", str(target)])
    assert done.exit_code == 0 and str(target) in done.output.replace("\n", "")
    assert Page(target.read_text(encoding="utf-8")).all("section")
    assert [each.name for each in target.parent.iterdir()] == [target.name]
    (tmp_path / "blocked").write_text("a file")
    with pytest.raises(ClaimError, match="cannot be written"):
        page.write(tmp_path / "blocked" / "claims.html")


def test_the_template_travels_in_the_wheel():
    assert page.TEMPLATE.is_file() and page.TEMPLATE.parent == ledger.Path(ledger.__file__).parent
