"""A viewer's voxels, small enough for a page: the image as one lossy picture of all its slices, label maps without loss.

The picture has 8 bits a voxel. In HU they are spent where tissues lie: steps of 2.5 HU from -200 to 300, of 12 and more in lung
and bone. ``page.js`` puts slabs together from them again, as web/store.js of the viewer takes them.
"""

from __future__ import annotations

import base64
import io
import json
import math
import re
import zlib
from dataclasses import dataclass, field
from html import unescape

import numpy as np
from PIL import Image

from fmlab.errors import LessonError

QUALITIES = (95, 90, 82, 74, 64, 50)  # of the picture, the best first
_HU = np.interp(np.arange(256), (0, 35, 235, 255), (-1024.0, -200.0, 300.0, 3000.0))  # what each grey value stands for
_DATA = re.compile(r'<script id="data" type="application/json">(.*?)</script>', re.DOTALL)
_FRAME = re.compile(r'srcdoc="([^"]*)"')


@dataclass(eq=False)
class Scan:
    """One viewer of a page. state: what the viewer starts from, its spec included, without voxels.

    values: (Z, Y, X) int16, times slope plus intercept in the scan's unit. layers: as many label maps, uint8.
    """

    state: dict[str, object]
    values: np.ndarray
    layers: list[np.ndarray] = field(default_factory=list)

    @property
    def spec(self) -> dict:
        """Grid, scaling, legend: see viewer/static.py."""
        return self.state["_spec"]


def scan_in(frame: str) -> Scan:
    """The viewer inside an <iframe> of viewer/static.py; LessonError if there is none."""
    page = _FRAME.search(frame)
    data = _DATA.search(unescape(page[1])) if page else None
    if data is None:
        raise LessonError("An executed viewer holds no voxels; run the lesson again with --fresh.")
    state = json.loads(data[1])
    slabs, spec = state.pop("_first"), state["_spec"]
    x, y, z = spec["shape"]
    values, layers = np.empty((z, y, x), "<i2"), [np.empty((z, y, x), np.uint8) for _ in spec["layers"]]
    for number, packed in slabs.items():
        part = slice(int(number) * spec["thick"], (int(number) + 1) * spec["thick"])
        raw = np.frombuffer(zlib.decompress(base64.b64decode(packed)), np.uint8).reshape(2 + len(layers), -1)
        values[part] = raw[:2].T.copy().view("<i2").reshape(values[part].shape)
        for layer, codes in zip(layers, raw[2:], strict=True):
            layer[part] = codes.reshape(layer[part].shape)
    return Scan(state, values, layers)


def pack(scans: list[Scan], budget: int) -> dict[str, str]:
    """Everything that a page's viewers need, by id: "scan-1" ... as JSON, "voxels-1" ... as base64 text.

    Viewers of one image share its voxels. The best quality at which all of it has at most ``budget`` characters is taken, or the
    lowest; each viewer's note says how far its grey values are off.
    """
    for quality in QUALITIES:
        packed = _pack(scans, quality)
        if sum(map(len, packed.values())) <= budget:
            break
    return packed


def _pack(scans: list[Scan], quality: int) -> dict[str, str]:
    packed: dict[str, str] = {}
    known: dict[bytes, str] = {}

    def shared(content: bytes) -> str:
        if content not in known:
            known[content] = f"voxels-{len(known) + 1}"
            packed[known[content]] = base64.b64encode(content).decode()
        return known[content]

    for number, scan in enumerate(scans, start=1):
        table = _table(scan)
        picture, columns, error = _picture(scan, table, quality)
        layers = [shared(zlib.compress(layer.tobytes(), 9)) for layer in scan.layers]
        spec = {**scan.spec, "note": _note(scan.spec["note"], scan.spec["unit"], error)}
        whole = {**scan.state, "_spec": spec, "picture": shared(picture), "columns": columns, "table": table.tolist(),
                 "maps": layers}
        packed[f"scan-{number}"] = json.dumps(whole, separators=(",", ":")).replace("<", "\\u003c")
    return packed


def _table(scan: Scan) -> np.ndarray:
    """The stored value of each of the 256 grey values, rising."""
    spec = scan.spec
    if spec["unit"] == "HU":
        return np.round((_HU - spec["intercept"]) / spec["slope"]).astype(int)
    low, high = int(scan.values.min()), int(scan.values.max())
    return np.round(np.linspace(low, max(high, low + 255), 256)).astype(int)


def _picture(scan: Scan, table: np.ndarray, quality: int) -> tuple[bytes, int, float]:
    """All slices in rows and columns as WebP, the number of columns, and the error that 95 of 100 voxels stay below, in the
    scan's unit: of voxels between -200 and 300 in HU, else of all."""
    z, y, x = scan.values.shape
    columns = max(1, math.ceil(math.sqrt(z * y / x)))
    rows = math.ceil(z / columns)
    middle = (table[1:] + table[:-1]) / 2
    grey = np.searchsorted(middle, scan.values).astype(np.uint8)
    padded = np.zeros((rows * columns, y, x), np.uint8)
    padded[:z] = grey
    sheet = padded.reshape(rows, columns, y, x).transpose(0, 2, 1, 3).reshape(rows * y, columns * x)
    buffer = io.BytesIO()
    Image.fromarray(sheet).convert("RGB").save(buffer, "WEBP", quality=quality, method=4)
    back = np.asarray(Image.open(buffer).convert("RGB"))[..., 1]
    back = back.reshape(rows, y, columns, x).transpose(0, 2, 1, 3).reshape(-1, y, x)[:z]
    slope, intercept = scan.spec["slope"], scan.spec["intercept"]
    true = scan.values * slope + intercept
    off = np.abs(table[back] * slope + intercept - true)
    seen = (true > -200) & (true < 300) if scan.spec["unit"] == "HU" else np.ones_like(true, bool)
    return buffer.getvalue(), columns, float(np.percentile(off[seen], 95)) if seen.any() else 0.0


def _note(note: str, unit: str, error: float) -> str:
    words = f"grey values in this page are compressed: 95 of 100 {'soft-tissue ' if unit == 'HU' else ''}voxels are within " \
            f"{error:.2g} {unit}"
    return f"{note}; {words}" if note else words[0].upper() + words[1:]
