"""The live viewer: the traits that Python and the browser share, and the kernel's side of the conversation."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import anywidget
import numpy as np
import traitlets as t

from fmlab.errors import ScanError
from fmlab.viewer import static
from fmlab.viewer.picture import Look, alt_text, figure_html
from fmlab.viewer.planes import PLANES, plane_named, window_pair
from fmlab.viewer.scene import Labels, Scene, build_scene
from fmlab.viewer.slabs import pack, slab_count, slab_thickness
from fmlab.volume import Volume

FIRST_BYTES = 2_000_000  # slabs that travel with the widget: a course-size scan is whole at once, even if the kernel is busy
FILLING = ("body", "subcutaneous_fat", "muscle")
LAYOUTS = ("single", "side by side", "swipe")
STATE = ("cursor", "plane", "window", "fill", "outline", "opacity", "hidden", "layout", "pair", "swipe", "tool", "sign", "points",
         "box", "scribble")


class Viewer(anywidget.AnyWidget):
    """A slice viewer; make one by ``view``. Every trait can be read, set and observed from Python while the reader scrolls.

    plane: "axial", "coronal" or "sagittal". index: the slice. cursor: the voxel [i, j, k] under the cross.
    window: (centre, width); a preset's name may be assigned. fill, outline, opacity, hidden (label ids): how labels look.
    layout: "single", "side by side" or "swipe"; pair: which two label maps; swipe: where they meet, 0 to 1.
    tool: "look", "point", "box" or "scribble"; sign: 1 or -1.
    points: [{"plane", "sign", "ijk"}]. box: {"plane", "start", "stop"} ({} = none; image[start:stop]).
    scribble: [{"plane", "sign", "ijk": [[i, j, k], ...]}].
    """

    _esm = static.module()
    _css = static.style()
    _spec = t.Dict().tag(sync=True)
    _first = t.Dict().tag(sync=True)
    plane = t.Unicode("axial").tag(sync=True)
    index = t.Int(0)
    cursor = t.List(t.Int(), [0, 0, 0], minlen=3, maxlen=3).tag(sync=True)
    window = t.Any((40.0, 400.0)).tag(sync=True)
    fill = t.Bool(True).tag(sync=True)
    outline = t.Bool(True).tag(sync=True)
    opacity = t.Float(0.35, min=0, max=1).tag(sync=True)
    hidden = t.List(t.Int()).tag(sync=True)
    layout = t.Enum(LAYOUTS, "single").tag(sync=True)
    pair = t.List(t.Int(), [0, 0], minlen=2, maxlen=2).tag(sync=True)
    swipe = t.Float(0.5, min=0, max=1).tag(sync=True)
    tool = t.Enum(("look", "point", "box", "scribble"), "look").tag(sync=True)
    sign = t.Enum((1, -1), 1).tag(sync=True)
    points = t.List(t.Dict()).tag(sync=True)
    box = t.Dict().tag(sync=True)
    scribble = t.List(t.Dict()).tag(sync=True)

    def __init__(self, scene: Scene, height: int = 440, tools: bool = False) -> None:
        self.scene, self.height, self.tools = scene, height, tools
        start = _start(scene)
        several = len(scene.layers) > 1
        super().__init__(
            _spec=static.spec(scene, height, tools), _first=first_slabs(scene, start[2]), cursor=start,
            pair=[0, 1 if several else 0], layout="side by side" if several else "single", index=start[2])
        self.on_msg(self._answer)

    def __repr__(self) -> str:
        return f"Viewer: {self.alt}"

    @property
    def alt(self) -> str:
        """The present view in words."""
        return alt_text(self.scene, self.look())

    def look(self) -> Look:
        """The present view, as the still figure needs it."""
        layers = () if not self.scene.layers else tuple(self.pair) if self.layout != "single" else (self.pair[0],)
        hidden = frozenset(self.hidden)
        return Look(self.plane, self.index, tuple(self.window), layers, hidden, self.opacity, self.fill, self.outline)

    def state(self) -> dict[str, object]:
        """What the browser needs to show this view again without a kernel."""
        return {name: getattr(self, name) for name in STATE}

    def show(self, *names: str) -> None:
        """Show only these structures (names as in the legend); with none, show all."""
        unknown = set(names) - {e.name for e in self.scene.entries}
        if unknown:
            known = ", ".join(e.name for e in self.scene.entries)
            raise ScanError(f"The labels hold no {', '.join(sorted(unknown))}; they hold {known or 'nothing'}.")
        self.hidden = [e.id for e in self.scene.entries if names and e.name not in names]

    def clear(self) -> None:
        """Remove all prompts: points, box and scribbles."""
        self.points, self.box, self.scribble = [], {}, []

    def to_html(self, megabytes: float = 2.4) -> str:
        """A self-contained <iframe> that scrolls with no kernel and no network, at most about ``megabytes`` large."""
        return static.iframe(self.scene, self.state(), self.height, self.alt, megabytes)

    def _repr_mimebundle_(self, **kwargs: object) -> tuple[dict[str, object], dict[str, object]]:
        """The live widget, and beside it the figure that is shown where no widget can live."""
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
        data = {**data, "text/plain": repr(self), "text/html": figure_html(self.scene, self.look())}
        if os.environ.get(static.RECORD) == "1":
            data[static.MIME] = self.to_html()
        return data, metadata

    def _answer(self, _: object, content: dict, buffers: Sequence[memoryview]) -> None:
        """The browser asks for a slab that did not travel with the widget."""
        slab = content.get("slab")
        if content.get("type") == "want" and isinstance(slab, int) and 0 <= slab < slab_count(self.scene.shape):
            self.send({"type": "slab", "slab": slab}, buffers=[pack(self.scene, slab)])

    @t.validate("plane")
    def _known_plane(self, proposal: dict) -> str:
        plane_named(proposal["value"])
        return proposal["value"]

    @t.validate("window")
    def _window_as_pair(self, proposal: dict) -> tuple[float, float]:
        return window_pair(proposal["value"], self.scene.auto)

    @t.validate("index")
    def _index_inside(self, proposal: dict) -> int:
        self._check_inside(PLANES[self.plane].axis, proposal["value"])
        return proposal["value"]

    @t.validate("cursor")
    def _cursor_inside(self, proposal: dict) -> list[int]:
        for axis, value in enumerate(proposal["value"]):
            self._check_inside(axis, value)
        return proposal["value"]

    @t.validate("pair")
    def _pair_exists(self, proposal: dict) -> list[int]:
        if any(not 0 <= k < max(1, len(self.scene.layers)) for k in proposal["value"]):
            raise ScanError(f"There is no pair {proposal['value']} of label maps; there are {len(self.scene.layers)}, from 0.")
        return proposal["value"]

    def _check_inside(self, axis: int, value: int) -> None:
        if not 0 <= value < self.scene.shape[axis]:
            last = self.scene.shape[axis] - 1
            raise ScanError(f"Voxel {value} along axis {'xyz'[axis]} is outside the scan; it has 0 to {last}.")

    @t.observe("cursor", "plane")
    def _index_follows(self, _: object) -> None:
        self.index = self.cursor[PLANES[self.plane].axis]

    @t.observe("index")
    def _cursor_follows(self, change: dict) -> None:
        axis = PLANES[self.plane].axis
        if self.cursor[axis] != change["new"]:
            self.cursor = [change["new"] if k == axis else n for k, n in enumerate(self.cursor)]


def view(volume: Volume, labels: Labels | None = None, compare: Sequence[tuple[str, Labels]] = (), plane: str = "axial",
         window: str | Sequence[float] = "soft tissue", height: int = 440, tools: bool = False, index: int | None = None,
         show: Iterable[str] = ()) -> Viewer:
    """Look at a scan slice by slice; show it by making it a cell's last line.

    labels: shown instead of the volume's own; a tensor or array (X, Y, Z) or (1, X, Y, Z) of label ids or yes/no, or a Volume.
    compare: further label maps, [(name, labels), ...], side by side or under a swipe line. plane: axial, coronal or sagittal.
    window: soft tissue, lung, bone, liver, auto, or (centre, width); scans without HU get auto. height: of the image, in pixels.
    tools: add points, box and scribble, for models that take prompts. index: first slice.
    show: only these structures; by default all but the tissue that fills the rest (fat, muscle, other), which the legend can add.

    Raises ScanError if labels lie on another grid, or a name is unknown.
    """
    plane_named(plane)
    if not isinstance(height, int) or not 120 <= height <= 2000:
        raise ScanError(f"The height {height!r} is not a number of pixels between 120 and 2000.")
    scene = build_scene(volume, labels, compare)
    viewer = Viewer(scene, height, tools)
    viewer.window = window if scene.unit == "HU" or window != "soft tissue" else "auto"
    viewer.plane = plane
    if index is not None:
        viewer.index = index
    viewer.show(*(show or _organs(scene)))
    return viewer


def _organs(scene: Scene) -> list[str]:
    """What is shown at first: not the tissue between the organs, which would paint the whole body."""
    return [e.name for e in scene.entries if e.name not in FILLING]


def _start(scene: Scene) -> list[int]:
    """A first place to look: the middle of the scan, or, where that slice has no label, the axial slice with most structures."""
    middle = [n // 2 for n in scene.shape]
    if not scene.codes or scene.codes[0][:, :, middle[2]].any():
        return middle
    kinds = [len(np.unique(scene.codes[0][:, :, k])) - 1 for k in range(scene.shape[2])]
    best = np.flatnonzero(np.array(kinds) == max(kinds))
    return [*middle[:2], int(best[len(best) // 2]) if max(kinds) else middle[2]]


def first_slabs(scene: Scene, z: int) -> dict[str, bytes]:
    """Slabs around slice z, nearest first, until FIRST_BYTES are used; always at least one."""
    here = z // slab_thickness(scene.shape)
    slabs: dict[str, bytes] = {}
    for slab in sorted(range(slab_count(scene.shape)), key=lambda k: abs(k - here)):
        packed = pack(scene, slab)
        if slabs and sum(map(len, slabs.values())) + len(packed) > FIRST_BYTES:
            break
        slabs[str(slab)] = packed
    return slabs
