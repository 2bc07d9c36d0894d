"""README: its tour is typed and prints what it says, its commands and imports exist, its pictures and its table are not old."""

from __future__ import annotations

import ast
import contextlib
import importlib
import io
import re
import shlex
import webbrowser
from pathlib import Path
from typing import NamedTuple

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from data_scripts import draw_course
from fmlab import cli
from fmlab.systems import systems

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMPARISON = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")
NUMBER = re.compile(r"-?\d+\.\d+")


class Block(NamedTuple):
    """A fenced block, and the lines that are shown below it as its output."""

    language: str
    code: str
    shown: list[str]


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page; one of ``text`` belongs to what stands before it."""
    found: list[Block] = []
    for language, code in re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if language == "text":
            found[-1].shown.extend(code.splitlines())
        else:
            found.append(Block(language, code, []))
    return found


def commands(text: str) -> list[list[str]]:
    """The words of each shell command of a page, without comments."""
    lines = [line for block in blocks(text) if block.language == "bash" for line in block.code.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


TOUR = README.split("<!-- tour: ")[1].split("<!-- tour: end -->")[0]
NEEDS_NETWORK, LONG = "totalsegmentator-ct", ["fmlab", "run"]  # the lessons' own tests run them


def same(shown: str, printed: str) -> bool:
    """Whether a line is the one shown: its words exactly, its numbers nearly, since machines round differently."""
    if NUMBER.sub("#", shown) != NUMBER.sub("#", printed):
        return False
    pairs = zip(map(float, NUMBER.findall(shown)), map(float, NUMBER.findall(printed)), strict=True)
    return all(abs(one - other) <= max(0.02, 0.01 * abs(one)) for one, other in pairs)


def missing(shown: list[str], printed: str) -> list[str]:
    """The lines that are shown and were not printed, in their order."""
    left, lost = iter(printed.splitlines()), []
    for line in shown:
        if line != "..." and not any(same(line, other) for other in left):
            lost.append(line)
            left = iter(())
    return lost


@pytest.mark.parametrize("words", commands(README), ids=" ".join)
def test_every_command_is_one_that_there_is(words):
    if words[0] == "fmlab":
        command, args = typer.main.get_command(cli.app), words[1:]
        while hasattr(command, "commands"):
            assert args[0] in command.commands, f"there is no `{' '.join(words)}`"
            command, args = command.commands[args[0]], args[1:]
        try:
            command.make_context(words[1], list(args))  # parses, and calls nothing
        except Exception as error:  # of click, or of the click that typer brings along
            pytest.fail(f"`{' '.join(words)}`: {error}")
    elif words[:2] == ["python", "-m"]:
        assert (ROOT / Path(*words[2].split("."))).with_suffix(".py").is_file()
    elif words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    else:
        pytest.fail(f"nobody checks `{' '.join(words)}`")


@pytest.mark.parametrize("code", [block.code for block in blocks(README) if block.language == "python"])
def test_python_compiles_and_what_it_imports_exists(code):
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name) or importlib.import_module(f"{node.module}.{alias.name}")


def test_the_tour_prints_what_it_shows(tmp_path, monkeypatch, no_network):
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks(TOUR):
        if NEEDS_NETWORK in block.code:
            continue
        printed = io.StringIO()
        if block.language == "python":
            with contextlib.redirect_stdout(printed):
                exec(compile(block.code, "README.md", "exec"), names)  # as it stands: what is read is what is run
        for words in commands(f"```bash\n{block.code}```\n") if block.language == "bash" else []:
            if words[:2] == LONG:
                continue
            done = CliRunner().invoke(cli.app, words[1:])
            assert done.exit_code == 0, (words, done.output, done.exception)
            printed.write(done.stdout)
        shown = [line for line in block.shown if not line.startswith("runs/")]
        assert not missing(shown, printed.getvalue()), printed.getvalue()
    assert len(opened) == 1 and opened[0].endswith("body.html")
    assert {path.name for path in tmp_path.iterdir()} >= {"body.nii.gz", "body_labels.nii.gz", "body.html", "found.nii.gz"}


def test_lines_that_differ_are_missed():
    printed = "structure  ml  Dice\nliver  1416.1 0.914\nspleen  122.5 0.948"
    assert not missing(["structure  ml  Dice", "...", "spleen  122.5 0.94"], printed)
    assert missing(["spleen  122.5 0.90"], printed) and missing(["kidney  122.5 0.948"], printed)
    assert missing(["spleen  122.5 0.948", "liver  1416.1 0.914"], printed)  # in another order


def test_the_tours_real_ct_has_the_numbers_of_the_table():
    shown = ast.literal_eval(next(block.shown[0] for block in blocks(TOUR) if "cohorts.load" in block.code))
    table = README.split("<!-- universal: ")[1].split("<!-- universal: end")[0]
    assert len(shown) == 3
    for name, dice in shown.items():
        assert re.search(rf"^\| {name} \|(?: [^|]* \|){{3}} {dice:.2f} \|", table, re.MULTILINE), name


def test_pictures_are_there_and_say_what_one_sees():
    found = dict((path, alt) for alt, path in re.findall(r"^!\[(.*?)\]\((\S+)\)$", README, re.MULTILINE))
    assert {"docs/pictures/lesson.png", "docs/pictures/map.png", "docs/pictures/ledger.png"} <= found.keys()
    for path, alt in found.items():
        assert (ROOT / path).is_file() and len(alt) > 60 and alt.endswith(".")


@pytest.mark.parametrize("name", draw_course.PICTURES)
def test_a_drawn_picture_shows_what_the_package_holds_now(name):
    path = ROOT / "docs" / "pictures" / f"{name}.png"
    figure, words = draw_course.PICTURES[name]()
    with Image.open(path) as picture:
        assert picture.text["Description"] == words, "it is old: python -m data_scripts.draw_course, and see README's alt text"
        assert picture.width > 1200
    assert path.stat().st_size < 200_000 and figure.axes


def test_readme_counts_as_the_ledger_and_the_map_do():
    assert f"![{draw_course.in_short()}](docs/pictures/ledger.png)" in README
    assert f"![Map of {len(systems())} systems" in README


def test_a_picture_keeps_its_words_and_the_orange_of_one_small_mark(tmp_path):
    figure, words = draw_course.the_ledger()
    draw_course.save(figure, words, tmp_path / "ledger.png")
    with Image.open(tmp_path / "ledger.png") as picture:
        assert picture.text["Description"] == words and picture.mode == "P"
        reds = [colour for _, colour in picture.convert("RGB").getcolors(1 << 16) if colour[0] > 190 and colour[2] < 40]
    assert reds


def comparison_cells() -> dict[str, dict[str, str]]:
    """Row -> column -> the cell, as the evidence has it."""
    words = "yes|part|no|not found|original|not checked"
    return {title: dict(re.findall(rf"^- \*\*(.+?)\*\*: ({words})\.", body, re.MULTILINE))
            for title, body in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", COMPARISON, re.MULTILINE | re.DOTALL)}


def test_the_table_beside_others_is_that_of_the_evidence():
    lines = README.split("## Beside other open material")[1].split("\n## ")[0].splitlines()
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|"))
    assert {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows} == comparison_cells()
    assert len(rows) >= 10 and sum(row[1] == "no" for row in rows) >= 3  # what others have and we lack belongs there


@pytest.mark.parametrize(("page", "text"), [("README.md", README), ("docs/comparison.md", COMPARISON)])
def test_links_within_the_project_lead_somewhere(page, text):
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    headings = {re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-") for title in titles}
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in headings, target
        elif not target.startswith("http"):
            assert (ROOT / page).parent.joinpath(target.split("#")[0]).exists(), target
