"""The seventeen data sets of the slides: how many scans, drawn how far, and what their partial labels add up to.

They are those of the CLIP-driven model, whose abstract counts 14 for training (3,410 scans) and three for testing (6,162):
Liu et al. 2023, doi:10.1109/ICCV51070.2023.01934. Which they are is read from its released templates and list of scans, whose
sixteen entries are 14 data sets: MSD's liver scans are LiTS's, and AbdomenCT-12organ is fifty scans of AbdomenCT-1K.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fmlab.templates import TEMPLATES, annotated_by


@dataclass(frozen=True)
class DataSet:
    """One data set of the slides.

    template: its name in ``templates.TEMPLATES``, "" for a set that we have none of. tested: held out, for testing only. listed:
    labelled scans in the released list. published: CT scans in all as their owners say (0: not seen). targets: structures that it
    draws, left and right counted apart; from the released template where we have none of our own.
    """

    title: str
    template: str
    tested: bool
    listed: int
    published: int
    targets: int
    note: str = ""


# title | template | scans that the owners publish | note
_TRAINED = """
BTCV | btcv | 50 |
Pancreas-CT | multi_organ_ct | 82 | with the organs of the Multi-organ abdominal CT references
CHAOS, CT | chaos | - |
LiTS | lits | 201 | as MSD's liver, which it is
KiTS21 | kits | - |
WORD | word | 150 |
AbdomenCT-1K | abdomenct_1k | 1000 | scans of LiTS, KiTS, MSD and Pancreas-CT among them
AMOS22, CT | amos22 | 500 |
CT-ORG | ct_org | 140 |
MSD Lung | msd_lung | - |
MSD Pancreas | msd_pancreas | 420 |
MSD Hepatic vessel | msd_hepatic_vessel | - |
MSD Spleen | msd_spleen | - |
MSD Colon | msd_colon | - |
"""
_TESTED = (
    DataSet("3D-IRCADb", "", True, 0, 20, 9, "targets of the released template"),
    DataSet("TotalSegmentator", "totalsegmentator_v1", True, 0, 1204, 104,
            "targets as published; our vocabulary joins vertebrae and ribs"),
    DataSet("JHH", "", True, 0, 0, 2, "not public; targets of the released template"),
)


def _trained(row: str) -> DataSet:
    title, template, published, note = (field.strip() for field in row.split("|"))
    one = TEMPLATES[template]
    return DataSet(title, template, False, one.cases, int(published.replace("-", "0")), len(one.annotated), note)


SEVENTEEN: tuple[DataSet, ...] = (*map(_trained, _TRAINED.strip().splitlines()), *_TESTED)
"""Fourteen to train on, three to test on."""
LISTED: tuple[str, ...] = tuple(name for name, one in TEMPLATES.items() if one.cases)
"""Templates of the sixteen entries of the released list, which hold some scans twice."""


def scans(datasets: tuple[str, ...] | list[str]) -> np.ndarray:
    """Labelled scans of each data set in the released list: (D,) int. Raises DataError for a name that is no template."""
    for name in datasets:
        annotated_by(name)
    return np.array([TEMPLATES[name].cases if name in TEMPLATES else 0 for name in datasets])


def known_share(w: np.ndarray, scans: np.ndarray) -> np.ndarray:
    """The share of scans in which each structure is known, drawn or known to be absent: (K,) in [0, 1].

    w: (D, K), 1 where data set d is complete for structure k. scans: (D,), how many scans it has. The mean over k is the share of
    known entries of the matrix w_nk of the slides, with a row for each scan n.
    """
    scans = np.asarray(scans)
    return scans @ np.asarray(w) / scans.sum()


def together(w: np.ndarray, scans: np.ndarray) -> np.ndarray:
    """In how many scans two structures are both known: (K, K) int, each alone on the diagonal. Arguments as ``known_share``."""
    w = np.asarray(w).astype(int)
    return w.T @ (np.asarray(scans)[:, None] * w)
