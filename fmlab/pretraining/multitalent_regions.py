"""What MultiTalent tells apart: the regions of its 13 data sets, their 47 channels, their values in the common label map.

Source: Ulrich et al. 2023, doi:10.48550/arXiv.2303.14444, and the data set description of its released code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fmlab.errors import ModelError, ScanError

Datasets = Mapping[str, Sequence[str]]

DATASETS: dict[str, tuple[str, ...]] = {
    "Task003_Liver": ("03_liver", "03_cancer"),
    "Task006_Lung": ("06_lungnodule",),
    "Task007_Pancreas": ("07_pancreas", "07_pancreas_cancer"),
    "Task008_HepaticVessel": ("08_vessel", "08_tumor"),
    "Task009_Spleen": ("09_spleen",),
    "Task010_Colon": ("10_colon_cancer",),
    "Task017_AbdominalOrganSegmentation": (
        "17_spleen", "17_right_kidney", "17_left_kidney", "17_gallbladder", "17_esophagus", "17_liver", "17_stomach", "17_aorta",
        "17_inf_vena_cava", "17_port_and_splen_vein", "17_pancreas", "17_right_adrenal_gland", "17_left_adrenal_gland"),
    "Task046_AbdOrgSegm2": (
        "46_spleen", "46_left_kidney", "46_gallbladder", "46_esophagus", "46_liver", "46_stomach", "46_pancreas", "46_duodenum"),
    "Task051_StructSeg2019_Task3_Thoracic_OAR": (
        "51_left_lung", "51_right_lung", "51_heart", "51_esophagus", "51_bronchies", "51_spinal_cord_nerve_thingy"),
    "Task055_SegTHOR": ("55_esophagus", "55_heart", "55_trachea", "55_aorta"),
    "Task062_NIHPancreas": ("62_pancreas",),
    "Task064_KiTS_labelsFixed": ("64_both_kidneys", "64_kidney_tumor"),
    "Task018_PelvicOrganSegmentation": ("18_bladder", "18_uterus", "18_rectum", "18_small_bowel"),
}
"""Data set -> its regions, in the order of the 47 channels; the words are the authors'."""

CONTAINS = {"03_liver": "03_cancer", "07_pancreas": "07_pancreas_cancer", "64_both_kidneys": "64_kidney_tumor"}
"""Region -> the region of the same data set that lies in it."""


def names_of(datasets: Datasets = DATASETS) -> list[str]:
    """The regions in the order of their channels. ModelError where there are none, or where two data sets share a name."""
    names = [name for regions in datasets.values() for name in regions]
    twice = [name for name in names if names.count(name) > 1]
    if not names or twice:
        wrong = f"{twice[0]!r} is named twice" if twice else "no region is named"
        raise ModelError(f"MultiTalent needs regions of different names, because it never merges data sets, but {wrong}; give "
                         "{data set: [its regions]} with a name for each.")
    return names


def channels_of(dataset: str, datasets: Datasets = DATASETS) -> slice:
    """Which channels a data set has. ModelError for one that is not known."""
    if dataset not in datasets:
        raise ModelError(f"There is no data set {dataset!r}; MultiTalent knows {', '.join(datasets)}.")
    names = names_of(datasets)
    start = names.index(datasets[dataset][0]) if datasets[dataset] else 0
    return slice(start, start + len(datasets[dataset]))


def annotated(samples: Sequence[str], datasets: Datasets = DATASETS) -> Tensor:
    """w (B, K) of ``masked.multitalent``, K = 47 as published, from the data set that each sample is of."""
    w = torch.zeros(len(samples), len(names_of(datasets)))
    for row, dataset in zip(w, samples):
        row[channels_of(dataset, datasets)] = 1
    return w


def values_of(datasets: Datasets = DATASETS, contains: Mapping[str, str] = CONTAINS) -> dict[str, tuple[int, ...]]:
    """Region -> the values that make it up in the common label map, where the k-th region, counted from 1, is drawn as k."""
    number = {name: k for k, name in enumerate(names_of(datasets), 1)}
    return {name: (k, number[contains[name]]) if contains.get(name) in number else (k,) for name, k in number.items()}


def targets(labels: Tensor, datasets: Datasets = DATASETS, contains: Mapping[str, str] = CONTAINS) -> Tensor:
    """(B, K, X, Y, Z) bool, one mask a region, of a common label map (B, 1, X, Y, Z) with values from 0 to K."""
    values = values_of(datasets, contains)
    if labels.ndim != 5 or labels.shape[1] != 1 or labels.numel() and not 0 <= labels.min() <= labels.max() <= len(values):
        raise ScanError(f"The label map {tuple(labels.shape)} does not fit; give (B, 1, X, Y, Z) with values from 0 to "
                        f"{len(values)}, the number of each region.")
    return torch.cat([torch.isin(labels, labels.new_tensor(wanted)) for wanted in values.values()], 1)
