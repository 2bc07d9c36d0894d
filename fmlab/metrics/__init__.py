"""How good is a segmentation? Dice, NSD, HD95 and volume error; per structure, per case, over a cohort.

``masks``: the four metrics on two masks, to be read. ``cases``: ``evaluate`` scores two label maps. ``cohort``: ``summarise``
averages over cases, then structures, with intervals by patient. ``comparison``: ``compare`` sets two methods side by side.

Conventions. "Has it": at least one voxel. P, R: the volumes of prediction and reference. Diagonal: of the whole field of view.

=============  ===========  ================  ====  =====  ==================  ============  ========
reference      prediction   status            Dice  NSD    HD95                volume error  in means
=============  ===========  ================  ====  =====  ==================  ============  ========
has it         has it       "ok"              0..1  0..1   distance in mm      P - R in ml   yes
has it         has nothing  "missed"          0     0      diagonal of scan    -R            yes
has nothing    has it       "false positive"  0     0      diagonal of scan    +P            yes
has nothing    has nothing  "absent"          NaN   NaN    NaN                 NaN           no
not annotated  anything     "not annotated"   NaN   NaN    NaN                 NaN           no
=============  ===========  ================  ====  =====  ==================  ============  ========

Why so:

* A missed structure must lower every mean. HD95 of nothing is not defined; libraries return NaN or infinity and then average over
  the rest, so that a method improves by missing hard cases (MONAI issue 9095). The diagonal of the field of view, in mm, is
  finite and above any distance inside the scan. It depends on the scan's size: compare HD95 only on the same scans.
* A false positive counts as a miss does: the structure's mean is over the cases that have it or are said to have it.
* Both empty is right, but no evidence of skill: counted as Dice 1 it would lift the mean of every rare structure. It is
  reported as absent and stays out of the mean. (``compare`` does credit it against a method that has a false positive there.)
* What the reference's author did not look for can be neither right nor wrong: not scored, and every table says so.
* Over cases the volume error is averaged without its sign, else too much would make good too little.
* Mean over cases first, then over structures: a structure that many cases show weighs no more than a rare one.
* Intervals resample patients. One patient has no interval, and none is made up.
"""

from __future__ import annotations

from fmlab.metrics.bootstrap import Estimate
from fmlab.metrics.cases import Score, Status, evaluate
from fmlab.metrics.cohort import METRICS, Row, Summary, summarise
from fmlab.metrics.comparison import Comparison, compare
from fmlab.metrics.masks import dice, field_of_view_diagonal, hd95, nsd, surface, surface_distances, volume_error

__all__ = [
    "METRICS", "Comparison", "Estimate", "Row", "Score", "Status", "Summary", "compare", "dice", "evaluate",
    "field_of_view_diagonal", "hd95", "nsd", "summarise", "surface", "surface_distances", "volume_error",
]
