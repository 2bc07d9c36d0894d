"""Pages without a kernel: the viewer in a self-contained <iframe>, and executed notebooks as HTML that loads nothing.

How a runner gets scrollable viewers into its page: it executes the notebook with the environment variable FMLAB_HTML=1, which
makes each displayed viewer add its <iframe> to the output under the private type ``MIME``; ``notebook_to_html`` puts that in the
place of the figure. A notebook that is kept afterwards is slimmed by ``strip``.
"""

from __future__ import annotations

import copy
import html
import json
import os
from pathlib import Path

from nbformat import NotebookNode

from fmlab.viewer.mathml import latex_output, notebook_exporter
from fmlab.viewer.scene import Scene
from fmlab.viewer.slabs import shrink, slab_thickness

MIME = "application/vnd.fmlab.viewer+html"
RECORD = "FMLAB_HTML"
WIDGET = "application/vnd.jupyter.widget-view+json"
WEB = Path(__file__).parent / "web"
# What each widget's module is made of: shared parts first.
PARTS = {"viewer": ("panel.js", "store.js", "pixels.js", "stage.js", "prompts.js", "controls.js", "viewer.js"),
         "canvas": ("panel.js", "store.js", "pixels.js", "stage.js", "controls.js", "desk.js", "easel.js", "canvas.js"),
         "sketch": ("panel.js", "pixels.js", "paper.js", "book.js", "tile.js", "sketch.js")}


def module(widget: str = "viewer") -> str:
    """A widget's JavaScript as one ES module (anywidget loads one)."""
    return "\n".join((WEB / name).read_text(encoding="utf-8") for name in PARTS[widget])


def stand_in() -> str:
    """JavaScript that stands in for a widget's model where there is no kernel: ``standIn(state)``."""
    return (WEB / "stand_in.js").read_text(encoding="utf-8")


def style(*names: str) -> str:
    """Style sheets one after the other: the shared one, and those of the names given."""
    return "\n".join((WEB / f"{name}.css").read_text(encoding="utf-8") for name in ("viewer", *names))


def spec(scene: Scene, height: int, tools: bool) -> dict[str, object]:
    """What never changes while a viewer lives, as JSON: grid, scaling, label maps, legend, windows."""
    entries = [{"code": e.code, "id": e.id, "name": e.name, "colour": list(e.colour), "ml": [_millilitres(v) for v in e.ml]}
               for e in scene.entries]
    return {
        "shape": list(scene.shape), "spacing": list(scene.spacing), "affine": scene.affine.tolist(),
        "thick": slab_thickness(scene.shape), "slope": scene.slope, "intercept": scene.intercept, "unit": scene.unit,
        "title": scene.title, "layers": list(scene.layers), "structures": entries,
        "windows": {k: list(v) for k, v in scene.windows.items()}, "note": scene.note, "height": height,
        "tools": tools}


def iframe(scene: Scene, state: dict[str, object], height: int, title: str, megabytes: float = 2.4) -> str:
    """An <iframe> whose srcdoc holds voxels, state, script and style; voxels that do not fit are merged, and a note says so."""
    small, slabs = shrink(scene, int(megabytes * 1e6))
    state = {**state, "cursor": _same_place(state["cursor"], scene, small), "tool": "look"}
    state |= {"_spec": spec(small, height, tools=False), "_first": slabs, "points": [], "box": {}, "scribble": []}
    data = json.dumps(state).replace("<", "\\u003c")
    page = _PAGE.replace("@style", style()).replace("@title", html.escape(title)).replace("@data", data)
    page = page.replace("@module", module().replace("export default ", "const viewer = ")).replace("@stand_in", stand_in())
    frame = f'width="100%" height="{height + (165 if len(scene.layers) < 2 else 200)}" style="border: 0" sandbox="allow-scripts"'
    return f'<iframe {frame} title="{html.escape(title)}" srcdoc="{html.escape(page)}"></iframe>'


def embed(notebook: NotebookNode) -> NotebookNode:
    """A copy whose outputs need no kernel: viewers become their <iframe>, other widgets their fallback, LaTeX MathML."""
    page = copy.deepcopy(notebook)
    page.metadata.pop("widgets", None)
    for data in _outputs(page):
        widget = data.pop(WIDGET, None)
        if MIME in data:
            data["text/html"] = data.pop(MIME)
        if "text/latex" in data and "text/html" not in data:
            data["text/html"] = latex_output(_joined(data.pop("text/latex")))
        if widget is not None and "text/html" not in data and "image/png" not in data:
            plain = html.escape(_joined(data.get("text/plain", "A control")))
            data["text/html"] = f"<p>{plain} <em>(this control works in the running notebook)</em></p>"
    return page


def strip(notebook: NotebookNode) -> NotebookNode:
    """A copy without the embedded pages, for a notebook file that is kept; figures and texts stay."""
    kept = copy.deepcopy(notebook)
    for data in _outputs(kept):
        data.pop(MIME, None)
    return kept


def notebook_to_html(notebook: NotebookNode, path: str | Path, title: str | None = None) -> Path:
    """Write an executed notebook as one HTML file that loads nothing from anywhere; returns its path."""
    path = Path(path)
    page = embed(notebook)
    page.metadata["title"] = title or page.metadata.get("title") or path.stem
    body, _ = notebook_exporter().from_notebook_node(page)
    part = path.with_name(path.name + ".part")
    part.write_text(body, encoding="utf-8")
    os.replace(part, path)
    return path


def _outputs(notebook: NotebookNode) -> list[NotebookNode]:
    cells = (cell for cell in notebook.cells if cell.cell_type == "code")
    return [output.data for cell in cells for output in cell.outputs if "data" in output]


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


def _millilitres(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _same_place(cursor: list[int], scene: Scene, small: Scene) -> list[int]:
    return [min(int(c * n / m), n - 1) for c, n, m in zip(cursor, small.shape, scene.shape, strict=True)]


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>@title</title><style>body { margin: 0 } @style</style></head>
<body class="fm-page"><script id="data" type="application/json">@data</script>
<script type="module">
@module
@stand_in
const state = JSON.parse(document.getElementById("data").textContent);
for (const slab in state._first) state._first[slab] = Uint8Array.from(atob(state._first[slab]), (c) => c.charCodeAt(0));
const model = standIn(state);
const { initialize, render } = viewer();
initialize({ model });
render({ model, el: document.body });
</script></body></html>
"""
