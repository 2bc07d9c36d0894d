"""The instructor layer: what is made from a lesson's source says what the lesson says, gives nothing away, and loads nothing."""

from __future__ import annotations

import ast
import builtins
import copy
import functools
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from typer.testing import CliRunner

from fmlab import cli
from fmlab.errors import LessonError
from fmlab.lessons import source
from fmlab.lessons.build import as_bytes, notebook, stubbed
from fmlab.lessons.exercise import exercises
from fmlab.lessons.quiz import questions
from fmlab.lessons.teaching import plan
from fmlab.lessons.teaching.asked import asked
from fmlab.lessons.teaching.deck import deck
from fmlab.lessons.teaching.instructor import instructor
from fmlab.lessons.teaching.key import LETTERS, key, sheet
from fmlab.lessons.teaching.kit import teach
from fmlab.lessons.teaching.markdown import blocks, inline_html, sentences, to_html
from fmlab.lessons.teaching.minutes import sections
from fmlab.lessons.teaching.names import bound_by, needed_by
from fmlab.lessons.teaching.notes import notes_of, places
from fmlab.lessons.teaching.recall import first_line, recall
from fmlab.lessons.teaching.results import results
from fmlab.lessons.teaching.slides import shown, slides

DICE = next(spec for spec in exercises("00") if spec.id == "00-dice")
ROOT = Path(__file__).resolve().parents[2]
SOURCE = '''# ---
# jupyter:
#   fmlab:
#     title: "Dice: a lesson"
#     section: 1.A
#     goals: [measure, doubt]
#     prerequisites: [Python]
#     minutes: 20
#     seconds: 30
#     gigabytes: 1.5
# ---
# %% [markdown]
# # 00 · Dice

# %% [markdown]
# A **mask** is a set of voxels.

# %% [markdown] tags=["instructor"]
# **Notes for teachers.** 20 minutes alone, 30 in a room. Draw section 1 on the board. Let pairs argue at 00-p1.
#
# **Typical misconceptions.** In exercise 3 the factor 2 is forgotten.

# %%
import math

from fmlab.lessons import check, hint, predict, quiz, show_source

# %% [markdown]
# ## 1. Overlap
# Two masks are compared (see [Dice](https://doi.org/10.2307/1932409)):
#
# $$D = \\frac{2 |P \\cap R|}{|P| + |R|}$$
#
# **Exercise 3.** Write it.
#
# - nan if both are empty


# %%
def my_dice(prediction, reference):
    """Dice of two masks."""
    # solution
    total = int(prediction.sum()) + int(reference.sum())
    return 2 * int((prediction & reference).sum()) / total if total else float("nan")


check("00-dice", my_dice)

# %%
# hint("00-dice")

# %%
show_source("fmlab.metrics.dice")

# %%
predict("00-p1", "Which is larger?", ["the first", "the second"])

# %%
values = [1, 2, 3]
total = sum(values)

# %%
# what a mean hides
total = total / 3
spread = max(values) - min(values)
print(f"{total:.1f}", spread)

# %%
predict("00-p1")

# %% [markdown]
# *What to see.* The mean is in the middle. Always.

# %%
total = 0
for value in values:
    total += value
print(total, math.pi)

# %% [markdown]
# ## 2. Quiz

# %%
quiz("00-q1")
'''


@pytest.fixture(autouse=True)
def read_once(monkeypatch):
    """Reading a lesson takes longer than anything that is tested here."""
    monkeypatch.setattr(source, "read_percent", lambda path: copy.deepcopy(_read(path, path.stat().st_mtime_ns)))


@functools.cache
def _read(path, _changed, read=source.read_percent):
    return read(path)


@pytest.fixture
def lesson(tmp_path):
    (folder := tmp_path / "tutorials").mkdir()
    (folder / "00_dice.py").write_text(SOURCE)
    return source.lessons(folder)[0]


def of_kind(made, kind):
    return [slide for slide in made if slide.kind == kind]


