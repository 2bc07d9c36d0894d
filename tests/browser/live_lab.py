"""Chromium and JupyterLab for the browser tests and for benchmarks/viewer.py; a small scan whose every pixel is known."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
from playwright.sync_api import Browser, Locator, Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
QUIET = ("--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update "
         "--disable-sync").split()
REPOSITORY = Path(__file__).parents[2]

# Grey value 20 k - 300 HU in axial slice k; 500 HU in a block at the patient's right front; liver there, spleen on the left.
SCAN = """
import numpy as np, torch
from fmlab.viewer import view
from fmlab.volume import Volume
image = torch.zeros(1, 40, 32, 30) + 20.0 * torch.arange(30) - 300
image[:, 28:38, 20:30] = 500
labels = torch.zeros(1, 40, 32, 30, dtype=torch.uint8)
labels[:, 28:38, 20:30, 5:25] = 42
labels[:, 2:12, 4:14, 5:25] = 45
other = labels.clone(); other[labels == 45] = 0
scan = Volume(image, np.diag([2.0, 2.0, 3.0, 1.0]), labels=labels, name="blocks")
"""
CELLS = (SCAN, "plain = view(scan, height=320)\nplain",
         "pair = view(scan, compare=[('reader 1', labels), ('reader 2', other)], height=320)\npair",
         "heard = []\ndrawn = view(scan, tools=True, height=320)\n"
         "drawn.observe(lambda c: heard.append(len(c['new'])), 'points')\ndrawn",
         """import fmlab.viewer.slabs as slabs, fmlab.viewer.widget as widget
slabs.THICK_VOXELS, widget.FIRST_BYTES = 40 * 32 * 3, 1   # three slices a slab, and only one slab travels with the widget
late = view(scan, height=320)
late""")


def notebook(path: Path, cells: tuple[str, ...]) -> Path:
    """Write a notebook of code cells."""
    named = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}  # else JupyterLab asks for one
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in cells], metadata=named), path)
    return path


def pixel(canvas: Locator, across: float, down: float) -> tuple[int, int, int]:
    """Colour of the canvas at fractions of its width and height, in the frame that is on the screen."""
    script = """(c, [x, y]) => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(
        [...c.getContext("2d").getImageData(Math.round(x * (c.width - 1)), Math.round(y * (c.height - 1)), 1, 1).data].slice(0, 3)
    ))))"""
    return tuple(canvas.evaluate(script, [across, down]))


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, without any traffic of its own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


class Lab:
    """A running JupyterLab; ``open`` gives a page with a notebook, ``run`` runs code in its kernel."""

    def __init__(self, url: str, token: str, folder: Path, browser: Browser) -> None:
        self.url, self.token, self.folder, self.browser = url, token, folder, browser

    def open(self, path: Path, run: bool = True) -> Page:
        page = self.browser.new_page(viewport={"width": 1400, "height": 1000})
        page.goto(f"{self.url}/lab/workspaces/{secrets.token_hex(4)}/tree/{path.relative_to(self.folder)}?token={self.token}")
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
        if run:
            status = "window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status"
            page.wait_for_function(f"() => {status} === 'idle'", timeout=60_000)
            page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells') }")
        return page

    @staticmethod
    def run(page: Page, code: str) -> str:
        """Standard output of code in the page's kernel."""
        return page.evaluate("""async (code) => {
            const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
            const future = kernel.requestExecute({ code });
            let text = "";
            future.onIOPub = ({ content }) => {
                text += content.text ?? (content.ename ? content.ename + ": " + content.evalue : ""); };
            await future.done;
            return text;
        }""", code).strip()


@contextmanager
def jupyterlab(browser: Browser, home: Path) -> Iterator[Lab]:
    """A JupyterLab on 127.0.0.1 with its token on, all its files under ``home``."""
    (work := home / "work").mkdir()
    settings = home / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token, url = secrets.token_hex(16), f"http://127.0.0.1:{port}"
    environment = os.environ | {
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"), "JUPYTERLAB_WORKSPACES_DIR": str(home / "spaces"),
        "JUPYTER_CONFIG_DIR": str(home / "config"), "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "IPYTHONDIR": str(home / "ipython"),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")])), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
               f"--ServerApp.port={port}", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={work}",
               "--LabApp.expose_app_in_browser=True"]
    with open(home / "log", "w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait_for(f"{url}/api?token={token}", server, home / "log")
        yield Lab(url, token, work, browser)
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:  # JupyterLab waits for a page that was opened just before
            server.kill()
            server.wait()


def _wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    for _ in range(240):
        if server.poll() is not None:
            break
        try:
            urllib.request.urlopen(address, timeout=2).close()
            return
        except OSError:
            time.sleep(0.25)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")
