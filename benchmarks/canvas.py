"""Time from a click to the painted mask on the canvas, in one JupyterLab session: the canvas's own share, and with a model.

    python benchmarks/canvas.py [--clicks 40] [--size 512 512 60] [--model CELL.py]

The clock runs in the browser: from the click's event (the button going up) to the first moment after the frame that shows the
mask. Without --model the answer costs nothing (a mask made beforehand). CELL.py runs in the kernel; it must define ask(request)
and may define prepare(axis, index), scan (a Volume) and classes. The first click on a slice includes ``prepare``; it is printed
apart.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Locator, Page

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "browser"))
from live_lab import Lab, chromium, jupyterlab, notebook  # noqa: E402

SCAN = """
import numpy as np, torch
from fmlab.viewer import Answer, Canvas
from fmlab.volume import Volume
size = {size}
image = torch.from_numpy(np.random.default_rng(0).normal(40, 60, size).astype(np.float32))[None]
scan, classes, prepare = Volume(image, np.diag([0.8, 0.8, 3.0, 1.0])), ("structure",), None
places = np.indices((size[1], size[0]))   # an organ of some 100 pixels across, with a rough edge
radius = np.hypot(*(places - np.array([size[1] // 2, size[0] // 2])[:, None, None]))
mask = radius + np.random.default_rng(1).normal(0, 2, radius.shape) < 0.12 * size[0]
def ask(request):
    return Answer(mask, 0.9)
"""
CANVAS = """
spent, plain = [], ask
def ask(request):
    start = __import__("time").perf_counter()
    answer = plain(request)
    spent.append(1000 * (__import__("time").perf_counter() - start))
    return answer
canvas = Canvas(scan, ask, classes, prepare=prepare, autosave="kept.json")
canvas"""
# The mask is in the page when the canvas counts one answer more; a task posted from the animation callback of the next frame, the
# one that shows it, runs when that frame is done.
CLOCK = """() => {
    const root = document.querySelector(".fm-canvas canvas");
    window.times = [];
    let start = null, before = null;
    const stop = () => { const channel = new MessageChannel(), from = start; start = null;
        channel.port1.onmessage = () => window.times.push(performance.now() - from); channel.port2.postMessage(0); };
    new MutationObserver(() => {
        if (start === null || root.dataset.answers === before) return;
        before = root.dataset.answers;
        requestAnimationFrame(stop);
    }).observe(root, { attributes: true });
    root.addEventListener("pointerup", (event) => { start = event.timeStamp; before = root.dataset.answers; }, true);
}"""


def timed(page: Page, canvas: Locator, clicks: int) -> list[float]:
    """Milliseconds per click near the middle; the next one is made when the last one's mask is there."""
    box = canvas.bounding_box()
    for done in range(clicks):
        x, y = 0.47 + 0.06 * (done % 7) / 6, 0.47 + 0.06 * (done // 7 % 7) / 6
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
        page.wait_for_function("(n) => window.times.length > n", arg=done, polling=5, timeout=120_000)
        page.wait_for_timeout(60)
    return page.evaluate("() => window.times")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--clicks", type=int, default=40)
    arguments.add_argument("--size", type=int, nargs=3, default=(512, 512, 60))
    arguments.add_argument("--model", type=Path, help="a file of Python that defines ask(request), run in the kernel")
    chosen = arguments.parse_args()
    model = chosen.model.read_text(encoding="utf-8") if chosen.model else ""
    cells = (SCAN.format(size=tuple(chosen.size)) + "\n" + model, CANVAS)
    with tempfile.TemporaryDirectory() as folder, chromium() as browser, jupyterlab(browser, Path(folder)) as lab:
        page = lab.open(notebook(lab.folder / "canvas.ipynb", cells))
        page.wait_for_selector(".fm-canvas canvas[data-painted]", timeout=300_000)
        page.wait_for_timeout(3000)
        canvas = page.locator(".fm-canvas canvas")
        canvas.scroll_into_view_if_needed()
        page.evaluate(CLOCK)
        first, *times = timed(page, canvas, chosen.clicks + 1)
        asked, shape = Lab.run(page, "print(*(f'{t:.3f}' for t in spent[1:])); print(tuple(scan.shape))").splitlines()
    middle, slow = statistics.median(times), sorted(times)[int(0.95 * len(times))]
    model_ms = statistics.median(map(float, asked.split()))
    print(f"click to painted mask: median {middle:6.1f} ms, fastest {min(times):.1f} ms, 95th percentile {slow:.1f} ms, "
          f"{len(times)} clicks, volume {shape}")
    print(f"      the model's ask: median {model_ms:6.1f} ms; the canvas's share {middle - model_ms:6.1f} ms; "
          f"first click {first:.0f} ms")
    print("              targets: under 200 ms with a nano model, of which the canvas's share under 60 ms")


if __name__ == "__main__":
    main()
