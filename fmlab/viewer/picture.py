"""The still figure: what a notebook shows when no kernel runs, with a text that says what is seen."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fmlab.viewer.planes import PLANES, screen_slice, window_name
from fmlab.viewer.scene import Scene

HEIGHT = 420  # pixels of the figure


@dataclass(frozen=True)
class Look:
    """The part of the viewer's state that a picture needs; ``layers`` are the indices of the label maps shown side by side.

    marks: letters of the sides and a ruler, which a plain picture has no use for.
    """

    plane: str
    index: int
    window: tuple[float, float]
    layers: tuple[int, ...] = ()
    hidden: frozenset[int] = frozenset()
    opacity: float = 0.35
    fill: bool = True
    outline: bool = True
    marks: bool = True


def alt_text(scene: Scene, look: Look) -> str:
    """What is seen, in words: plane, slice, window, and the structures of the slice with their whole volumes."""
    count = scene.shape[PLANES[look.plane].axis]
    text = f"{look.plane.capitalize()} slice {look.index + 1} of {count} of {scene.title}, {window_name(look.window)} window"
    for layer in look.layers:
        here = np.bincount(screen_slice(scene.codes[layer], look.plane, look.index).ravel(), minlength=256)
        seen = [e for e in sorted(scene.entries, key=lambda e: -here[e.code]) if here[e.code] and e.id not in look.hidden]
        named = [f"{e.name.replace('_', ' ')} {e.ml[layer]:,.{0 if e.ml[layer] >= 10 else 1}f} ml" for e in seen]
        more = f" and {len(named) - 8} more" if len(named) > 8 else ""
        title = f"{scene.layers[layer]}: " if len(look.layers) > 1 else ""
        text += "; " + title + (", ".join(named[:8]) + more if named else "no labelled structure")
    return text + "."


def figure_html(scene: Scene, look: Look) -> str:
    """A <figure> with the picture inlined: survives JupyterLab's cleaning of untrusted notebooks, alt text included."""
    words = alt_text(scene, look)
    caption = f"{html.escape(words)} The patient's right is on the left. Run the cell to scroll."
    return f"<figure>{img(draw(scene, look), words)}<figcaption>{caption}</figcaption></figure>"


def img(picture: Image.Image, alt: str) -> str:
    """An <img> with its picture inlined as PNG and its words."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    source = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{source}">'


def draw(scene: Scene, look: Look) -> Image.Image:
    """The slice with labels, orientation marks and ruler; one pane per label map shown."""
    panes = [_pane(scene, look, layer) for layer in (look.layers or (None,))]
    gap = 4
    sheet = Image.new("RGB", (sum(p.width for p in panes) + gap * (len(panes) - 1), panes[0].height))
    left = 0
    for pane in panes:
        sheet.paste(pane, (left, 0))
        left += pane.width + gap
    return sheet.quantize(255) if not look.layers else sheet


def _pane(scene: Scene, look: Look, layer: int | None) -> Image.Image:
    plane = PLANES[look.plane]
    su, sv = scene.spacing[plane.u], scene.spacing[plane.v]
    scale = min(HEIGHT / (scene.shape[plane.v] * sv), 2 * HEIGHT / (scene.shape[plane.u] * su))  # pixels per mm
    size = (max(1, round(scene.shape[plane.u] * su * scale)), max(1, round(scene.shape[plane.v] * sv * scale)))
    centre, width = look.window
    hu = screen_slice(scene.values, look.plane, look.index) * scene.slope + scene.intercept
    grey = np.clip(255 * ((hu - centre) / width + 0.5), 0, 255).astype(np.uint8)
    pane = Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR).convert("RGB")
    if layer is not None:
        pane = _labelled(scene, look, screen_slice(scene.codes[layer], look.plane, look.index), pane)
    title = scene.layers[layer] if layer is not None and len(look.layers) > 1 else ""
    if look.marks:
        _marks(pane, plane.marks, scale, title)
    return pane


def _labelled(scene: Scene, look: Look, codes: np.ndarray, pane: Image.Image) -> Image.Image:
    """Fill and outline, computed at the picture's resolution, so that outlines stay one or two pixels wide."""
    table = np.zeros((256, 3), dtype=np.float32)
    shown = np.zeros(256, dtype=np.uint8)
    for entry in scene.entries:
        if entry.id not in look.hidden:
            table[entry.code], shown[entry.code] = entry.colour, entry.code
    large = np.asarray(Image.fromarray(shown[codes]).resize(pane.size, Image.Resampling.NEAREST))
    alpha = np.where(large > 0, look.opacity if look.fill else 0.0, 0.0)
    return paint_over(pane, large, table, alpha, look.outline)


def paint_over(pane: Image.Image, codes: np.ndarray, table: np.ndarray, alpha: np.ndarray, outline: bool = True) -> Image.Image:
    """Fill ``codes`` (H, W) of the picture's size with their colours in ``table`` as densely as ``alpha`` says; outline them."""
    pixels = np.asarray(pane, dtype=np.float32)
    pixels = pixels * (1 - alpha[..., None]) + table[codes] * alpha[..., None]
    if outline:
        around = np.pad(codes, 1, mode="edge")
        neighbours = np.stack([around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:]])
        edge = (codes > 0) & (neighbours != codes).any(axis=0)
        pixels = np.where(edge[..., None], table[codes], pixels)
    return Image.fromarray(pixels.round().astype(np.uint8))


def _marks(pane: Image.Image, marks: Sequence[str], scale: float, title: str) -> None:
    """R/L/A/P/S/I at the edges, a ruler in mm below, the label map's name above."""
    pen, font, small = ImageDraw.Draw(pane), ImageFont.load_default(15), ImageFont.load_default(13)
    width, height = pane.size
    rim = {"fill": "#f5f5f5", "stroke_width": 2, "stroke_fill": "#000000"}
    spots = ((12, height / 2), (width - 12, height / 2), (width / 2, 14), (width / 2, height - 14))
    for mark, spot in zip(marks, spots, strict=True):
        pen.text(spot, mark, font=font, anchor="mm", **rim)
    if title:
        pen.text((10, 14), title, font=small, anchor="lm", **rim)
    wish = width / 4 / scale
    ten = 10 ** np.floor(np.log10(wish))
    mm = ten * (5 if wish >= 5 * ten else 2 if wish >= 2 * ten else 1)
    pen.rectangle((11, height - 14, 13 + mm * scale, height - 10), fill="#000000")
    pen.rectangle((12, height - 13, 12 + mm * scale, height - 11), fill="#f5f5f5")
    pen.text((12, height - 24), f"{mm:g} mm", font=small, anchor="lm", **rim)
