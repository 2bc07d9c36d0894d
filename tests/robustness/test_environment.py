"""Full and read-only disks, two labs at once, odd names, other locales: one sentence, nothing lost, nothing half written."""

from __future__ import annotations

import ast
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
import torch
from fake_phantoms import fake_sample
from fuzzing import contents, sentence
from scan_samples import dicoms, nrrds
from small_models import base
from test_fuzz_course import canvas, drawn, tiny
from test_fuzz_weights import CONFIG, trained
from torch import nn

import fmlab
from fmlab import adaptation, hub, phantom_cache, scan_files
from fmlab.errors import DataError, FmlabError, TrainingError
from fmlab.lessons import records
from fmlab.lessons.claims import ledger
from fmlab.lessons.deliver import deliver
from fmlab.settings import data_folder
from fmlab.systems import save_page
from fmlab.training import checkpoint
from fmlab.training.log import Log, read_log
from fmlab.training.order import random_states
from fmlab.viewer import keeping
from fmlab.volume import Volume

pytestmark = pytest.mark.filterwarnings("ignore")
ROOT = Path(fmlab.__file__).parents[1]
TURNS = 12  # of each of four processes, at the same thing
BODY = phantom_cache.Body(3, "A", 8.0, False, "test")


def scan() -> Volume:
    return Volume(torch.randn(1, 12, 12, 12, generator=torch.Generator().manual_seed(0)) * 300, np.eye(4), name="a")


def run_of(seed: int) -> ledger.Run:
    return ledger.Run("C05", seed, "ci", "here", "2026-11-28T00:00:00+00:00", "0", {"a": 1.0}, details={"x": "y" * 3000})


def writers(folder: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], object]]:
    """Everything in fmlab that writes for a learner, into ``folder``; what it needs is made before, in ``source``."""
    monkeypatch.setenv("FMLAB_COURSE", str(folder))
    monkeypatch.setenv("FMLAB_DATA", str(folder))
    lesson, volume, model = tiny(source / "src"), scan(), hub.build("universal", width=2)
    adapter, net, painted = adaptation.attach(base("unet"), "lora", rank=2), trained(source), drawn(source / "canvas.json")
    painted.autosave.path, painted.autosave._seen = folder / "canvas.json", None
    return {
        "scan": lambda: volume.write(folder / "a.nii.gz"), "plain scan": lambda: volume.write(folder / "a.nii"),
        "weights": lambda: hub.save(model, folder / "a.safetensors"), "adapter": lambda: adapter.save(folder / "adapter"),
        "checkpoint": lambda: checkpoint.save(folder / "checkpoint.pt", net[0], net[1], [random_states()], CONFIG, 2, 5),
        "log": lambda: Log(folder, 0).add(step=1, note="x" * 9000), "body": lambda: phantom_cache.make(BODY, fake_sample),
        "progress": lambda: records.update("quizzes", "00-q1", lambda old: {"note": "x" * 9000}),
        "notebooks": lambda: deliver((lesson,), folder), "ledger": lambda: ledger.record(run_of(1)),
        "canvas": lambda: painted.autosave.save(), "map": lambda: save_page(folder / "map.html"),
    }