def text(made):
    return "\n".join(cell.source for cell in made.cells)


# ---- the blocks and sentences of a text

def test_a_text_is_cut_into_its_blocks():
    found = blocks("## 1. A title\nA text of\ntwo lines.\n\n$$a\n= b$$\nand\n- one\n- two\n\n| a | b |\n|---|---|\n\n"
                   "```\n# no heading\n\nx\n```")
    assert [block.kind for block in found] == ["heading", "text", "math", "text", "list", "table", "code"]
    assert (found[0].text, found[0].level, found[1].text) == ("1. A title", 2, "A text of\ntwo lines.")
    assert "no heading" in found[-1].text and found[-1].text.endswith("```")


def test_a_year_that_begins_a_line_is_no_list():
    assert [block.kind for block in blocks("UniverSeg (Butoi et al.\n2023) is such a net.")] == ["text"]


@pytest.mark.parametrize(("given", "parts"), [
    ("One. Two! Three?", 3), ("See Butoi et al. They say so.", 1), ("Here $a. B$ is one. And `x. Y` too.", 2),
    ("It is 0.5 mm. Fine.", 2), ("(What? Yes.) No.", 3), ("", 0)])
def test_sentences(given, parts):
    found = sentences(given)
    assert len(found) == parts and " ".join(found) == given


def test_html_has_formulas_and_no_address():
    page = to_html("A [paper](https://doi.org/10.1000/x) and [a page](https://example.org), $x_i$ and <script>alert(1)</script>")
    assert "<math" in page and "(doi:10.1000/x)" in page
    assert "http" not in page and "<script" not in page and "href" not in page
    assert inline_html("1. A task") == "1. A task"


# ---- slides

def test_headings_predictions_exercises_and_questions_become_slides(lesson):
    made = slides(lesson)
    assert [slide.kind for slide in made] == ["title", "text", "exercise", "question", "text", "question", "answer"]
    assert made[0].title == "Dice: a lesson" and "measure" in made[0].body[0] and "section 1.A" in made[0].over
    exercise = of_kind(made, "exercise")[0]
    assert exercise.title == "Exercise 3" and exercise.over == "1. Overlap"
    body = "".join(exercise.body)
    assert all(words in body for words in ("<math", "my_dice", "your code here", "nan if both")) and "int(prediction" not in body
    assert all(words in "".join(exercise.notes) for words in ("int(prediction.sum())", *DICE.hints))
    vote = of_kind(made, "question")[0]
    assert "Which is larger?" in "".join(vote.body) and "the second" in "".join(vote.body)
    first = questions("00")[0]
    asking, answer = made[-2:]
    right = next(option for option in first.options if option.right)
    assert "class=right" not in "".join(asking.body) and right.why not in "".join(asking.body)
    assert "".join(answer.body).count("class=right") == 1


def test_text_of_the_section_before_does_not_lead_to_an_exercise(lesson):
    lesson.path.write_text(SOURCE.replace("# **Exercise 3.**", "# ## 4. Another\n# **Exercise 3.**"))
    exercise = of_kind(slides(source.read(lesson.path)), "exercise")[0]
    assert exercise.over == "4. Another" and "Two masks are compared" not in "".join(exercise.body)


def test_the_teachers_words_stand_where_they_belong(lesson):
    made = slides(lesson)
    assert "Notes for teachers" in "".join(made[0].notes)
    assert "Draw section 1 on the board." in "".join(of_kind(made, "exercise")[0].notes)  # the section's text is on that slide
    assert "factor 2" in "".join(of_kind(made, "exercise")[0].notes)
    assert "Let pairs argue" in "".join(of_kind(made, "question")[0].notes)
    assert not any("Let pairs argue" in "".join(slide.body) for slide in made)


