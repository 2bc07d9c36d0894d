"""The course as static pages: what is kept, what a page shows and hides, voxels and pictures, links, search, refusals."""

from __future__ import annotations

import base64
import io
import json
import re
import zlib
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from fmlab import cli
from fmlab.errors import LessonError
from fmlab.lessons.build import notebook
from fmlab.lessons.predict import predict
from fmlab.lessons.quiz import questions
from fmlab.lessons.run import Run
from fmlab.lessons.source import lessons, read
from fmlab.site import Built, build, command, executed, headings, outline, pictures, voxels
from fmlab.site import questions as asked
from fmlab.site.cells import cells
from fmlab.site.command import parsed
from fmlab.viewer import static, view
from fmlab.volume import Volume

HEADER = """# ---
# jupyter:
#   fmlab:
#     title: "Tiny {number} & so on"
#     section: "2.C"
#     goals: [see a page]
#     prerequisites: []
#     minutes: 1
#     seconds: 2
#     gigabytes: 3
# ---
# %% [markdown]
# # {number} · Tiny
"""
BODY = """
# %% [markdown] tags=["instructor"]
# A secret of the teacher.

# %% [markdown]
# ## A heading
# A formula $a^2$ and the word zebra.

# %% [markdown]
# ## A heading

# %%
def my_dice(a, b):
    # solution
    return "the answer"


check("00-dice", my_dice)

# %%
# hint("00-dice")

# %%
predict("00-p1", "What will come?", ["this <one>", "that"])

# %%
predict("00-p1")

# %%
quiz("00-q1")

# %%
progress()

# %%
view(scan)
"""
MATHML = 'xmlns="http://www.w3.org/1998/Math/MathML"'
PLAIN = nbformat.v4.new_output


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """Two lessons: 00 with one cell of each kind, 08 with none."""
    (folder := tmp_path / "course").mkdir()
    for number, body in (("00", BODY), ("08", "")):
        (folder / f"{number}_tiny.py").write_text(HEADER.format(number=number) + body)
    return folder


@pytest.fixture(scope="module")
def scan() -> Volume:
    generator = torch.Generator().manual_seed(0)
    image = 40 + 10 * torch.randn(1, 30, 24, 20, generator=generator)
    image[:, 20:28, 14:22] += 200
    labels = torch.zeros(1, 30, 24, 20, dtype=torch.uint8)
    labels[:, 20:28, 14:22] = 42
    return Volume(image, np.diag([2.0, 2.0, 2.0, 1.0]), labels=labels, name="blocks")


def frame(scan: Volume, **more: object) -> dict[str, str]:
    """A viewer's output as a run with pages=True records it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(static.RECORD, "1")
        return view(scan, height=300, **more)._repr_mimebundle_()[0]


def ran(lesson, scan) -> nbformat.NotebookNode:
    """A lesson's whole notebook with outputs, as if it had run."""
    made = notebook(lesson, "solution")
    made.metadata["widgets"] = {"state": {}}
    for cell in made.cells:
        if cell.cell_type == "code" and cell.source.startswith("view("):
            cell.outputs = [PLAIN("stream", name="stdout", text="one\n"), PLAIN("stream", name="stdout", text="0%\r100%\n"),
                            PLAIN("stream", name="stderr", text="a warning"),
                            PLAIN("display_data", data={"text/plain": " 0%|   | 0/1 [00:00<?, ?it/s]"}),
                            PLAIN("execute_result", data=frame(scan))]
        elif cell.cell_type == "code":
            cell.outputs = [PLAIN("stream", name="stdout", text=f"ran {cell.source[:5]}\n")]
    return made


@pytest.fixture
def runner(monkeypatch, scan) -> list[str]:
    """In place of a kernel: the names of the lessons that were run."""
    called = []

    def run(lesson, variant, pages, progress):
        assert variant == "solution" and pages
        called.append(lesson.name)
        return Run(lesson, variant, ran(lesson, scan), 1.0, 1.0, (0, 1.0), ())

    monkeypatch.setattr(executed.runner, "run", run)
    return called


# -- what is kept --


def test_a_lesson_runs_once_until_its_source_changes(course, tmp_path, runner):
    lesson = lessons(course)[0]
    first = executed.executed(lesson, tmp_path / "cache")
    again = executed.executed(lesson, tmp_path / "cache")
    assert first.ran and again.ran and again.when and runner == ["00_tiny"]
    assert first.notebook == again.notebook and again.notebook.cells[-1].outputs
    lesson.path.write_text(lesson.path.read_text() + "\n# %%\n1\n")
    executed.executed(lesson, tmp_path / "cache")
    assert runner == ["00_tiny"] * 2
    assert len(list((tmp_path / "cache").iterdir())) == 1  # what was kept of the older source is gone


