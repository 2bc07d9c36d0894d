"""Templates: which data set annotates which of our structures. The matrix of the w_nk before any scan is read.

The label ids of the real data sets are in ``schemes``; here are their names, sources and terms. ``assembly`` joins the phantom
centres, each annotating its own subset, to one partially labelled cohort.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fmlab import cohorts
from fmlab.errors import DataError
from fmlab.schemes import ANNOTATED
from fmlab.vocabulary import STRUCTURES, structure

FILLED_BY: dict[str, tuple[str, ...]] = {
    "lung_left": ("lung_upper_lobe_left", "lung_lower_lobe_left"),
    "lung_right": ("lung_upper_lobe_right", "lung_middle_lobe_right", "lung_lower_lobe_right"),
    "heart": ("heart_myocardium", "heart_atrium_left", "heart_ventricle_left", "heart_atrium_right", "heart_ventricle_right"),
}
"""Wholes that these parts fill without a gap, so that drawing the parts draws the whole. Tumours and vessels fill no organ; a
protocol that draws lobes is taken to draw the nodules in them as lobe."""


@dataclass(frozen=True)
class Template:
    """A real data set: what it annotates, and where it comes from.

    name: key of ``TEMPLATES`` and of ``schemes.ANNOTATED``. title: as its authors call it. cases: labelled scans in the list of
    the CLIP-driven model, 0 where it has none. doi: of the paper or the data. licence: as published; "" where we have not seen it
    stated: read the owner's terms before use.
    """

    name: str
    title: str
    cases: int
    doi: str
    licence: str

    @property
    def annotated(self) -> frozenset[str]:
        """Structures that the data set draws wherever they are."""
        return ANNOTATED[self.name]


# name | title | cases | DOI | licence; a hyphen where there is none or we know none
_TABLE = """
btcv | BTCV, Beyond the Cranial Vault: abdomen | 47 | 10.7303/syn3193805 | terms of Synapse, registration
btcv_cervix | BTCV, Beyond the Cranial Vault: cervix | 0 | 10.7303/syn3193805 | terms of Synapse, registration
pancreas_ct | NIH Pancreas-CT | 0 | 10.7937/K9/TCIA.2016.tNB1kqBU | CC BY 3.0
multi_organ_ct | Multi-organ abdominal CT references | 42 | 10.5281/zenodo.1169361 | CC BY 4.0 (labels)
chaos | CHAOS (CT) | 20 | 10.1016/j.media.2020.101950 | CC BY-NC-SA 4.0
lits | LiTS | 131 | 10.1016/j.media.2022.102680 | -
kits19 | KiTS19 | 0 | 10.48550/arXiv.1904.00445 | CC BY-NC-SA
kits | KiTS21 | 300 | 10.48550/arXiv.2307.01984 | CC BY-NC-SA
word | WORD | 120 | 10.1016/j.media.2022.102642 | GPL-3.0, academic research only
abdomenct_1k | AbdomenCT-1K | 1000 | 10.1109/TPAMI.2021.3100536 | -
abdomenct_12organ | AbdomenCT-12organ | 50 | 10.1109/TPAMI.2021.3100536 | -
amos22 | AMOS22 (CT) | 200 | 10.48550/arXiv.2206.08023 | CC BY 4.0
flare22 | FLARE22 | 0 | 10.48550/arXiv.2308.05862 | -
ct_org | CT-ORG | 140 | 10.1038/s41597-020-00715-8 | CC BY 3.0
msd_liver | MSD Task03 Liver | 131 | 10.1038/s41467-022-30695-9 | CC BY-SA 4.0
msd_lung | MSD Task06 Lung | 63 | 10.1038/s41467-022-30695-9 | CC BY-SA 4.0
msd_pancreas | MSD Task07 Pancreas | 281 | 10.1038/s41467-022-30695-9 | CC BY-SA 4.0
msd_hepatic_vessel | MSD Task08 HepaticVessel | 303 | 10.1038/s41467-022-30695-9 | CC BY-SA 4.0
msd_spleen | MSD Task09 Spleen | 41 | 10.1038/s41467-022-30695-9 | CC BY-SA 4.0
msd_colon | MSD Task10 Colon | 126 | 10.1038/s41467-022-30695-9 | CC BY-SA 4.0
segthor | SegTHOR | 0 | 10.48550/arXiv.1912.05950 | signed agreement
structseg_thorax | StructSeg 2019, thoracic organs at risk | 0 | - | -
totalsegmentator_v1 | TotalSegmentator, version 1 | 0 | 10.1148/ryai.230024 | CC BY 4.0
totalsegmentator_v2 | TotalSegmentator, version 2 | 0 | 10.1148/ryai.230024 | CC BY 4.0
totalsegmentator_mr | TotalSegmentator MRI | 0 | 10.1148/radiol.241613 | CC BY-NC-SA 2.0
"""


def _parse(row: str) -> Template:
    name, title, cases, doi, licence = (field.strip() for field in row.split("|"))
    return Template(name, title, int(cases), doi.removeprefix("-"), "" if licence == "-" else licence)


TEMPLATES: dict[str, Template] = {t.name: t for t in map(_parse, _TABLE.strip().splitlines())}
"""The real data sets by name."""


def annotated_by(dataset: str) -> frozenset[str]:
    """What a data set annotates: a name of ``TEMPLATES``, or a phantom centre, "A" to "F". Raises DataError for another name."""
    from fmlab.phantom.centres import CENTRES  # here, so that real templates need no phantom

    if dataset in TEMPLATES:
        return TEMPLATES[dataset].annotated
    if dataset in CENTRES:
        return frozenset(CENTRES[dataset].annotated)
    raise DataError(f"No data set is called {dataset!r}; choose centres {', '.join(CENTRES)} or one of {', '.join(TEMPLATES)}.")


def covers(annotated: Iterable[str], name: str) -> bool:
    """Whether a drawing of these structures is complete for ``name``: it is one of them, or they fill it (``FILLED_BY``).

    Raises VocabularyError for an unknown name.
    """
    drawn, wanted = frozenset(annotated), structure(name).name
    return wanted in drawn or (wanted in FILLED_BY and drawn.issuperset(FILLED_BY[wanted]))


def annotated_structures(datasets: Sequence[str]) -> tuple[str, ...]:
    """Structures that one data set or more is complete for, in vocabulary order: the columns of ``template_matrix``."""
    drawn = [annotated_by(dataset) for dataset in datasets]
    return tuple(s.name for s in STRUCTURES if any(covers(names, s.name) for names in drawn))


def template_matrix(datasets: Sequence[str], structures: Sequence[str] | None = None) -> np.ndarray:
    """Which data set (row) is complete for which structure (column): (D, K) bool, in the order given.

    datasets: centres and names of ``TEMPLATES``. structures: by default ``annotated_structures(datasets)``. A scan's own w may
    say more: no liver in view, so no liver tumour (``pretraining.targets``). Raises DataError or VocabularyError for unknown
    names.
    """
    columns = annotated_structures(datasets) if structures is None else tuple(structures)
    rows = [[covers(annotated_by(dataset), name) for name in columns] for dataset in datasets]
    return np.array(rows, dtype=bool).reshape(len(datasets), len(columns))


SEEDS_APART = 10_000  # a seed is a person: each centre has its own, so that no person is in two data sets


def assembly(counts: Mapping[str, int], spacing: float = 4.0, first_seed: int = 0, workers: int | None = None,
             sampler: cohorts.phantom_cache.Sampler | None = None, partial: bool = True) -> cohorts.Cohort:
    """Partially labelled phantoms of several centres, joined: D_T. counts: bodies per centre, {"A": 50, "B": 50}.

    Each scan holds only what its centre's protocol draws and says so in ``annotated``, unless ``partial`` is off. Centre i of A
    to F takes the seeds from first_seed + 10000 i, so no two centres share a person and a larger count keeps the smaller one's
    bodies. Other arguments as in ``cohorts.phantoms``. Raises DataError for no centre, an unknown one, or a count that is not
    between 1 and 10000.
    """
    if not counts or any(not 1 <= number <= SEEDS_APART for number in counts.values()):
        raise DataError(f"assembly(counts={dict(counts)!r}): name one centre or more, each with 1 to {SEEDS_APART} bodies.")
    if strange := [name for name in counts if name not in cohorts.CENTRES]:
        raise DataError(f"assembly(): no centre is called {strange[0]!r}; the centres are {', '.join(cohorts.CENTRES)}.")
    cases: tuple[cohorts.Case, ...] = ()
    for name, number in counts.items():
        start = first_seed + SEEDS_APART * cohorts.CENTRES.index(name)
        cases += cohorts.phantoms(number, name, spacing, start, workers, partial, sampler).cases
    what = "partially labelled" if partial else "labelled"
    return cohorts.Cohort(f"{what}: " + ", ".join(f"{number} of {name}" for name, number in counts.items()), cases)