def test_of_a_long_paragraph_the_rule_takes_beginning_terms_and_what_leads_to_an_equation():
    middle = "A middle one that is rather long and says nothing of use to a room. "
    long = f"The first. {middle * 5}A **term** is set. Last: $x$ is"
    block, equation = blocks(long)[0], blocks("$$x$$")[0]
    assert shown(block, equation).endswith("A **term** is set. Last: $x$ is")
    assert shown(block, None).endswith("A **term** is set.")
    assert shown(block, None).count("A middle one") < 5
    assert shown(blocks("Short. Whole.")[0], None) == "Short. Whole."


def executed(lesson, folder, changed=False):
    """The lesson as run, with a figure in one cell and a print in another."""
    made = notebook(lesson, "solution")
    image = '<figure><img alt="two &amp; two" src="data:image/png;base64,AAAA" style="x"></figure>'
    for cell in made.cells:
        if "spread" in cell.source:
            cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text="2.0 2\n"),
                            nbformat.v4.new_output("display_data", {"text/html": image, "text/plain": "[figure: x]"})]
            cell.source += "\n# changed" if changed else ""
        if "math.pi" in cell.source:
            cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text="\x1b[31m6\x1b[0m\n" * 40)]
        if "check(" in cell.source:
            said = {"text/html": '<div role="status">x</div>', "text/plain": "Passed"}
            cell.outputs = [nbformat.v4.new_output("execute_result", said)]
    folder.mkdir(exist_ok=True)
    (folder / f"{lesson.name}.solution.ipynb").write_bytes(as_bytes(made))
    return folder


def test_figures_of_an_executed_lesson_come_with_alt_text_and_what_to_see(lesson, tmp_path):
    made = slides(lesson, results(lesson, executed(lesson, tmp_path / "runs")))
    [figure] = of_kind(made, "figure")
    body = "".join(figure.body)
    assert 'alt="two &amp; two"' in body and "2.0 2" in body and "class=caption>The mean is in the middle. Always." in body
    [lines] = of_kind(made, "printed")
    assert "more" in lines.body[-1] and "\x1b" not in lines.body[-1] and lines.body[-1].count("\n") < 20
    assert not any("Passed" in "".join(slide.body) for slide in made)


def test_outputs_of_another_version_of_a_cell_are_not_shown(lesson, tmp_path):
    made = slides(lesson, results(lesson, executed(lesson, tmp_path / "runs", changed=True)))
    assert not of_kind(made, "figure") and of_kind(made, "printed")
    assert results(lesson, tmp_path / "nowhere") == {} and "fmlab run 00" in "".join(slides(lesson)[0].notes)
    (tmp_path / "runs" / f"{lesson.name}.solution.ipynb").write_text("{")
    with pytest.raises(LessonError, match="is no notebook"):
        results(lesson, tmp_path / "runs")


# ---- the key

def test_the_key_has_every_option_with_its_reason_and_the_sheet_has_none(lesson):
    answers, asks = key(lesson), sheet(lesson)
    for question in questions("00"):
        place = next(place for place, option in enumerate(question.options) if option.right)
        assert f"{question.id} **{LETTERS[place]}**" in answers.splitlines()[2]
        for option in question.options:
            assert option.text in answers and option.why in answers and option.text in asks and option.why not in asks
    assert answers.count("*Right.*") == len(questions("00"))
    assert "Right" not in asks and "**" not in asks


def test_a_lesson_without_a_quiz_has_no_key(lesson, tmp_path):
    other = lesson.path.with_name("90_none.py")
    other.write_text(SOURCE)
    bare = source.read(other)
    with pytest.raises(LessonError, match="has no quiz"):
        teach([bare], tmp_path / "out", ("key",))


# ---- the teacher's notebook and the one to recall by

def test_the_teachers_notebook_has_notes_hints_solutions_and_the_key(lesson):
    made = instructor(lesson)
    nbformat.validate(made)
    assert "> **Notes for teachers.**" in text(made) and "int(prediction.sum())" in text(made)
    assert all(hint in text(made) for hint in DICE.hints)
    assert all(idea.message in text(made) for idea in DICE.misconceptions)
    assert questions("00")[0].options[0].why in text(made)
    assert as_bytes(instructor(lesson)) == as_bytes(made)