def test_a_new_text_is_shown_with_the_old_outputs(course, tmp_path, runner):
    lesson = lessons(course)[0]
    executed.executed(lesson, tmp_path / "cache")
    lesson.path.write_text(lesson.path.read_text().replace("# ## A heading\n# A", "# Before it.\n\n# %% [markdown]\n# A new"))
    later = executed.executed(lesson, tmp_path / "cache")
    assert runner == ["00_tiny"] and later.ran
    assert any("A new formula" in cell.source for cell in later.notebook.cells)
    assert [cell.outputs[0].text for cell in later.notebook.cells if cell.source.startswith("quiz(")] == ["ran quiz(\n"]


def test_weights_that_change_run_it_again_and_new_ones_do_not(course, tmp_path, runner, monkeypatch):
    lesson, files = lessons(course)[0], tmp_path / "files"
    files.mkdir()
    (files / "one").write_text("1")
    monkeypatch.setattr(executed, "_shown", lambda lesson: sorted(files.iterdir()))
    executed.executed(lesson, tmp_path / "cache")
    (files / "two").write_text("2")
    executed.executed(lesson, tmp_path / "cache")
    assert runner == ["00_tiny"]
    (files / "one").write_text("changed")
    executed.executed(lesson, tmp_path / "cache")
    assert runner == ["00_tiny"] * 2


def test_fresh_runs_again_and_no_run_never(course, tmp_path, runner):
    lesson = lessons(course)[0]
    bare = executed.executed(lesson, tmp_path / "cache", run=False)
    assert not bare.ran and runner == []
    executed.executed(lesson, tmp_path / "cache")
    executed.executed(lesson, tmp_path / "cache", fresh=True)
    assert runner == ["00_tiny"] * 2
    assert executed.executed(lesson, tmp_path / "cache", run=False).ran


def test_outputs_depend_on_profile_version_and_stored_runs(course, monkeypatch):
    lesson = lessons(course)[0]
    before = executed.depends(lesson)
    monkeypatch.setenv("FMLAB_PROFILE", "ci")
    monkeypatch.setattr(executed.fmlab, "__version__", "99")
    lesson.path.write_text(lesson.path.read_text().replace("zebra", "zebra C05"))
    after = executed.depends(lesson)
    assert {name for name in before if before[name] != after[name]} == {"version", "profile"}
    assert after.keys() - before.keys() == {"C05.jsonl"} and "sam-nano.safetensors" in before


def test_a_run_that_stops_is_not_kept_and_its_page_says_so(course, tmp_path, monkeypatch, scan):
    lesson = lessons(course)[0]
    stopped = Run(lesson, "solution", ran(lesson, scan), 1, 1, (0, 1), ("Cell 3 stops with ValueError: no", "It took 3 s."))
    monkeypatch.setattr(executed.runner, "run", lambda *_, **__: stopped)
    pages = build(tmp_path / "site", ["0"], cache=tmp_path / "cache", course=course)
    assert pages[0].problem.startswith("Cell 3 stops") and not (tmp_path / "cache").exists()
    assert "The run stopped: Cell 3 stops with ValueError" in (tmp_path / "site" / "00_tiny.html").read_text()
    late = replace(stopped, problems=("It took 3.00 s and its header says 2; make it cheaper or state the true cost.",))
    monkeypatch.setattr(executed.runner, "run", lambda *_, **__: late)
    assert executed.executed(lesson, tmp_path / "cache").ran  # too slow is no reason to throw the outputs away


def test_a_damaged_cache_is_refused_in_one_sentence(course, tmp_path, runner):
    lesson = lessons(course)[0]
    executed.executed(lesson, tmp_path / "cache")
    next((tmp_path / "cache").iterdir()).write_text("{")
    with pytest.raises(LessonError, match="delete it"):
        executed.executed(lesson, tmp_path / "cache")


# -- what a page shows --


@pytest.fixture
def page(course, tmp_path, runner) -> str:
    build(tmp_path / "site", cache=tmp_path / "cache", course=course)
    return (tmp_path / "site" / "00_tiny.html").read_text()


