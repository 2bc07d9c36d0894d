"""The course as static pages: executed, offline, with viewers that scroll in the page.

``build`` writes a folder that opens from disk: a home page, one page a lesson, and beside them one style sheet, one script, the
viewer's script and the search index. Nothing in it asks a network for anything; each page's policy forbids it.
"""

from fmlab.site.build import Built, build

__all__ = ["Built", "build"]