def test_the_recall_variant_keeps_headings_exercises_and_what_later_cells_need(lesson):
    made = recall(lesson)
    nbformat.validate(made)
    whole = text(made)
    for kept in ("# 00 · Dice", "## 1. Overlap", "**Exercise 3.** Write it.", "- nan if both are empty", "code here\n    ...",
                 'check("00-dice", my_dice)', '# hint("00-dice")', '# show_source("fmlab.metrics.dice")', "values = [1, 2, 3]",
                 'quiz("00-q1")', "predict("):
        assert kept in whole, kept
    for gone in ("A **mask**", "frac", "Notes for teachers", "int(prediction.sum())", "spread", "total += value", "What to see"):
        assert gone not in whole, gone
    assert "# what a mean hides\n# your code here" in whole
    assert sum("# Write it again" in cell.source for cell in made.cells) == 1


def test_the_recall_variant_runs_to_its_end(lesson, tmp_path, monkeypatch):
    monkeypatch.setenv("FMLAB_COURSE", str(tmp_path))
    space = {}
    for cell in recall(lesson).cells:
        if cell.cell_type == "code":
            exec(cell.source, space)
    assert space["total"] == 6


def test_a_first_line_says_what_a_cell_did():
    assert first_line("# its own\nx = 1") == "# its own"
    assert first_line('figure(fig, alt=f"Dice over S: more is {better}. And so on.")') == "# Show it: Dice over S"
    assert first_line('figure(fig, alt="A slice with the " + other)') == "# Show it: A slice"
    assert first_line("for x in y:\n    print(metrics.dice(x, y), x.shape)") == "# Write it again, with metrics.dice"
    assert len(first_line("\n".join(f"print(module.function_{n}())" for n in range(40)))) <= 120


def test_only_the_function_is_cut_and_not_the_check_below():
    assert stubbed("def f(x):\n    # solution\n    return x\n\n\ncheck('a', f)") == \
        "def f(x):\n    # your code here\n    ...\n\n\ncheck('a', f)"
    assert stubbed("a = 1\n# solution\nb = 2") == "a = 1\n# your code here\n..."


@pytest.mark.parametrize(("code", "needed"), [
    ("a = b", {"b"}), ("b = 1\na = b", set()), ("b += 1", {"b"}), ("[x for x in y]", {"y"}), ("[x for x in x]", {"x"}),
    ("lambda x: x + z", {"z"}), ("for i in n:\n    print(i, k)", {"n", "print", "k"}), ("if a:\n    b = 1\nb", {"a", "b"}),
    ("if a:\n    b = 1\nelse:\n    b = 2\nb", {"a"}), ("try:\n    s = f()\nexcept E as e:\n    s = e\ns", {"f", "E"} - {"E"}),
    ("with open(p) as f:\n    t = f\nt", {"open", "p"}), ("def f(x, d=q):\n    y = x\n    return y + g", {"q", "g"}),
    ("import a.b as c\nc", set()), ("a, *b = c\nb", {"c"}), ("x = {k: v for k, v in z.items() if k in w}", {"z", "w"}),
    ("for i in n:\n    m = i\nm", {"n", "m"}), ("(y := f(1))\ny", {"f"})])
def test_names_that_a_cell_needs(code, needed):
    assert needed_by(ast.parse(code).body) == needed


# ---- minutes and days

def test_the_minutes_of_the_sections_are_the_lessons(lesson):
    parts = sections(lesson)
    assert [part.number for part in parts] == [0, 1, 2]
    assert sum(part.alone for part in parts) == pytest.approx(20) and sum(part.room for part in parts) == pytest.approx(30)
    assert parts[1].alone > parts[2].alone  # the exercise is in section 1


