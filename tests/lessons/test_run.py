"""The runner: both variants of every lesson run within budget, and each kind of failure is caught on a tiny lesson."""

from __future__ import annotations

from pathlib import Path

import pytest

from fmlab.lessons.build import VARIANTS
from fmlab.lessons.run import over_budget, run, write
from fmlab.lessons.source import Budget, Lesson, lessons, read

HEADER = """# ---
# jupyter:
#   fmlab:
#     title: Tiny
#     section: "-"
#     goals: [nothing]
#     prerequisites: []
#     minutes: 1
#     seconds: {seconds}
#     gigabytes: {gigabytes}
# ---
# %% [markdown]
# # Tiny
"""


def tiny(folder: Path, *cells: str, seconds: float = 60, gigabytes: float = 4) -> Lesson:
    """A lesson of code cells in a folder of its own."""
    path = folder / "90_tiny.py"
    path.write_text(HEADER.format(seconds=seconds, gigabytes=gigabytes) + "".join(f"\n# %%\n{cell}\n" for cell in cells))
    return read(path)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("lesson", lessons(), ids=lambda lesson: lesson.name)
def test_lesson_runs(lesson, variant):
    result = run(lesson, variant, profile="ci")
    print(result)
    busy = [problem for problem in result.problems if " s and its header says" in problem]  # a loaded machine, not the lesson
    assert not set(result.problems) - set(busy), str(result)


def test_error_in_a_cell_is_caught_and_located(tmp_path):
    result = run(tiny(tmp_path, "a = 1", "b = a / 0", "c = 1"))
    assert any("Cell 3" in problem and "ZeroDivisionError" in problem for problem in result.problems)


def test_a_figure_without_alt_text_is_caught(tmp_path):
    result = run(tiny(tmp_path, "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"))
    assert [problem for problem in result.problems if "alt text" in problem]


def test_an_empty_alt_is_caught(tmp_path):
    result = run(tiny(tmp_path, "from IPython.display import HTML\nHTML('<img alt=\"\" src=\"data:,\">')"))
    assert [problem for problem in result.problems if "alt text" in problem]


def test_our_figure_helper_is_accepted_and_shown_once(tmp_path):
    cell = ("import matplotlib.pyplot as plt\nfrom fmlab.lessons import figure\n"
            "fig, ax = plt.subplots()\nax.plot([1, 2])\nfigure(fig, alt='a rising line')")
    result = run(tiny(tmp_path, cell))
    assert result.problems == ()
    outputs = result.notebook.cells[-1].outputs
    assert len(outputs) == 1 and 'alt="a rising line"' in outputs[0].data["text/html"]


NETWORK = {
    "connect": "import socket\nsocket.create_connection(('198.51.100.7', 80), timeout=2)",
    "name": "import urllib.request\nurllib.request.urlopen('http://fmlab.example/', timeout=2)",
    "requests": "import requests\nrequests.get('http://198.51.100.7/', timeout=2)",
    "datagram": "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('198.51.100.7', 53))",
    "child": ("import subprocess, sys\nsubprocess.run([sys.executable, '-c', \"import socket; "
              "socket.create_connection(('198.51.100.7', 80), 2)\"], check=True, capture_output=True, text=True)"),
}


@pytest.mark.parametrize("way", NETWORK)
def test_network_use_is_caught(tmp_path, way):
    result = run(tiny(tmp_path, NETWORK[way]))
    assert result.problems
    if way != "child":
        assert "no network" in result.problems[0]


def test_loopback_stays_open(tmp_path):
    cell = """import http.server, threading, urllib.request
server = http.server.HTTPServer(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler)
threading.Thread(target=server.serve_forever, daemon=True).start()
assert urllib.request.urlopen(f'http://localhost:{server.server_port}/', timeout=10).status == 200"""
    assert run(tiny(tmp_path, cell)).problems == ()


def test_too_slow_for_its_header_is_caught(tmp_path):
    result = run(tiny(tmp_path, "import time\ntime.sleep(0.7)", seconds=0.2))
    assert any("s and its header says 0.2" in problem for problem in result.problems)
    assert result.seconds >= 0.7 and result.slowest[0] == 2


def test_too_much_memory_for_its_header_is_caught(tmp_path):
    cell = "import time\nblock = bytearray(b'x' * 300_000_000)\ntime.sleep(0.5)"
    result = run(tiny(tmp_path, cell, gigabytes=0.15))
    assert any("GB of memory" in problem for problem in result.problems)
    assert 0.3 < result.gigabytes < 1.5


def test_a_budget_may_be_passed_by_less_than_half():
    budget = Budget(minutes=1, seconds=10, gigabytes=1)
    assert over_budget(budget, 14.9, 1.49) == []
    assert len(over_budget(budget, 15.1, 1.51)) == 2


def test_a_stub_left_open_lets_the_learners_variant_run_to_its_end(tmp_path):
    cells = ("def my_dice(p, r):\n    \"\"\"Dice.\"\"\"\n    # solution\n    s = p.sum() + r.sum()\n"
             "    return 2 * (p & r).sum() / s if s else float('nan')",
             "from fmlab.lessons import check, hint, predict, progress, quiz\ncheck('00-dice', my_dice)",
             "hint('00-dice')", "quiz('00-q1')", "predict('90-p1', 'Up or down?', ['up', 'down'])", "predict('90-p1')",
             "progress()")
    lesson = tiny(tmp_path, *cells)
    learner, solution = (run(lesson, variant) for variant in VARIANTS)
    assert learner.problems == () and solution.problems == ()
    assert "Not written yet" in learner.notebook.cells[3].outputs[0].data["text/plain"]
    assert "Passed" in solution.notebook.cells[3].outputs[0].data["text/plain"]


def test_the_profile_and_the_folder_reach_the_kernel(tmp_path):
    cell = ("import os\nfrom fmlab.lessons.records import update, course_folder\n"
            "print(os.environ['FMLAB_PROFILE'], course_folder(), update('exercises', 'x', lambda old: {'tries': 1}))")
    (course := tmp_path / "course").mkdir()
    result = run(tiny(tmp_path, cell), profile="ci", folder=course)
    assert result.notebook.cells[-1].outputs[0].text.split() == ["ci", str(course)]
    assert (course / "progress.json").is_file()


def test_progress_is_told_to_the_end(tmp_path):
    told = []
    run(tiny(tmp_path, "1", "2"), progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1]


def test_results_are_written_as_notebook_and_page(tmp_path):
    result = run(tiny(tmp_path, "print('6' * 3)"), pages=True)
    written = write(result, tmp_path / "out", html=True)
    assert [path.name for path in written] == ["90_tiny.solution.ipynb", "90_tiny.solution.html"]
    assert all("666" in path.read_text() for path in written)