def test_solutions_and_hints_are_folded_and_the_teacher_is_silent(page):
    assert "secret of the teacher" not in page and "# solution" not in page
    solution = re.search(r'<details class="solution">.*?</details>', page, re.DOTALL)[0]
    assert "the answer" in solution and "ran def" in solution
    rest = page.replace(solution, "")
    assert "the answer" not in rest and "# your code here" in rest
    assert "<summary>Hint 1 of" in page and "hint(" not in page


def test_what_was_printed_is_joined_and_bars_are_gone(page):
    assert '<pre class="printed">one\n100%\n</pre>' in page
    assert "a warning" not in page and "it/s]" not in page and "progress()" not in page


def test_questions_are_native_elements(page):
    question = questions("00")[0]
    for option in question.options:
        assert asked.inline(option.why) in page
    assert page.count('<details class="right">') == 1
    assert page.count('name="00-p1" type="radio"') == 2 and "this &lt;one&gt;" in page
    assert 'data-recall="00-p1"' in page
    assert 'quiz(&quot;' not in page and 'answer=1' not in page


def test_a_page_asks_for_nothing_outside_its_folder(page, tmp_path):
    wanted = re.findall(r'(?:src|<link[^>]*href)="([^"]*)"', page)
    local = {path.name for path in (tmp_path / "site").iterdir()}
    assert wanted and all(one.startswith("data:") or one in local for one in wanted), wanted
    assert "default-src 'none'" in page and "http:" not in page.replace(MATHML, "") and "https:" not in page


def test_headings_have_their_own_ids_and_stand_in_the_contents(page):
    assert '<h2 id="a-heading">' in page and '<h2 id="a-heading-2">' in page
    assert '<a href="#a-heading-2">' in page and "<math" in page
    assert page.count("<h1>") == 1 and "Tiny 00 &amp; so on" in page
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_neighbours_are_linked_and_a_part_can_be_built_later(course, tmp_path, runner):
    site = tmp_path / "site"
    build(site, ["8"], run=False, cache=tmp_path / "cache", course=course)
    alone = (site / "08_tiny.html").read_text()
    assert 'rel="prev"' not in alone and "built without running its cells" in alone and runner == []
    build(site, ["00"], cache=tmp_path / "cache", course=course)
    assert '<a rel="prev" href="00_tiny.html">' in (site / "08_tiny.html").read_text()
    assert '<a rel="next" href="08_tiny.html">' in (site / "00_tiny.html").read_text()
    home = (site / "index.html").read_text()
    assert 'href="00_tiny.html"' in home and 'href="08_tiny.html"' in home and "2.C interactive" in home


def test_the_index_knows_every_page_and_gives_no_answer_away(page, tmp_path):
    script = (tmp_path / "site" / "search.js").read_text()
    index = json.loads(script.removeprefix("window.fmlabIndex = ").rstrip(";\n"))
    assert [name for name, _ in index["pages"]] == ["00_tiny.html", "08_tiny.html", "claims.html"]
    zebra = [row for row in index["sections"] if "zebra" in row[3]]
    assert [row[:3] for row in zebra] == [[0, "a-heading", "A heading"]]
    told = " ".join(row[3] for row in index["sections"] if row[0] == 0)
    assert "the answer" not in told and questions("00")[0].options[0].why not in told


def test_the_ledger_links_to_pages_that_are_there(page, tmp_path):
    ledger = (tmp_path / "site" / "claims.html").read_text()
    assert ledger.count("<main") == 1 and 'id="C05"' in ledger
    assert 'href="08_tiny.html"' in ledger and "_sam.html" not in ledger


# -- voxels --


