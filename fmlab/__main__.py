"""``python -m fmlab`` is ``fmlab``."""

from __future__ import annotations

from fmlab.cli import main

if __name__ == "__main__":
    main()
