"""``fmlab view``: one scan as one page that scrolls in any browser with no network."""

from __future__ import annotations

import html
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from fmlab.errors import ScanError


def write_page(scan: Path, labels: Path | None = None, scheme: str | None = None, output: Path | None = None) -> Path:
    """Read a scan, and its labels if named, and write its viewer as an HTML page; returns the page's path.

    scheme: what the label ids mean, a key of ``vocabulary.MAPPINGS``; None only for label files that fmlab wrote, which say so.
    output: where to write, default a file in a temporary folder. Raises ScanError or VocabularyError.
    """
    from fmlab.viewer import view
    from fmlab.vocabulary import MAPPINGS
    from fmlab.volume import Volume

    volume = Volume.read(scan, labels=labels, scheme=scheme or "fmlab")
    if labels and scheme is None and volume.annotated is None:  # another model's id 5 is not ours
        raise ScanError(f"{labels} does not say what its ids mean; name it by --scheme, one of {', '.join(MAPPINGS)}.")
    title = html.escape(volume.name or scan.name)
    page = (f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
            f'<body style="margin:1em;font-family:sans-serif">{view(volume).to_html(megabytes=32)}</body></html>\n')
    target = output or Path(tempfile.mkdtemp(prefix="fmlab-view-")) / "scan.html"
    part = target.with_name(f".{target.name}.part")
    try:
        part.write_text(page, encoding="utf-8")
        os.replace(part, target)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise ScanError(f"The page {target} cannot be written ({error}); name another place with --output.") from error
    return target
