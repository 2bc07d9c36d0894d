"""The learner's own files, damaged or edited by hand: progress, notebooks, deliveries, recordings and autosaves of a canvas.

Nothing of the learner's is lost: what cannot be understood is moved aside, or left where it is. Nothing that is read is run.
"""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from fuzzing import Fuzz, contents, odd_json, odd_text

from fmlab.errors import FmlabError
from fmlab.lessons import build, check, hint, predict, progress, quiz, records
from fmlab.lessons.deliver import deliver
from fmlab.lessons.source import Lesson, read
from fmlab.viewer import Canvas
from fmlab.viewer.keeping import replay
from fmlab.viewer.prompts import Answer
from fmlab.volume import Volume

PROGRESS = {"exercises": {"00-dice": {"tries": 3, "passed": True, "passed_at": "2026-11-28T01:00:00+00:00", "hints": 2}},
            "quizzes": {"00-q1": {"tries": 1, "right": True, "answer": 1, "first_try": True}},
            "predictions": {"00-p1": {"question": "Up?", "choice": "up"}}}
SOURCE = """# ---
# jupyter:
#   fmlab:
#     title: Tiny
#     section: "-"
#     goals: [nothing]
#     prerequisites: []
#     minutes: 1
#     seconds: 1
#     gigabytes: 1
# ---
# %% [markdown]
# # Tiny

# %%
a = 1
"""


def test_fuzz_progress(tmp_path, capsys):
    """Every helper answers, and every byte that was in the file is still in the file or in one beside it."""
    fuzz, folder = Fuzz("progress"), tmp_path / "course"
    folder.mkdir()
    helpers = [lambda: check("00-dice", lambda a, b: 0), lambda: quiz("00-q1", 1), lambda: hint("00-dice"),
               lambda: predict("00-p1"), lambda: predict("00-p1", "Up?", ["up", "down"], choice=1), progress]
    for rng in fuzz:
        content = odd_text(PROGRESS, rng)
        (folder / "progress.json").write_bytes(content)
        for helper in rng.choice(len(helpers), 2, replace=False, p=[0.195] * 5 + [0.025]):  # the last reads every lesson
            found = fuzz.hold(helpers[helper], folder, but=("progress.json", ".progress"))
            assert not isinstance(found, FmlabError) and repr(found) and found._repr_html_()
        kept = contents(folder)
        try:
            was = json.loads(content)
        except (ValueError, RecursionError):
            was = None
        if content not in kept.values():  # it was understood and written again: then all of it is there
            now = json.loads((folder / "progress.json").read_text(encoding="utf-8"))
            assert isinstance(was, dict) and was.keys() <= now.keys()
            assert all(was[kind].keys() <= now[kind].keys() for kind in was if isinstance(was[kind], dict))
        for path in folder.glob("progress.json*"):
            path.unlink()
    capsys.readouterr()
    fuzz.tell(both=False)


def tiny(folder: Path) -> Lesson:
    folder.mkdir(exist_ok=True)
    (folder / "90_tiny.py").write_text(SOURCE, encoding="utf-8")
    return read(folder / "90_tiny.py")


def test_fuzz_notebook(tmp_path):
    """A notebook that somebody edited, however badly, is the learner's: it stays byte for byte."""
    lesson, fuzz = tiny(tmp_path / "src"), Fuzz("notebook")
    made = json.loads(build.as_bytes(build.notebook(lesson)))
    folder = tmp_path / "course"
    deliver((lesson,), folder)
    target, known = folder / "90_tiny.ipynb", (folder / ".delivered.json").read_bytes()
    for rng in fuzz:
        content = odd_text(made, rng)
        target.write_bytes(content)
        (folder / ".delivered.json").write_bytes(known)
        fuzz.hold(lambda: deliver((lesson,), folder), folder, but=(".delivered", "90_tiny"))
        assert content in contents(folder).values() or _only_ours(content, made)
        for path in folder.glob("90_tiny*"):
            path.unlink()
    fuzz.tell(both=False)


def _only_ours(content: bytes, made: dict) -> bool:
    """Whether a notebook has the delivered cells and no output: opening it writes other metadata, and that is nobody's work."""
    cells = json.loads(content)["cells"]
    ours = [(cell["cell_type"], "".join(cell["source"])) for cell in made["cells"]]
    theirs = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    return theirs == ours and not any(cell.get("outputs") for cell in cells)


def test_fuzz_deliveries(tmp_path):
    """A damaged record of deliveries makes every notebook the learner's, and is itself kept."""
    lesson, fuzz, folder = tiny(tmp_path / "src"), Fuzz("deliveries"), tmp_path / "course"
    deliver((lesson,), folder)
    known = json.loads((folder / ".delivered.json").read_text())
    edited = (folder / "90_tiny.ipynb").read_bytes().replace(b"a = 1", b"a = 'mine'")
    for rng in fuzz:
        (folder / "90_tiny.ipynb").write_bytes(edited)
        (folder / ".delivered.json").write_bytes(odd_text(known, rng))
        fuzz.hold(lambda: deliver((lesson,), folder), folder, but=(".delivered", "90_tiny.new"))
        for path in [*folder.glob("90_tiny.new*"), *folder.glob(".delivered.json.*")]:
            path.unlink()
    fuzz.tell(both=False)


