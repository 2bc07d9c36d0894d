"""The slice viewer, ``fmlab.view(volume)``, and the sketch, ``fmlab.sketch(pictures)``, on which masks are drawn.

Where no kernel runs, each is a figure with alt text; the viewer is a scrollable page too.
"""

from fmlab.viewer.row import row
from fmlab.viewer.sketch import Sketch
from fmlab.viewer.widget import Viewer, view

__all__ = ["Sketch", "Viewer", "row", "view"]
