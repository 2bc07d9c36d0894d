"""The command line: thin, one sentence for what is refused; JupyterLab on loopback with its token on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fmlab import cli, doctor
from fmlab.lessons import source

ROOT = Path(__file__).resolve().parents[2]
LESSON = '''# ---
# jupyter:
#   fmlab:
#     title: Tiny
#     section: "-"
#     goals: [nothing]
#     prerequisites: []
#     minutes: 1
#     seconds: 30
#     gigabytes: 3
# ---
# %% [markdown]
# # Tiny
# %%
print("40 + 2 =", 40 + 2)
'''
invoke = CliRunner().invoke


@pytest.fixture
def tutorials(tmp_path, monkeypatch):
    (folder := tmp_path / "tutorials").mkdir()
    (folder / "90_tiny.py").write_text(LESSON)
    monkeypatch.setattr(source, "tutorials_folder", lambda: folder)
    monkeypatch.chdir(tmp_path)
    return folder


def command(*words: str, **environment: str) -> subprocess.CompletedProcess:
    env = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    return subprocess.run([sys.executable, "-m", "fmlab", *words], capture_output=True, text=True, env=env, timeout=120)


def test_help_names_every_command_and_loads_nothing_heavy():
    done = command("--help")
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("lab", "list", "run", "doctor", "data", "view", "lessons"))
    probe = "import fmlab.cli, sys; print([m for m in ('torch', 'monai', 'jupyterlab', 'matplotlib') if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert loaded.stdout.strip() == "[]"


@pytest.mark.parametrize(("words", "said"), [
    (("run", "77"), "no lesson"), (("view", "/nowhere/scan.nii.gz", "--no-open"), "/nowhere/scan.nii.gz"),
    (("data", "get", "nothing"), "nothing"),
])
def test_what_is_refused_is_one_sentence_and_code_2(words, said):
    done = command(*words)
    assert done.returncode == 2
    assert said in done.stderr and "Traceback" not in done.stderr + done.stdout
    assert len([line for line in done.stderr.splitlines() if line.startswith("fmlab: ")]) == 1


def test_a_wrong_setting_is_refused_too(tmp_path):
    done = command("doctor", FMLAB_PROFILE="huge")
    assert "PROBLEM" in done.stdout and "FMLAB_PROFILE" in done.stdout and done.returncode == 1


def test_list_shows_cost_and_progress(tutorials):
    done = invoke(cli.app, ["list"])
    assert done.exit_code == 0, done.output
    assert "90  Tiny" in done.output and "30 s and 3 GB" in done.output


def test_run_writes_notebook_and_page(tutorials, tmp_path):
    done = invoke(cli.app, ["run", "90", "--html"])
    assert done.exit_code == 0, done.output
    assert "40 + 2 = 42" in (tmp_path / "runs" / "90_tiny.solution.html").read_text()
    assert "40 + 2 = 42" in (tmp_path / "runs" / "90_tiny.solution.ipynb").read_text()


def test_run_of_a_failing_lesson_ends_in_an_error_and_still_writes(tutorials, tmp_path):
    (tutorials / "90_tiny.py").write_text(LESSON + "\n# %%\n1 / 0\n")
    done = invoke(cli.app, ["run", "90"])
    assert done.exit_code != 0 and "ZeroDivisionError" in done.output
    assert (tmp_path / "runs" / "90_tiny.solution.ipynb").exists()


def test_an_unknown_variant_is_refused(tutorials):
    assert "variant" in str(invoke(cli.app, ["run", "90", "--variant", "teacher"]).exception)


def test_build_and_check(tutorials):
    assert invoke(cli.app, ["lessons", "check"]).exit_code == 1
    assert "90_tiny.ipynb" in invoke(cli.app, ["lessons", "build"]).output
    assert "in order" in invoke(cli.app, ["lessons", "check"]).output


def test_doctor_reports_each_part():
    found = {finding.what: finding for finding in doctor.examine()}
    assert set(found) == {"python", "torch", "device", "memory", "cache", "disk", "widgets", "chromium"}
    assert found["torch"].state == "ok" and found["widgets"].state == "ok", found["widgets"]


def test_doctor_sees_widgets_that_do_not_fit():
    good = {"ipywidgets": "8.1.9", "jupyterlab_widgets": "3.0.17", "anywidget": "0.11.0", "jupyterlab": "4.6.6"}
    assert doctor.mismatch(good) == ""
    assert doctor.mismatch(good | {"ipywidgets": "7.8"}) and doctor.mismatch(good | {"jupyterlab": "3.6"})


def test_doctor_sees_a_cache_that_cannot_be_written(monkeypatch):
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    found = {finding.what: finding.state for finding in doctor.examine()}
    assert found["cache"] == "problem"


def test_data_list_names_the_registry():
    done = invoke(cli.app, ["data", "list"])
    assert done.exit_code == 0 and "totalsegmentator-ct" in done.output


def test_view_writes_a_page_that_needs_no_network(tmp_path):
    import numpy as np
    import torch

    from fmlab.volume import Volume

    image = torch.linspace(-100, 200, 8 * 9 * 10).reshape(1, 8, 9, 10)
    scan = Volume(image, np.diag([2.0, 2.0, 3.0, 1.0])).write(tmp_path / "scan.nii.gz")
    done = invoke(cli.app, ["view", str(scan), "--no-open", "--output", str(tmp_path / "page.html")])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "page.html").read_text()
    assert "<iframe" in page and not re.search(r"(src|href)=[\"']https?:", page)


def test_lab_serves_on_loopback_with_its_token(tmp_path):
    (tmp_path / "config").mkdir()  # a user whose own configuration turns the token off
    (tmp_path / "config" / "jupyter_server_config.py").write_text("c.IdentityProvider.token = ''\nc.ServerApp.ip = '0.0.0.0'\n")
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    env |= {"JUPYTER_CONFIG_DIR": str(tmp_path / "config"), "JUPYTER_RUNTIME_DIR": str(tmp_path / "run")}
    program = ("import sys\nfrom fmlab.lessons.lab import start\nfrom pathlib import Path\n"
               "start(Path(sys.argv[1]), '00_welcome', 18888, browser=False)")
    (tmp_path / "course").mkdir()
    with open(tmp_path / "log", "w") as log:
        server = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "course")], stdout=log, stderr=log, env=env)
    try:
        address, token = _announced(tmp_path / "log", server)
        assert address.startswith("http://127.0.0.1:")
        assert "/lab/tree/00_welcome.ipynb" in (tmp_path / "log").read_text()
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{address}/api/contents", timeout=20)
        assert refused.value.code == 403
        assert urllib.request.urlopen(f"{address}/api/contents?token={token}", timeout=20).status == 200
        page = urllib.request.urlopen(f"{address}/lab?token={token}", timeout=20).read().decode()
        assert "apputils-extension:announcements" in page  # listed as disabled: no news pop-up
    finally:
        server.terminate()
        server.wait(20)


def _announced(log: Path, server: subprocess.Popen) -> tuple[str, str]:
    """The address and token that the server prints."""
    for _ in range(240):
        if found := re.search(r"(http://[\d.]+:\d+)/lab\S*\?token=([0-9a-f]+)", log.read_text()):
            return found[1], found[2]
        if server.poll() is not None:
            break
        time.sleep(0.25)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")


def test_view_refuses_labels_whose_ids_nobody_explains(tmp_path):
    import nibabel
    import numpy as np

    from fmlab.errors import ScanError
    from fmlab.scan_page import write_page

    grid = np.diag([4.0, 4.0, 4.0, 1.0])
    image = np.random.default_rng(0).normal(0, 100, (12, 12, 12)).astype(np.int16)
    ids = np.zeros((12, 12, 12), np.uint8)
    ids[3:6] = 5  # liver in TotalSegmentator v2, vertebrae in ours
    scan, labels = tmp_path / "scan.nii.gz", tmp_path / "labels.nii.gz"
    nibabel.save(nibabel.Nifti1Image(image, grid), scan)
    nibabel.save(nibabel.Nifti1Image(ids, grid), labels)
    with pytest.raises(ScanError, match="--scheme.*totalsegmentator_v2"):
        write_page(scan, labels)
    assert "liver" in write_page(scan, labels, "totalsegmentator_v2", tmp_path / "page.html").read_text()