def test_notes_name_sections_exercises_and_questions():
    assert places("Sections 5 to 7 and section 9; exercises 1, 2 and 4; 06-p2.") == \
        {"section 5", "section 6", "section 7", "section 9", "exercise 1", "exercise 2", "exercise 4", "06-p2"}


@pytest.mark.parametrize("day", plan.DAYS.values(), ids=plan.DAYS)
def test_a_day_follows_from_the_headers_and_fits(day):
    lines = plan.rows(day)
    assert all(before.end == after.begin for before, after in zip(lines, lines[1:]))
    assert lines[-1].end - lines[0].begin <= day.minutes
    assert max(row.end - row.begin for row in lines) <= 90  # then a break, or another lesson
    stops = [item for item in day.items if isinstance(item, plan.Stop)]
    for stop, row in zip(stops, [row for row in lines if row.seconds]):
        found = source.lesson(stop.number)
        whole = notes_of(found).room
        left = whole - sum(section.room for section in row.skipped)
        assert left <= row.end - row.begin < left + plan.STEP and row.seconds == found.budget.seconds
        assert {section.number for section in row.skipped} == set(stop.skipped)
    budgets = [source.lesson(stop.number).budget for stop in stops]
    assert plan.need(day).megabytes == pytest.approx(sum(budget.download_mb for budget in budgets))
    assert plan.need(day).gigabytes == max(budget.gigabytes for budget in budgets)


def test_a_plan_that_leaves_out_what_is_not_there_is_refused():
    with pytest.raises(LessonError, match="section 77 of lesson 00"):
        plan.rows(plan.Day("x", 10, (plan.Stop("00", (77,)),)))


def test_the_page_for_teachers_has_the_plan_and_quotes_the_notes():
    page = (ROOT / "docs" / "teaching.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- plan: `fmlab teach plan`.*?-->\n(.*?)\n<!-- plan: end -->", page, re.DOTALL)[1]
    assert block == plan.markdown(), "put what `fmlab teach plan` prints between the marks"
    rows = re.findall(r"^\| (\d\d) \| (.*) \|$", page, re.MULTILINE)
    assert len(rows) >= 15
    for number, words in rows:
        assert words in " ".join(notes_of(source.lesson(number)).text.split()), number


# ---- every lesson of the course

SHIPPED = [path.stem for path in sorted(source.tutorials_folder().glob("[0-9][0-9]_*.py"))]


class Outside(HTMLParser):
    """Every address of a page that is no data of its own, pictures without words, and the slides."""

    def __init__(self, page):
        super().__init__()
        self.found, self.silent, self.slides = [], 0, 0
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        said = dict(attrs)
        self.found += [said[name] for name in ("src", "href", "srcset", "data", "action", "xmlns") if not
                       (said.get(name) or "data:").startswith("data:")]
        self.silent += tag == "img" and not (said.get("alt") or "").strip()
        self.slides += (said.get("class") or "").startswith("slide ")


@pytest.mark.parametrize("name", SHIPPED)
def test_every_lesson_says_how_long_it_takes(name):
    found = source.lesson(name)
    told = notes_of(found)
    said = f'the instructor cell of {name} must say "{found.budget.minutes:g} minutes alone, N in a room": the plan needs it'
    assert told.alone == found.budget.minutes and told.room >= told.alone, said
    if "05" <= found.number <= "18" or found.number == "00":
        assert len(told.misconceptions) > 150


@pytest.mark.parametrize("name", SHIPPED)
def test_every_lesson_has_a_deck_that_loads_nothing(name):
    found = source.lesson(name)
    made = slides(found)
    page = deck(found, made)
    seen = Outside(page)
    assert seen.found == [] and seen.silent == 0
    assert "http" not in page.replace("http-equiv", "") and "url(" not in page
    assert seen.slides == len(made) > 15
    assert "@body" not in page and "\\frac" not in page
    cells = [one for cell in found.notebook().cells if cell.cell_type == "code" for one in asked(cell.source)]
    votes = [one for one in cells if one.call == "predict" and one.question]
    quizzes = [one for one in cells if one.call == "quiz"]
    assert len(of_kind(made, "question")) == len(votes) + len(quizzes) and len(of_kind(made, "answer")) == len(quizzes)
    assert len(of_kind(made, "exercise")) == len([one for one in cells if one.call == "check"])


