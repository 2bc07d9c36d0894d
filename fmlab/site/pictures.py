"""Figures as they travel: the PNGs inside a page's HTML as WebP, which is a fraction of their size."""

from __future__ import annotations

import base64
import binascii
import io
import re

from PIL import Image, UnidentifiedImageError

LARGE = 40_000  # bytes above which a photograph-like picture need not keep every pixel
LOSSY = 88
_PNG = re.compile(r'src="data:image/png;base64,([^"]+)"')


def compact(html: str) -> str:
    """The same HTML with every inlined PNG in its smallest form; what cannot be read stays as it is. Sizes are written down, so
    that the text does not jump while pictures come."""
    return _PNG.sub(lambda found: _smaller(found) or found[0], html)


def _smaller(found: re.Match) -> str | None:
    try:
        png = base64.b64decode(found[1], validate=False)
        picture = Image.open(io.BytesIO(png))
        picture.load()
    except (binascii.Error, UnidentifiedImageError, OSError):
        return None
    size = f'width="{picture.width}" height="{picture.height}"'
    best = min((png, webp(picture)), key=len)
    kind = "png" if best is png else "webp"
    return f'src="data:image/{kind};base64,{base64.b64encode(best).decode()}" {size}'


def webp(picture: Image.Image) -> bytes:
    """Without loss where that is small (lines and letters), else as a photograph."""
    picture = picture.convert("RGBA" if "A" in picture.getbands() or "transparency" in picture.info else "RGB")
    exact = _encoded(picture, lossless=True, quality=70)
    if len(exact) <= LARGE:
        return exact
    return min((exact, _encoded(picture, quality=LOSSY)), key=len)


def _encoded(picture: Image.Image, **how: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", method=4, **how)
    return buffer.getvalue()
