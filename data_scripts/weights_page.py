"""Write docs/weights.md from the table of official weights: ``python -m data_scripts.weights_page``."""

from __future__ import annotations

from pathlib import Path

from fmlab.hub import official

PAGE = Path(__file__).parents[1] / "docs" / "weights.md"

if __name__ == "__main__":
    PAGE.write_text(official.page(), encoding="utf-8")