@pytest.mark.parametrize("name", SHIPPED)
def test_every_recall_variant_holds_no_solution_and_no_name_that_is_missing(name):
    found = source.lesson(name)
    made = recall(found)
    whole = text(made)
    assert "# solution" not in whole and "%% " not in whole
    for spec in exercises(found.number):
        assert f'check("{spec.id}"' in whole and f'# hint("{spec.id}"' in whole
    for cell in found.notebook().cells:
        if cell.cell_type == "code" and "# solution" in cell.source:
            answer = re.split(r"^\s*# solution$", cell.source, maxsplit=1, flags=re.MULTILINE)[1].split("\n\n\n")[0]
            assert not [line for line in answer.splitlines() if len(line.strip()) > 25 and line.strip() in whole]
    there = {*dir(builtins), "display"}
    for place, cell in enumerate(made.cells):
        if cell.cell_type == "code":
            tree = ast.parse(cell.source)
            assert not needed_by(tree.body) - there - bound_by(tree), f"cell {place}:\n{cell.source}"
            there |= bound_by(tree)


# ---- files

def test_files_are_written_once_and_never_over_a_changed_one(lesson, tmp_path):
    out = tmp_path / "out"
    made = teach([lesson], out)
    assert {path.name.split(".", 1)[1] for path in made} == {
        "instructor.ipynb", "recall.ipynb", "slides.html", "key.md", "key.html", "questions.md", "questions.html"}
    assert teach([lesson], out) == ()
    lesson.path.write_text(SOURCE.replace("Two masks", "Both masks"))
    newer = source.read(lesson.path)
    assert out / "00_dice.slides.html" in teach([newer], out, ("slides", "notes"))  # it was as we left it
    (out / "00_dice.key.md").write_text("mine")
    lesson.path.write_text(SOURCE.replace("Two masks", "All masks"))
    with pytest.raises(LessonError, match=r"00_dice.key.md was changed since fmlab wrote it"):
        teach([source.read(lesson.path)], out)
    assert (out / "00_dice.key.md").read_text() == "mine" and "Both masks" in (out / "00_dice.slides.html").read_text()
    (out / ".taught.json").write_text("{")
    with pytest.raises(LessonError, match="more were changed"):
        teach([source.read(lesson.path)], out)


def test_a_folder_that_cannot_be_written_is_one_sentence(lesson, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LessonError, match="cannot be written"):
        teach([lesson], tmp_path / "file")


def test_from_the_command_line(lesson, tmp_path, monkeypatch):
    monkeypatch.setattr(source, "tutorials_folder", lambda: lesson.path.parent)
    done = CliRunner().invoke(cli.app, ["teach", "recall", "0", "-o", str(tmp_path / "out")])
    assert done.exit_code == 0 and "00_dice.recall.ipynb" in done.output
    assert json.loads((tmp_path / "out" / "00_dice.recall.ipynb").read_text())["metadata"]["fmlab"]["variant"] == "recall"
    again = CliRunner().invoke(cli.app, ["teach", "recall", "-o", str(tmp_path / "out")])
    assert again.exit_code == 0 and "Nothing has changed" in again.output
    wrong = CliRunner().invoke(cli.app, ["teach", "slides", "77", "-o", str(tmp_path / "out")])
    assert isinstance(wrong.exception, LessonError) and "There is no lesson '77'" in str(wrong.exception)
    told = CliRunner().invoke(cli.app, ["teach", "--help"]).output
    assert all(word in told for word in ("slides", "key", "recall", "plan", "notes"))
