"""Your own scan: read and checked, segmented, corrected by clicks, used as a shot, adapted, and written up. Nothing leaves here.

    mine = read_own("ct.nii.gz")                               without its names
    found = zero_shot(mine.volume)                             labels of the universal model
    fixed = correct(found, clicks)                             clicks of a canvas, or a list
    lower, upper = halves(fixed, best_cut(fixed, structures))
    result = adapt_to(upper, structures, "lora")               a few steps
    applied(result.model, lower, structures)
    make_report("ct.nii.gz", "my_report", clicks=clicks)       all of it, into a new folder

``reading``: what comes in, and what stays out. ``clicks``, ``correcting``, ``carrying``: from a click to a volume. ``shot``: the
few-shot part. ``pictures``, ``sources``, ``page``: the report. ``making``: the whole way, into a new folder.
"""

from fmlab.own_scan.clicks import Click, clicks_of, read_clicks, simulated
from fmlab.own_scan.correcting import Corrector, correct
from fmlab.own_scan.making import Plan, make_report
from fmlab.own_scan.reading import Own, read_own, without_names
from fmlab.own_scan.shot import Adapted, adapt_to, applied, best_cut, halves, zero_shot

__all__ = ["Adapted", "Click", "Corrector", "Own", "Plan", "adapt_to", "applied", "best_cut", "clicks_of", "correct", "halves",
           "make_report", "read_clicks", "read_own", "simulated", "without_names", "zero_shot"]