IMAGE = Volume(torch.randn(1, 8, 7, 6, generator=torch.Generator().manual_seed(0)) * 300, np.eye(4), name="a")


def canvas(autosave: Path | bool) -> Canvas:
    """A canvas whose model paints a corner."""
    def ask(request):
        mask = np.zeros(request.image.shape, bool)
        mask[:2, :3] = True
        return Answer(mask)

    return Canvas(IMAGE, ask, classes=("liver", "spleen"), autosave=autosave)


def drawn(path: Path) -> Canvas:
    """One with two points, a box and an undone step, kept in ``path``."""
    one = canvas(path)
    for event in ({"do": "point", "class": "liver", "axis": "axial", "index": 2, "at": [1, 1], "label": 1},
                  {"do": "box", "class": "spleen", "axis": "axial", "index": 3, "start": [0, 0], "stop": [3, 3]},
                  {"do": "point", "class": "liver", "axis": "axial", "index": 2, "at": [2, 2], "label": 0}, {"do": "undo"}):
        one.annotation.apply([event])
    one.autosave.save()
    return one


@pytest.mark.filterwarnings("ignore")
def test_fuzz_autosave(tmp_path):
    """A canvas goes on from its file, or says that it is damaged; the file stays in both cases."""
    fuzz, path = Fuzz("autosave"), tmp_path / "canvas.json"
    drawn(path)
    kept = json.loads(path.read_text())
    for rng in fuzz:
        path.write_bytes(odd_text(kept, rng))
        found = fuzz.hold(lambda: canvas(path), tmp_path)
        if isinstance(found, Canvas):
            fuzz.hold(lambda found=found: found.annotation.apply([{"do": "undo"}, {"do": "redo"}]), tmp_path)
            assert all(found.annotation.mask(key) is None or found.annotation.mask(key).dtype == bool
                       for key in found.annotation.layers)
    fuzz.tell()


@pytest.mark.filterwarnings("ignore")
def test_fuzz_recording(tmp_path):
    """A recording that somebody edited is replayed, or refused in a sentence."""
    fuzz = Fuzz("recording")
    recording = json.loads(json.dumps(drawn(tmp_path / "canvas.json").recording))
    for rng in fuzz:
        odd = odd_json(recording, rng)
        fuzz.hold(lambda odd=odd: replay(canvas(False).annotation, odd), tmp_path)
    fuzz.tell()


# ---- nothing that is read may run ----


@pytest.mark.parametrize("place", ["source", "metadata", "output"])
def test_a_tampered_notebook_runs_no_code_when_it_is_delivered_listed_or_compared(tmp_path, place):
    lesson, folder, fired = tiny(tmp_path / "src"), tmp_path / "course", tmp_path / "fired"
    deliver((lesson,), folder)
    made = nbformat.read(folder / "90_tiny.ipynb", 4)
    code = f"import os; os.mkdir({str(fired)!r})"
    if place == "source":
        made.cells[-1].source = code
    elif place == "metadata":
        made.metadata["jupytext"] = {"text_representation": f"!!python/object/apply:os.mkdir [{fired}]", "execute": code}
    else:
        html = f"<script>{code}</script>"
        made.cells[-1].outputs = [nbformat.v4.new_output("display_data", {"text/html": html, "application/javascript": code})]
    nbformat.write(made, folder / "90_tiny.ipynb")
    before = (folder / "90_tiny.ipynb").read_bytes()
    deliver((lesson,), folder)
    build.stale(folder)
    progress()
    assert not fired.exists()
    assert place == "metadata" or (folder / "90_tiny.ipynb").read_bytes() == before  # Jupyter's metadata are nobody's work


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.mkdir [{}]", "!!python/object/new:os.mkdir [{}]"])
def test_a_tampered_lesson_header_runs_no_code(tmp_path, tag):
    path = tmp_path / "90_tiny.py"
    path.write_text(SOURCE.replace("title: Tiny", f"title: {tag.format(tmp_path / 'fired')}"))
    try:
        read(path)
    except FmlabError:
        pass
    assert not (tmp_path / "fired").exists()


def test_a_pickle_named_progress_is_moved_aside_and_not_loaded(tmp_path):
    import os
    import pickle

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "fired"),)

    (tmp_path / "course").mkdir()
    (tmp_path / "course" / "progress.json").write_bytes(content := pickle.dumps(Bomb()))
    assert records.read() == {"exercises": {}, "quizzes": {}, "predictions": {}}
    assert (tmp_path / "course" / "progress.json.damaged-1").read_bytes() == content and not (tmp_path / "fired").exists()


def test_a_good_file_is_never_moved_aside_by_a_reader_that_saw_the_damaged_one(tmp_path, monkeypatch):
    """One notebook reads damage; before it moves the file, another has moved it and written a good one."""
    folder = tmp_path / "course"
    folder.mkdir()
    (folder / "progress.json").write_text("{ broken")
    first, real = [True], records._parsed

    def slow(path):
        found = real(path)
        if first:
            first.clear()
            records.record_check("00-dice", True)
        return found

    monkeypatch.setattr(records, "_parsed", slow)
    assert records.read()["exercises"]["00-dice"]["passed"]
    assert sorted(path.name for path in folder.glob("progress*")) == ["progress.json", "progress.json.damaged-1"]