def refused(name: str, act: Callable[[], object], folder: Path) -> None:
    """A writer that cannot write says so in a sentence, and leaves the folder as it was, but for empty folders and locks."""
    before = contents(folder, but=(".progress.lock", ".delivered.lock", ".C05.jsonl.lock"))
    try:
        found = act()
    except FmlabError as error:
        sentence(error)
    else:
        assert name == "progress" and "was not saved" in found, f"{name} says that it has written"
    after = contents(folder, but=(".progress.lock", ".delivered.lock", ".C05.jsonl.lock"))
    assert after == before or name == "log" and after.keys() - {str(folder / "log.jsonl")} == before.keys(), name


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """A small disk in memory at ``folder``; skips where this process may not mount one."""
    try:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True).returncode == 0
    except OSError:
        done = False
    if not done:
        pytest.skip("this process may not mount a disk of its own")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(tmp_path, monkeypatch):
    """A disk of 100 kB, full to the last byte, with files on it."""
    (disk := tmp_path / "disk").mkdir()
    with mounted(disk, "size=100k"):
        acts = writers(disk, tmp_path, monkeypatch)
        (disk / "a.nii").write_bytes(b"the learner's")
        (disk / "progress.json").write_text('{"quizzes": {"00-q2": {"tries": 1}}}')
        with open(disk / "filler", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                pass
        for name, act in acts.items():
            refused(name, act, disk)
        (disk / "filler").unlink()
        (disk / "a.nii").unlink()
        assert records.record("quizzes", "00-q2") == {"tries": 1}
        assert acts["progress"]() == "" and acts["plain scan"]() == disk / "a.nii"  # with room, all goes on


def test_a_write_that_fails_half_way(tmp_path, monkeypatch):
    """The same without a mount: no file may grow beyond 600 bytes, so each write fails after some of it."""
    resource = pytest.importorskip("resource")
    (folder := tmp_path / "folder").mkdir()
    acts = writers(folder, tmp_path, monkeypatch)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for name, act in acts.items():
        def limited(act: Callable[[], object] = act) -> object:
            resource.setrlimit(resource.RLIMIT_FSIZE, (600, limits[1]))
            try:
                return act()
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        refused(name, limited, folder)


@pytest.mark.parametrize("kind", ["below a file", "of the system", "mounted read-only"])
def test_a_read_only_folder(tmp_path, monkeypatch, kind):
    """FMLAB_COURSE, FMLAB_DATA and everything else where nothing can be made."""
    (tmp_path / "file").write_text("a file")
    folder = {"below a file": tmp_path / "file" / "x", "of the system": Path("/proc/fmlab")}.get(kind, tmp_path / "disk")
    if kind == "of the system" and not Path("/proc/self").exists():
        pytest.skip("no /proc here")
    if kind == "mounted read-only":
        folder.mkdir()
        with mounted(folder, "ro,size=100k"):
            check_all(writers(folder, tmp_path, monkeypatch), folder)
    else:
        check_all(writers(folder, tmp_path, monkeypatch), folder)
        assert (tmp_path / "file").read_text() == "a file"


def check_all(acts: dict[str, Callable[[], object]], folder: Path) -> None:
    for name, act in acts.items():
        refused(name, act, folder)
    assert records.read() == {"exercises": {}, "quizzes": {}, "predictions": {}}
    canvas(folder / "canvas.json")  # annotating goes on without its file, and says so when it is to be kept


def test_a_training_in_a_folder_that_cannot_be_made(tmp_path):
    from fmlab.training import train
    from fmlab.training.demo import Balls, loss, net

    (tmp_path / "file").write_text("a file")
    with pytest.raises(TrainingError, match="cannot be made") as caught:
        train(net(), loss, Balls(3, size=8), CONFIG, tmp_path / "file" / "run")
    sentence(caught.value)


# ---- two at once ----


def _work(number: int, folder: str, together: object) -> None:
    os.environ["FMLAB_COURSE"] = os.environ["FMLAB_DATA"] = folder
    lesson = tiny(Path(folder) / "src" / str(number))

    def progress(turn: int) -> None:
        assert records.record_check(f"00-{number}", False) == records.record_check("00-shared", False) == ""

    for act in (progress, lambda turn: ledger.record(run_of(100 * number + turn)), lambda turn: deliver((lesson,), Path(folder)),
                lambda turn: phantom_cache.make(BODY, fake_sample), lambda turn: phantom_cache.load(BODY, fake_sample)):
        together.wait(60)
        for turn in range(TURNS):
            act(turn)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="forks its processes")
def test_two_labs_at_once_lose_nothing(tmp_path, monkeypatch):
    """Four processes with one course folder and one cache: progress, ledger, notebooks and bodies are all there and whole."""
    monkeypatch.setenv("FMLAB_COURSE", str(tmp_path))
    monkeypatch.setenv("FMLAB_DATA", str(tmp_path))
    (tmp_path / "src").mkdir()
    context = multiprocessing.get_context("fork")
    together = context.Barrier(4)
    workers = [context.Process(target=_work, args=(number, str(tmp_path), together)) for number in range(4)]
    [worker.start() for worker in workers]
    [worker.join(120) for worker in workers]
    assert [worker.exitcode for worker in workers] == [0] * 4
    kept = records.read()["exercises"]
    assert [kept[f"00-{number}"]["tries"] for number in range(4)] == [TURNS] * 4
    assert kept["00-shared"]["tries"] == len(ledger.runs("C05", "own")) == 4 * TURNS
    assert sorted(path.name for path in tmp_path.glob("90_tiny*")) == ["90_tiny.ipynb"]
    assert torch.equal(phantom_cache.load(BODY, fake_sample).labels, fake_sample(3, spacing=8.0).labels)
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert not [name for name in names if "damaged" in name or name.startswith(".") and not name.endswith((".lock", ".json"))]


def test_two_canvases_on_one_file_keep_both(tmp_path):
    one, other = drawn(tmp_path / "canvas.json"), canvas(False)
    again = canvas(tmp_path / "canvas.json")
    one.annotation.apply([{"do": "clear", "class": "liver", "axis": "axial", "index": 2}])
    one.autosave.save()
    again.autosave.save()
    assert len(list(tmp_path.glob("canvas*.json"))) == 2 and other.autosave is None


# ---- names ----


@pytest.mark.parametrize("name", ["with blanks", "Übung für München", "日本語 карта", "a'b\"c&d;e$f", "-rf", "C:\\scans", "aux",
                                  "x" * 200, "%USERPROFILE%", "#hash?query"])
