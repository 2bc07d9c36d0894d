"""Time from a key press to the painted slice: our viewer against ipywidgets.interact with matplotlib, in one JupyterLab session.

    python benchmarks/viewer.py [--keys 40] [--size 512 512 100]

The clock runs in the browser: from the key's event to the first moment after the frame that shows the new slice. Printed too:
what a viewer of the volume weighs as live widget state and in saved HTML.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "browser"))
from live_lab import Lab, chromium, jupyterlab, notebook  # noqa: E402

SCAN = """
import numpy as np, torch
from fmlab.viewer import view
from fmlab.volume import Volume
from scipy.ndimage import gaussian_filter
size = {size}
noise = np.random.default_rng(0)
image = torch.from_numpy((gaussian_filter(noise.normal(size=size).astype(np.float32), 1.0) * 60 + 40).astype(np.float32))[None]
grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in size], indexing="ij"))
labels = torch.zeros((1, *size), dtype=torch.uint8)
for organ in range(12):   # twelve organs of some 100 voxels across
    centre = noise.uniform(-0.6, 0.6, 3)
    labels[0][torch.from_numpy(((grid - centre[:, None, None, None]) ** 2).sum(0) < 0.05)] = 42 + organ
scan = Volume(image, np.diag([0.8, 0.8, 3.0, 1.0]), labels=labels)
"""
OURS = "viewer = view(scan)\nviewer"
THEIRS = """
import matplotlib.pyplot as plt
from ipywidgets import IntSlider, interact
@interact(k=IntSlider(value=50, min=0, max={last}))
def show(k):
    plt.imshow(scan.image[0, :, :, k].numpy().T[::-1, ::-1], cmap="gray", vmin=-160, vmax=240)
    plt.axis("off")
    plt.show()
"""
# The new slice is in the page when the canvas says so (ours), or when the new <img> is decoded (theirs); a task posted from the
# animation callback of the next frame, the one that shows it, runs when that frame is done.
CLOCK = """(kind) => {
    const root = kind === "ours" ? document.querySelector(".fm-viewer canvas") : document.querySelector(".widget-interact");
    window.times = [];
    let start = null, before = null;
    const source = () => (kind === "ours" ? root.dataset.painted : root.querySelector("img")?.src);
    const stop = () => { const channel = new MessageChannel(), from = start; start = null;
        channel.port1.onmessage = () => window.times.push(performance.now() - from); channel.port2.postMessage(0); };
    new MutationObserver(async () => {
        if (start === null || !source() || source() === before) return;
        before = source();
        if (kind !== "ours") await root.querySelector("img").decode();
        requestAnimationFrame(stop);
    }).observe(root, { attributes: true, childList: true, subtree: true });
    document.addEventListener("keydown", (event) => { start = event.timeStamp; before = source(); }, true);
}"""


def timed(page: Page, keys: int) -> list[float]:
    """Milliseconds per key; the next key is pressed when the last one's slice is there, as a reader would at leisure."""
    for done in range(keys):
        page.keyboard.press("ArrowRight")
        page.wait_for_function("(n) => window.times.length > n", arg=done, polling=5)
        page.wait_for_timeout(60)
    return page.evaluate("() => window.times")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--keys", type=int, default=40)
    arguments.add_argument("--size", type=int, nargs=3, default=(512, 512, 100))
    chosen = arguments.parse_args()
    size, times = tuple(chosen.size), {}
    with tempfile.TemporaryDirectory() as folder, chromium() as browser, jupyterlab(browser, Path(folder)) as lab:
        for kind, code, ready in (("ours", OURS, "canvas[data-painted]"), ("matplotlib", THEIRS, ".widget-interact img")):
            path = notebook(lab.folder / f"{kind}.ipynb", (SCAN.format(size=size), code.format(last=size[2] - 1)))
            page = lab.open(path)
            page.wait_for_selector(ready, timeout=180_000)
            page.wait_for_timeout(3000)
            (page.locator(".fm-viewer canvas") if kind == "ours" else page.locator(".widget-interact [role=slider]")).focus()
            page.evaluate(CLOCK, kind)
            times[kind] = timed(page, chosen.keys)
            if kind == "ours":
                start = time.perf_counter()
                sizes = Lab.run(page, "print(sum(map(len, viewer._first.values())), len(viewer.to_html()), "
                                      "len(viewer._repr_mimebundle_()[0]['text/html']))").split()
                seconds = time.perf_counter() - start
            page.close()
    middle = {kind: statistics.median(t) for kind, t in times.items()}
    for kind, t in times.items():
        slow = sorted(t)[int(0.95 * len(t))]
        print(f"{kind:>10}: median {middle[kind]:6.1f} ms, 95th percentile {slow:6.1f} ms, {len(t)} keys")
    print(f"     ratio: {middle['matplotlib'] / middle['ours']:.1f} x   volume {size}, targets: under 20 ms, at least 5 x")
    names = ("in the live widget's state", "scrollable page in saved HTML", "figure in a reopened notebook")
    print("\n".join(f"{int(n) / 1e6:9.2f} MB {name}" for n, name in zip(sizes, names, strict=True)), f"(made in {seconds:.1f} s)")


if __name__ == "__main__":
    main()
