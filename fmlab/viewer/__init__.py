"""The slice viewer: ``fmlab.view(volume)`` in a notebook; a figure with alt text and a scrollable page from the same state."""

from fmlab.viewer.widget import Viewer, view

__all__ = ["Viewer", "view"]
