"""Crumbs: bits of an organ that a neighbour's paint has cut off go back to the tissue round them."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from fmlab.vocabulary import ID, STRUCTURES, region

# What comes in several pieces by nature: bowel loops, ribs, discs, cartilages, lesions; and the liver's two trees of vessels.
SEVERAL = frozenset(
    {
        "body",
        "subcutaneous_fat",
        "muscle",
        "bone",
        "ribs",
        "costal_cartilages",
        "intervertebral_discs",
        "small_bowel",
        "colon",
        "hepatic_vessels",
    }
    | {s.name for s in STRUCTURES if s.system == "lesion"}
)


def tidy(labels: Tensor) -> Tensor:
    """Keep the largest piece (26 neighbours) of every structure with its parts; crumbs become ``body``. (X, Y, Z) uint8."""
    out = labels.cpu().numpy().copy()
    boxes = ndimage.find_objects(out, max_label=len(STRUCTURES))
    for structure in STRUCTURES:
        ids = [i for i in region(structure.name) if boxes[i - 1] is not None]
        if structure.name in SEVERAL or not ids:
            continue
        box = tuple(slice(min(boxes[i - 1][a].start for i in ids), max(boxes[i - 1][a].stop for i in ids)) for a in range(3))
        part = out[box]
        pieces, count = ndimage.label(np.isin(part, ids), np.ones((3, 3, 3)))
        if count > 1:
            sizes = np.bincount(pieces.ravel())
            sizes[0] = 0
            part[(pieces > 0) & (pieces != sizes.argmax())] = ID["body"]
    return torch.from_numpy(out).to(labels.device)
