"""Helper modules lie beside the parity tests: parity_files.py (which files, what they say), fill.py (their weights)."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
