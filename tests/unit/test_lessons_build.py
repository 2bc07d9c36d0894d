"""From a source to its notebooks, and copies that never cost a learner anything."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path

import nbformat
import pytest

from fmlab.errors import LessonError
from fmlab.lessons.build import as_bytes, build, notebook, stale, stubbed
from fmlab.lessons.deliver import DELIVERED, deliver
from fmlab.lessons.lint import code_lines, lint
from fmlab.lessons.solutions import solution_function, solution_source
from fmlab.lessons.source import lesson, lessons, read

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
# # Dice

# %%
import math

from fmlab.lessons import check, quiz

# %%
def my_dice(p, r):
    """Dice of two masks."""
    # solution
    size = p.sum() + r.sum()
    return 2 * (p & r).sum() / size if size else math.nan

# %%
check("00-dice", my_dice)

# %% [markdown] tags=["instructor"]
# Ten minutes.

# %% tags=["solution"]
print("only in the whole one")

# %%
print("twice")

# %%
print("twice")
'''


@pytest.fixture
def source(tmp_path) -> Path:
    (folder := tmp_path / "tutorials").mkdir()
    path = folder / "00_dice.py"
    path.write_text(SOURCE)
    return path


def text(made) -> str:
    return "\n".join(cell.source for cell in made.cells)


def test_the_header_is_read(source):
    found = read(source)
    assert (found.number, found.name, found.title, found.section) == ("00", "00_dice", "Dice: a lesson", "1.A")
    assert found.goals == ("measure", "doubt") and found.budget.gigabytes == 1.5 and found.budget.download_mb == 0


@pytest.mark.parametrize(("old", "new", "words"), [
    ("#     seconds: 30\n", "", "lacks seconds"), ("minutes: 20", "minutes: soon", "minutes: 'soon'"),
    ("minutes: 20", "minutes: -1", "minutes: -1"),
    ("#     section: 1.A\n", "#     section: 1.A\n#     colour: red\n", "unknown fields: colour"),
    ("#     goals: [", "#     goals: ][", "no lesson that jupytext can read"),
])
def test_a_wrong_header_is_named(source, old, new, words):
    source.write_text(SOURCE.replace(old, new))
    with pytest.raises(LessonError) as error:
        read(source)
    assert words in str(error.value)


def test_lessons_are_found_by_number_and_name_and_others_refused(source):
    folder = source.parent
    assert {lesson(wanted, folder).name for wanted in ("0", 0, "00", "00_dice", "00_dice.py")} == {"00_dice"}
    with pytest.raises(LessonError, match="there are: 00"):
        lesson(7, folder)
    (folder / "00_other.py").write_text(SOURCE)
    with pytest.raises(LessonError, match="same number"):
        lessons(folder)


def test_the_learners_variant_has_no_solution_and_no_instructor_cell(source):
    made = notebook(read(source), "learner")
    assert "size" not in text(made) and "Ten minutes" not in text(made) and "only in the whole one" not in text(made)
    assert '    """Dice of two masks."""\n    # your code here\n    ...' in text(made)
    assert "check(" in text(made)
    nbformat.validate(made)


def test_the_whole_variant_has_everything(source):
    made = notebook(read(source), "solution")
    assert all(word in text(made) for word in ("size", "Ten minutes", "only in the whole one"))


def test_goals_and_cost_stand_under_the_title(source):
    second = notebook(read(source)).cells[1].source
    assert all(words in second for words in ("measure", "20 minutes", "30 s", "1.5 GB", "nothing to download"))


def test_the_same_source_gives_the_same_bytes_and_unique_ids(source):
    one, two = (as_bytes(notebook(read(source))) for _ in range(2))
    assert one == two
    ids = [cell["id"] for cell in json.loads(one)["cells"]]
    assert len(set(ids)) == len(ids)


def test_an_edit_of_one_cell_keeps_the_ids_of_the_others(source):
    before = [cell.id for cell in notebook(read(source)).cells]
    source.write_text(SOURCE.replace("import math", "import math  # for nan"))
    after = [cell.id for cell in notebook(read(source)).cells]
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 1


def test_stub_keeps_what_stands_above_and_leaves_other_cells_alone():
    assert stubbed("a = 1\n# solution\nb = 2\nc = 3") == "a = 1\n# your code here\n..."
    assert stubbed("print('# solution')") == "print('# solution')"
    one = "def a():\n    # solution\n    x = 1\n\n    return x\n\n\n"
    open_one = "def a():\n    # your code here\n    ...\n\n\n"
    assert stubbed(f'{one}check("00-a", a)') == f'{open_one}check("00-a", a)'
    assert stubbed(f"{one}{one}a()") == f"{open_one}{open_one}a()"


def test_every_exercise_can_be_checked_in_the_learners_notebook():
    for each in lessons():
        asked = "\n".join(cell.source for cell in notebook(each).cells if cell.cell_type == "code")
        for exercise in dict.fromkeys(re.findall(r'hint\("([^"]+)"', asked)):
            assert re.search(rf'^check\("{exercise}", \w', asked, re.MULTILINE), exercise


def test_build_writes_once_and_stale_tells(source):
    folder = source.parent
    assert "is missing" in stale(folder)[0]
    assert [path.name for path in build(folder)] == ["00_dice.ipynb"]
    assert build(folder) == () and stale(folder) == ()
    source.write_text(SOURCE.replace("Ten", "Five"))  # an instructor's cell is not in the learner's notebook
    assert stale(folder) == ()
    source.write_text(SOURCE.replace("twice", "thrice"))
    assert "fmlab lessons build" in stale(folder)[0]
    build(folder)
    (folder / "77_gone.ipynb").write_text("{}")
    assert "has no source" in stale(folder)[0]


def test_the_solution_is_found_and_works(source):
    found = solution_source(read(source), "00-dice")
    assert found.startswith("def my_dice") and "# solution" not in found
    import numpy as np

    assert solution_function(read(source), "00-dice")(np.ones(2, bool), np.ones(2, bool)) == 1.0


def test_lint_names_what_is_wrong(source):
    found = " ".join(lint(read(source)))
    assert "never checks its exercise '00-world'" in found and "'00-dice'" not in found
    source.write_text(SOURCE.replace("2 * (p & r)", "(p & r)") + '\n# %%\ncheck("00-dcie", my_dice)\nquiz("00-q99")\n'
                      + "\n# %%\nif found:\n    figure(found, alt='a')\n    display(figure(found, alt='b'))\nquiz('00-q1')\n"
                      + "\n# %%\n" + "print(1)\n" * 16 + "\n# %%\nprint(2)\n" * 140)
    found = " ".join(lint(read(source)))
    wanted = ("does not pass", "'00-dcie'", "'00-q99'", "has 16 lines; at most 15", "code lines; at most 150")
    assert all(words in found for words in wanted) and found.count("is not its last line") == 1


def test_code_lines_leave_out_comments_and_blanks():
    assert code_lines("a = 1\n\n# why\n  # more\nb = 2") == 2


# ---- delivery ----

DAY = date(2026, 11, 24)


def change(source: Path, word: str) -> tuple:
    source.write_text(SOURCE.replace("twice", word))
    return (read(source),)


def edit(path: Path, code: str = "mine = 1") -> bytes:
    """What a learner does: change a cell and save."""
    made = nbformat.read(path, as_version=4)
    made.cells[-1].source = code
    nbformat.write(made, path)
    return path.read_bytes()


def test_a_first_delivery_then_nothing_to_do(source, tmp_path):
    course = tmp_path / "my_course"
    assert [d.action for d in deliver((read(source),), course, DAY)] == ["new"]
    assert [d.action for d in deliver((read(source),), course, DAY)] == ["kept"]
    assert sorted(path.name for path in course.iterdir() if path.suffix != ".lock") == [DELIVERED, "00_dice.ipynb"]


def test_an_untouched_notebook_is_updated(source, tmp_path):
    deliver((read(source),), tmp_path / "c", DAY)
    (done,) = deliver(change(source, "thrice"), tmp_path / "c", DAY)
    assert done.action == "updated" and "thrice" in done.path.read_text()


def test_an_edited_notebook_is_kept_and_the_new_version_comes_beside_once(source, tmp_path):
    course = tmp_path / "c"
    (first,) = deliver((read(source),), course, DAY)
    mine = edit(first.path)
    assert deliver((read(source),), course, DAY)[0].action == "kept"
    newer = change(source, "thrice")
    (done,) = deliver(newer, course, DAY)
    assert done.action == "beside" and done.path.name == "00_dice.new-20261124.ipynb" and "stays as it is" in done.note
    assert first.path.read_bytes() == mine and "thrice" in done.path.read_text()
    done.path.unlink()  # the learner does not want it: it is not forced again, on no later day
    assert deliver(newer, course, date(2027, 1, 1))[0].action == "kept"
    assert not list(course.glob("*.new-*"))


def test_two_new_versions_on_one_day_get_two_names(source, tmp_path):
    course = tmp_path / "c"
    edit(deliver((read(source),), course, DAY)[0].path)
    names = [deliver(change(source, word), course, DAY)[0].path.name for word in ("thrice", "four times")]
    assert names == ["00_dice.new-20261124.ipynb", "00_dice.new-20261124-2.ipynb"]


def test_saved_outputs_are_the_learners_too(source, tmp_path):
    course = tmp_path / "c"
    (first,) = deliver((read(source),), course, DAY)
    made = nbformat.read(first.path, as_version=4)
    made.cells[-1].outputs = [nbformat.v4.new_output("stream", text="42")]
    nbformat.write(made, first.path)
    assert deliver((read(source),), course, DAY)[0].action == "kept"
    assert deliver(change(source, "thrice"), course, DAY)[0].action == "beside"
    assert "42" in first.path.read_text()


def test_a_notebook_that_was_only_opened_is_updated_like_an_untouched_one(source, tmp_path):
    course = tmp_path / "c"
    (first,) = deliver((read(source),), course, DAY)
    made = nbformat.read(first.path, as_version=4)
    made.metadata.language_info.version = "3.12"  # JupyterLab writes this when the kernel answers
    nbformat.write(made, first.path)
    assert deliver(change(source, "thrice"), course, DAY)[0].action == "updated"
    made = nbformat.read(first.path, as_version=4)
    made.cells[-1].execution_count = 1  # it was run: this may be all that a cell without output leaves
    nbformat.write(made, first.path)
    assert deliver(change(source, "four times"), course, DAY)[0].action == "beside"


def test_a_taken_over_new_version_is_updated_again(source, tmp_path):
    course = tmp_path / "c"
    (first,) = deliver((read(source),), course, DAY)
    edit(first.path)
    (done,) = deliver(change(source, "thrice"), course, DAY)
    done.path.replace(first.path)
    assert deliver(change(source, "four times"), course, DAY)[0].action == "updated"


@pytest.mark.parametrize("damage", ["{ broken", "[]", '{"00_dice.ipynb": 3}', None])
def test_without_a_record_everything_counts_as_the_learners(source, tmp_path, damage):
    course = tmp_path / "c"
    (first,) = deliver((read(source),), course, DAY)
    mine = edit(first.path)
    (course / DELIVERED).unlink() if damage is None else (course / DELIVERED).write_text(damage)
    assert deliver(change(source, "thrice"), course, DAY)[0].action == "beside"
    assert first.path.read_bytes() == mine
    if damage is not None:
        assert (course / f"{DELIVERED}.damaged-1").read_text() == damage


def test_a_file_that_is_no_notebook_is_left_alone(source, tmp_path):
    (course := tmp_path / "c").mkdir()
    (course / "00_dice.ipynb").write_text("half a noteb")
    assert deliver((read(source),), course, DAY)[0].action == "beside"
    assert (course / "00_dice.ipynb").read_text() == "half a noteb"


def test_a_deleted_notebook_comes_again(source, tmp_path):
    (first,) = deliver((read(source),), tmp_path / "c", DAY)
    first.path.unlink()
    assert deliver((read(source),), tmp_path / "c", DAY)[0].action == "new" and first.path.exists()


def test_a_folder_that_cannot_be_made_is_said(source, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LessonError, match="--folder"):
        deliver((read(source),), tmp_path / "file", DAY)
