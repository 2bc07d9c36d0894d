"""The sketch as it stands, without a kernel: its examples with their masks and its query with the answer, in words too."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fmlab.viewer.picture import img, paint_over
from fmlab.viewer.scene import OKABE_ITO
from fmlab.viewer.stacks import grey

SMALL, LARGE = 150, 300  # pixels of the longer side: an example, the query
OPACITY = 0.35
DRAWN, ANSWERED = OKABE_ITO[0], OKABE_ITO[1]  # orange, sky blue; web/paper.js has the same


def figure_html(pictures: np.ndarray, masks: np.ndarray, names: Sequence[str], picks: Sequence[bool], query: np.ndarray | None,
                answer: np.ndarray | None, title: str) -> str:
    """A <figure> of (N, H, W) pictures and masks, and of the (H, W) query and answer, if any."""
    words = [example_words(name, mask, picked) for name, mask, picked in zip(names, masks, picks, strict=True)]
    images = [img(overlaid(picture, mask, DRAWN, SMALL, name), said)
              for picture, mask, name, said in zip(pictures, masks, names, words, strict=True)]
    if query is not None:
        shown = np.zeros_like(query) if answer is None else answer
        images.append("<br>" + img(overlaid(query, shown, ANSWERED, LARGE, "Query"), query_words(answer)))
    caption = html.escape(summary(title, masks, picks, query, answer))
    return f"<figure>{' '.join(images)}<figcaption>{caption} Run the cell to draw.</figcaption></figure>"


def summary(title: str, masks: np.ndarray, picks: Sequence[bool], query: np.ndarray | None, answer: np.ndarray | None) -> str:
    """The whole sketch in words."""
    used = sum(bool(picked and mask.any()) for picked, mask in zip(picks, masks, strict=True))
    examples = f"{len(masks)} example{'s' if len(masks) > 1 else ''} with masks in orange, {used} of them in the support."
    return f"{title}: {examples}" + ("" if query is None else f" {query_words(answer)}")


def example_words(name: str, mask: np.ndarray, picked: bool) -> str:
    """One example in words: how large its mask is, and whether it is used."""
    area = int(mask.sum())
    state = "left out" if not picked else "used" if area else "not used"
    return f"{name}: {f'mask of {_pixels(area)}' if area else 'no mask'}, {state}."


def query_words(answer: np.ndarray | None) -> str:
    """The query in words: how much of it the answer covers."""
    if answer is None:
        return "Query without an answer."
    return f"Query: the answer, in blue, covers {_pixels(int((answer >= 0.5).sum()))} of {_pixels(answer.size)}."


def overlaid(picture: np.ndarray, values: np.ndarray, colour: tuple[int, int, int], longest: int, name: str) -> Image.Image:
    """A picture (H, W) in [0, 1] under a mask or probabilities, as the widget paints them; its name above."""
    scale = longest / max(picture.shape)
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    pane = Image.fromarray(grey(picture)).resize(size, Image.Resampling.BILINEAR).convert("RGB")
    large = np.asarray(Image.fromarray(values.astype(np.float32)).resize(size, Image.Resampling.NEAREST))
    table = np.array([(0, 0, 0), colour], np.float32)
    sure = (large >= 0.5).astype(np.uint8)
    tinted = paint_over(pane, np.ones_like(sure), table, OPACITY * large, outline=False)
    shown = paint_over(tinted, sure, table, np.zeros_like(large))
    font = ImageFont.load_default(13)
    ImageDraw.Draw(shown).text((5, 11), name, font=font, anchor="lm", fill="#f5f5f5", stroke_width=2, stroke_fill="#000000")
    return shown


def _pixels(number: int) -> str:
    return f"{number:,} pixel{'' if number == 1 else 's'}"
