"""What the CLIP-driven model was trained on: its 32 classes, and for each data set what it annotates and what its values mean.

Facts of the published code. Background is no class: each channel says "here" or "not here" of one thing, and an organ includes
its tumours. w_nk comes from the name of a case alone (``dataset_of``), never from its labels. Source: Liu et al. 2023,
doi:10.1109/ICCV51070.2023.01934.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fmlab.errors import DataError

CLASSES: tuple[str, ...] = (
    "Spleen", "Right Kidney", "Left Kidney", "Gall Bladder", "Esophagus", "Liver", "Stomach", "Aorta", "Postcava",
    "Portal Vein and Splenic Vein", "Pancreas", "Right Adrenal Gland", "Left Adrenal Gland", "Duodenum", "Hepatic Vessel",
    "Right Lung", "Left Lung", "Colon", "Intestine", "Rectum", "Bladder", "Prostate", "Left Head of Femur", "Right Head of Femur",
    "Celiac Trunk", "Kidney Tumor", "Liver Tumor", "Pancreas Tumor", "Hepatic Vessel Tumor", "Lung Tumor", "Colon Tumor",
    "Kidney Cyst")
"""Class 1 is the first; channel k - 1 of the network is class k."""

SPELLINGS = {"Aorta": "Arota", "Celiac Trunk": "Celiac Truck"}
"""What the published prompts really say: a misspelt word is another vector, and the weights were trained with it."""

PARENTS: dict[int, tuple[int, ...]] = {26: (2, 3), 27: (6,), 28: (11,), 29: (15,), 30: (16, 17), 31: (18,), 32: (2, 3)}
"""Class of a tumour or cyst -> the organs it lies in."""


@dataclass(frozen=True)
class DataSet:
    """One data set, in class numbers from 1. annotated: what it draws.

    values: class of the raw value 1, 2, ...; 0 where a value is dropped; empty where the conversion was never published. paired:
    classes drawn on both sides, where class c is the right one and c + 1 becomes the left. tumours: raw value -> class of what
    belongs to the organ as well. exported: class -> the data set's value, in the order of writing.
    """

    annotated: tuple[int, ...]
    values: tuple[int, ...]
    paired: tuple[int, ...]
    tumours: Mapping[int, int]
    exported: Mapping[int, int]


_TABLE = """
01    | 1..14                                  | 1..14                                            | | | 1..14
01_2  | 1 3..7 11 14                           | 1..14                                            | | |
02    | 1 3..7 11 14                           | 1 0 3..7 0 0 0 11 0 0 14                         | | | 1 3..7 11 14
03    | 6                                      | 6                                                | | | 6:1
04    | 6 27                                   | 6 27                                             | | 2:27 | 6:1 27:2
05    | 2 3 26 32                              | 2 26 32 | 2 | 2:26 3:32 | 2:1 3:1 26:2 32:3
06    | 1..4 6 7 11 16 17                      | | | | 1..4 6:5 7:6 11:7 16:8 17:9
07    | 1..7 11..14 18..21 23 24               | 6 1 3 2 7 4 5 11 14 18 19 12 20 21 23 24 | 12 | |
      1:2 2:4 3 4:6 5:7 6:1 7:5 11:8 12 13:12 14:9 18:10 19:11 20:13 21:14 23:15 24:16
08    | 1..3 6 11                              | 6 2 1 11 | 2 | | 1:3 2 3:2 6:1 11:4
09    | 1..9 11..14 21 22                      | 1..9 11..14 21 22 | | | 1..9 11:10 12:11 13:12 14:13 21:14 22:15
12    | 2 3 6 16 17 21                         | 6 21 16 2 | 2 16 | | 2:4 3:4 21:2 6:1 16:3 17:3
13    | 1..9 11..13 25                         | 6 2 1 11 8 9 7 4 5 12 13 25 | 2 | |
      1:3 2 3:2 4:8 5:9 6:1 7 8:5 9:6 11:4 12:10 13:11 25:12
14    | 11 28                                  | 11 11 28 28 28 | | |
10_03 | 6 27                                   | 6 27 | | 2:27 | 6:1 27:2
10_06 | 30                                     | 30 | | | 30:1
10_07 | 11 28                                  | 11 28 | | 2:28 | 11:1 28:2
10_08 | 15 29                                  | 15 29 | | | 15:1 29:2
10_09 | 1                                      | 1 | | | 1
10_10 | 31                                     | 31 | | | 31:1
15    | 1..17                                  | | | | 1..14 16..18
"""
# 01: BTCV; 01_2, 02: multi-organ CT (Zenodo 1169361), on BTCV and Pancreas-CT; 03: CHAOS; 04: LiTS; 05: KiTS21; 06: 3D-IRCADb;
# 07: WORD; 08: AbdomenCT-1K; 09: AMOS22; 12: CT-ORG; 13: AbdomenCT-12organ; 14: FELIX (not public); 10: tasks of the
# Medical Segmentation Decathlon; 15: TotalSegmentator. 10_08 draws vessel and tumour apart, and they stay so.


def _numbers(text: str) -> dict[int, int]:
    """ "2:4 3..5" to {2: 4, 3: 3, 4: 4, 5: 5}; a number alone stands for itself."""
    found: dict[int, int] = {}
    for word in text.split():
        if ".." in word:
            first, last = map(int, word.split(".."))
            found |= {n: n for n in range(first, last + 1)}
        else:
            key, _, value = word.partition(":")
            found[int(key)] = int(value or key)
    return found


def _list(text: str) -> tuple[int, ...]:
    """Numbers in their order, repetitions kept."""
    return tuple(n for word in text.split() for n in _numbers(word))


def _data_set(line: str) -> tuple[str, DataSet]:
    key, annotated, values, paired, tumours, exported = (part.strip() for part in line.split("|"))
    return key, DataSet(_list(annotated), _list(values), _list(paired), _numbers(tumours), _numbers(exported))


DATA_SETS: dict[str, DataSet] = dict(map(_data_set, _TABLE.replace("\n      ", " ").strip().splitlines()))
"""Key, as ``dataset_of`` gives it -> what is known of the data set."""


def data_set(key: str) -> DataSet:
    """One of ``DATA_SETS``; DataError for another key."""
    if key not in DATA_SETS:
        raise DataError(f"The CLIP-driven model knows no data set {key!r}; its keys are {', '.join(DATA_SETS)}.")
    return DATA_SETS[key]


def dataset_of(case: str) -> str:
    """The key of a case's data set, read from its path below the data folder, "10_Decathlon/Task03_Liver/label/liver_1": "10_03".

    The first two characters; of the Decathlon (10) the task's number too; in folder 01 a case numbered 60 or more is of another
    data set, "01_2". DataError where that gives no known key.
    """
    key = case[:2]
    if key == "10":
        key = f"10_{case[17:19]}"
    elif key == "01" and case[-2:].isdigit() and int(case[-2:]) >= 60:
        key = "01_2"
    data_set(key)
    return key


def template(key: str) -> Tensor:
    """w (32,) uint8 of a data set: 1 for the classes that it annotates."""
    w = torch.zeros(len(CLASSES), dtype=torch.uint8)
    w[[k - 1 for k in data_set(key).annotated]] = 1
    return w
