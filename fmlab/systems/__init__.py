"""The map of the course: every system that it speaks of, as one table, with the data sets that the slides list.

    systems(), system("sam")               records; each has a place on the axes A, B, C
    select(A="one field", B="3-D")         by axes and usage
    usable(systems(), "3-D", "interactive")  keys of those whose weights one may use at work
    markdown(systems()), save_page(path)   printable
    SEVENTEEN, known_share, together       the data sets, and what their partial labels add up to
"""

from fmlab.systems.assembly import LISTED, SEVENTEEN, DataSet, known_share, scans, together
from fmlab.systems.choosing import select, usable
from fmlab.systems.page import html_table, markdown, page, save_page
from fmlab.systems.records import AXES, FREE, USAGES, System, ancestors, place, system, systems

__all__ = ["AXES", "FREE", "LISTED", "SEVENTEEN", "USAGES", "DataSet", "System", "ancestors", "html_table", "known_share",
           "markdown", "page", "place", "save_page", "scans", "select", "system", "systems", "together", "usable"]