def decoded(packed: dict[str, str], number: int) -> tuple[np.ndarray, list[np.ndarray], dict]:
    """A scan's values and label maps as web/page.js reads them."""
    state = json.loads(packed[f"scan-{number}"])
    x, y, z = state["_spec"]["shape"]
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(packed[state["picture"]]))).convert("RGB"))[..., 1]
    slices = [sheet[k // state["columns"] * y:, k % state["columns"] * x:][:y, :x] for k in range(z)]
    maps = [np.frombuffer(zlib.decompress(base64.b64decode(packed[name])), np.uint8).reshape(z, y, x) for name in state["maps"]]
    return np.array(state["table"])[np.stack(slices)], maps, state


def test_voxels_come_back_within_what_the_note_says(scan):
    packed = voxels.pack([voxels.scan_in(frame(scan)[static.MIME])], 10**6)
    values, maps, state = decoded(packed, 1)
    off = np.abs(values - scan.image[0].numpy().T)
    stated = float(re.search(r"within ([\d.]+) HU", state["_spec"]["note"])[1])
    assert np.percentile(off, 95) <= 1.1 * stated + 1 and stated < 15
    assert (maps[0] == scan.labels[0].numpy().T).all()
    assert "_first" not in state and state["plane"] == "axial"


def test_viewers_of_one_scan_share_its_voxels(scan):
    other = torch.zeros_like(scan.labels)
    both = [voxels.scan_in(frame(scan, compare=[("second", other)])[static.MIME]), voxels.scan_in(frame(scan)[static.MIME])]
    packed = voxels.pack(both, 10**6)
    first, second = (decoded(packed, number)[2] for number in (1, 2))
    assert first["picture"] == second["picture"] and first["maps"][0] == second["maps"][0] and len(first["maps"]) == 2
    assert sum(name.startswith("voxels") for name in packed) == 3


def test_a_small_budget_costs_quality_and_is_said(scan):
    one = [voxels.scan_in(frame(scan)[static.MIME])]
    wide, tight = voxels.pack(one, 10**6), voxels.pack(one, 1)
    notes = [json.loads(packed["scan-1"])["_spec"]["note"] for packed in (wide, tight)]
    errors = [float(re.search(r"within ([\d.]+) HU", note)[1]) for note in notes]
    assert errors[1] > errors[0] and sum(map(len, tight.values())) < sum(map(len, wide.values()))


def test_intensities_without_a_unit_keep_their_range():
    ramp = torch.linspace(0, 1000, 12 * 10 * 8).reshape(1, 8, 10, 12)
    mr = Volume(ramp, np.eye(4), modality="MR", name="ramp")
    values, _, state = decoded(voxels.pack([voxels.scan_in(frame(mr)[static.MIME])], 10**6), 1)
    spec = state["_spec"]
    assert np.abs(values * spec["slope"] + spec["intercept"] - ramp[0].numpy().T).mean() < 30
    assert "(intensity)" in spec["note"] and "soft-tissue" not in spec["note"]


def test_a_frame_without_voxels_is_refused():
    with pytest.raises(LessonError, match="--fresh"):
        voxels.scan_in('<iframe srcdoc="nothing"></iframe>')


# -- pictures, headings, words --


def test_pictures_shrink_and_know_their_size():
    image = Image.fromarray(np.add.outer(np.arange(120), np.arange(200)).astype(np.uint8))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=0)
    before = f'<img alt="ramp" src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'
    after = pictures.compact(before)
    assert 'width="200" height="120"' in after and 'alt="ramp"' in after and len(after) < len(before) / 3
    back = Image.open(io.BytesIO(base64.b64decode(re.search(r"base64,([^\"]+)", after)[1]))).convert("L")
    assert (np.asarray(back) == np.asarray(image)).all()
    broken = '<img src="data:image/png;base64,AAAA">'
    assert pictures.compact(broken) == broken


def test_text_under_headings_leaves_out_scripts_and_folded_answers():
    html = ('<p>before</p><h2 id="a">One</h2><p>seen</p><details class="solution"><summary>A</summary><details>deep</details>'
            '<p>hidden</p></details><p>after</p><script>no</script><div class="card quiz"><div>x</div>no</div><p>end</p>')
    first, second = headings.sections(html)
    assert first.text == "before" and (second.title, second.anchor) == ("One", "a")
    assert second.text == "seen after end"


@pytest.mark.parametrize("source", ["quiz('77-q1')", "x = quiz('00-q1')", "quiz('00-q1'); 1", "predict('00-p1', question, o)",
                                    "%matplotlib inline", "# hint('00-dice')\n1", "def f(:", ""])
def test_other_cells_are_left_alone(source):
    assert asked.asked(source, "00") is None


def test_a_prediction_with_computed_words_is_one_too():
    source = 'predict("00-p1", f"Of {n}?", [f"{n}", "none"])'
    html = asked.computed(source, [repr(predict("00-p1", "Of 3?", ["3", "none"]))])
    assert html == asked.prediction("00-p1", "Of 3?", ["3", "none"])
    assert asked.computed(source, []) is None and asked.computed("print(1)", ["1"]) is None


def test_a_lesson_stands_under_its_part(course):
    first, second = lessons(course)
    whole = [replace(first, section="1"), replace(second, section="3.B, 3.C"), replace(second, section="-")]
    parts = outline.parts(whole, ["00_tiny.html"])
    assert [(heading[:2], len(rows)) for heading, rows in parts] == [("Be", 1), ("1.", 1), ("3.", 1)]
    assert parts[1][1][0].page == "00_tiny.html" and parts[2][1][0].page == ""
    assert parts[2][1][0].section == "3.B how useful it is, 3.C few-shot, efficient fine-tuning"


def test_the_map_holds_every_system_once():
    names = [one.name for _, row in outline.grid({"08": "x.html"}) for cell in row for one, page in cell]
    assert sorted(names) == sorted(one.name for one in outline.systems())
    linked = {one.name for _, row in outline.grid({"08": "x.html"}) for cell in row for one, page in cell if page}
    assert "SAM" in linked and "DoDNet" not in linked


def test_a_source_that_is_shown_is_folded(course):
    from fmlab.lessons import show_source

    shown = show_source("fmlab.metrics.dice")
    made = notebook(lessons(course)[1], "solution")
    cell = nbformat.v4.new_code_cell('show_source("fmlab.metrics.dice")')
    cell.outputs = [PLAIN("execute_result", data={"text/html": shown._repr_html_(), "text/plain": repr(shown)})]
    made.cells.append(cell)
    last = cells(made, "08").notebook.cells[-1]
    assert last.metadata.page == {"code": ""}
    assert last.outputs[0].metadata.listing["name"].endswith(".dice") and "def dice" in last.outputs[0].metadata.listing["code"]


# -- refusals and the command --


def test_a_folder_with_other_files_is_refused(course, tmp_path, runner):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(LessonError, match="did not write"):
        build(tmp_path / "mine", cache=tmp_path / "cache", course=course)
    with pytest.raises(LessonError, match="did not write"):
        build(tmp_path / "mine" / "letter.txt", cache=tmp_path / "cache", course=course)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"] and runner == []


def test_an_unknown_lesson_or_an_empty_course_is_refused(course, tmp_path):
    with pytest.raises(LessonError, match="no lesson '7'"):
        build(tmp_path / "site", ["7"], course=course)
    (tmp_path / "empty").mkdir()
    with pytest.raises(LessonError, match="There are no lessons"):
        build(tmp_path / "site", course=tmp_path / "empty")
    assert not (tmp_path / "site").exists()


def test_a_page_that_is_too_large_is_said(tmp_path):
    (tmp_path / "a.html").write_bytes(b" " * 2_100_000)
    (tmp_path / "b.html").write_bytes(b" " * 1_900_000)
    assert "2.10 MB, more than" in str(Built(tmp_path / "a.html", True))
    assert str(Built(tmp_path / "b.html", False)).endswith("1.90 MB, without outputs")


def test_words_to_folder_and_lessons():
    assert parsed([], "") == (Path("site"), [])
    assert parsed(["out", "5"], "0") == (Path("out"), ["0", "5"])
    assert parsed(["5", "7", "./8"], "0,1") == (Path("8"), ["0", "1", "5", "7"])
    assert parsed(["5"], "") == (Path("5"), [])
    with pytest.raises(LessonError, match="one folder"):
        parsed(["a", "b"], "0")


def test_the_command_builds_what_is_there_without_running(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli.app, ["site", "out", "--lessons", "5", "--no-run", "--cache", str(tmp_path / "cache")])
    assert done.exit_code == 0, done.output
    assert "05_zero_shot_and_transfer.html" in done.output and "without outputs" in done.output
    assert (tmp_path / "out" / "index.html").is_file()
    page = (tmp_path / "out" / "05_zero_shot_and_transfer.html").read_text()
    assert "built without running its cells" in page
    assert read(lessons()[0].path).title in (tmp_path / "out" / "index.html").read_text()


@pytest.mark.parametrize("seen", [True, False])
def test_progress_is_shown_to_whom_it_may_concern(seen, tmp_path, monkeypatch, capsys):
    def built(folder, numbers, run, fresh, cache, progress):
        if progress:
            progress("05", 1, 3), progress("05", 3, 3), progress("06", 2, 2)
        return ()

    monkeypatch.setattr(command, "build", built)
    monkeypatch.setattr(command.sys.stderr, "isatty", lambda: seen, raising=False)
    assert [*command.write([str(tmp_path)])] == [f"Open {tmp_path / 'index.html'} in a browser."]
    assert ("06" in capsys.readouterr().err) == seen


def test_the_viewer_of_a_page_is_the_package_s_own(page, tmp_path):
    script = (tmp_path / "site" / "viewer.js").read_text()
    assert script.startswith("window.fmlabViewer = (() => {") and "export default" not in script and "class Stage" in script
    assert "class Stage" not in page and page.count('data-scan="scan-1"') == 1