def test_everything_works_in_a_folder_of_any_name(tmp_path, monkeypatch, name):
    folder = tmp_path / name
    folder.mkdir()
    (source := tmp_path / "source").mkdir()
    for each, act in writers(folder, source, monkeypatch).items():
        found = act()
        assert each != "progress" or found == ""
    volume = Volume.read(folder / "a.nii.gz")
    assert volume.shape == (12, 12, 12) and data_folder() == folder
    assert isinstance(hub.load("universal", folder / "a.safetensors"), nn.Module)
    assert adaptation.load(base("unet"), folder / "adapter").method == "lora"
    assert read_log(folder)[0]["step"] == 1 and len(ledger.runs("C05", "own")) == 1
    assert torch.load(folder / "checkpoint.pt", weights_only=True)["step"] == 2
    (folder / "series").mkdir()
    dicoms(folder / "series")
    nrrds(folder)
    assert Volume.read(folder / "series").modality == "CT" and Volume.read(folder / "raw.nrrd").shape == (7, 6, 5)


@pytest.mark.parametrize("stem", ["x" * 243, "é" * 121, "aux", "CON", "a:b", "c\\d", " blank ", "trailing."])
def test_files_of_any_name_that_the_system_takes(tmp_path, stem):
    """As long as the system allows: the name beside it, under which a file is written first, must not be longer."""
    volume = scan()
    assert Volume.read(volume.write(tmp_path / f"{stem}.nii.gz")).shape == volume.shape
    model = hub.build("universal", width=2)
    assert hub.save(model, tmp_path / f"{stem}.safetensors").is_file()
    records.course_folder().mkdir(parents=True)
    assert len(list(tmp_path.glob("*.*"))) == 2


def test_windows_paths_are_understood_as_far_as_they_can_be_here():
    for path in (PureWindowsPath(r"C:\Scans\Kopf.NII.GZ"), r"C:\Scans\Kopf.NII.GZ", r"\\server\share\Kopf.nii.gz"):
        assert scan_files.suffix(path) == ".nii.gz"
    for title in ("C:\\scans\\aux.nii", "CON", "a/b", "..", "nul.", "x" * 300, "日本"):
        one = canvas(False)
        one.facts["name"] = title
        name = keeping.Autosave(None, one.annotation, one.facts).path.name
        assert not set(name) & set('\\/:*?"<>|') and len(name) < 100 and PureWindowsPath(name).name == name
        assert name.split(".")[0].upper() not in ("CON", "AUX", "NUL") and name.endswith(".json")


# ---- locales ----


def test_every_text_file_is_read_and_written_with_its_encoding_named():
    """Else it is that of the locale: cp1252 on many a Windows, ASCII in a bare container."""
    found = []
    for path in sorted((ROOT / "fmlab").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            texts = [arg.value for arg in [*node.args, *(k.value for k in node.keywords)] if isinstance(arg, ast.Constant)]
            binary = any(isinstance(text, str) and "b" in text and len(text) <= 3 for text in texts)
            binary |= any(keyword.arg == "buffering" and ast.unparse(keyword.value) == "0" for keyword in node.keywords)
            text = name in ("read_text", "write_text") or name == "open" and not binary
            whose = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
            if text and whose not in ("tarfile", "Image", "bundle", "webbrowser", "PIL.Image", "os"):
                if not any(keyword.arg == "encoding" for keyword in node.keywords):
                    found.append(f"{path}:{node.lineno}: {ast.unparse(node)[:80]}")
    assert not found


SCRIPT = """
import sys, warnings
from pathlib import Path
from fmlab import cli
for words in (["claims", "C05"], ["data", "list"]):
    try:
        cli.app(words, standalone_mode=False)
    except SystemExit:
        pass
sys.argv = ["fmlab", "claims", "\\udce9\\u65e5"]
cli.main()
"""


def test_a_bare_locale_and_a_narrow_terminal(tmp_path):
    """No UTF-8 anywhere: the commands that only tell something tell it, and a refusal is still a sentence."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "PYTHON"))}
    environment |= {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii:strict",
                    "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "FMLAB_DATA": str(tmp_path)}
    script = "import sys\nfrom fmlab import cli\ncli.plain_streams()\n" + SCRIPT
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], env=environment, capture_output=True, timeout=300)
    assert done.returncode == 2 and b"Traceback" not in done.stderr and b"C05" in done.stdout
    assert done.stderr.strip().splitlines()[-1].startswith(b"fmlab: There is no claim")


def test_no_home_at_all(tmp_path, monkeypatch):
    """A user without an entry in passwd, as in some containers, is told to set FMLAB_DATA."""
    def homeless(self: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("FMLAB_DATA")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "expanduser", homeless)
    with pytest.raises(FmlabError, match="FMLAB_DATA") as caught:
        data_folder()
    sentence(caught.value)
    assert not isinstance(caught.value, DataError)
