"""The slice viewer, ``fmlab.view(volume)``, the sketch, ``fmlab.sketch(pictures)``, on which masks are drawn, and the canvas,
``Canvas(volume, ask)``, on which a model answers clicks with masks.

Where no kernel runs, each is a figure with alt text; the viewer is a scrollable page too.
"""

from fmlab.viewer.canvas import Canvas
from fmlab.viewer.prompts import Answer, Request
from fmlab.viewer.row import row
from fmlab.viewer.sketch import Sketch
from fmlab.viewer.widget import Viewer, view

__all__ = ["Answer", "Canvas", "Request", "Sketch", "Viewer", "row", "view"]
