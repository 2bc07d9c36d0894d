"""What a centre's annotators draw of a body, and where they disagree with the other centres."""

from __future__ import annotations

import torch
from torch import Tensor

from fmlab.phantom.centres import Centre
from fmlab.phantom.shapes import Points
from fmlab.vocabulary import ID, STRUCTURES, region

PROMONTORY = 4.0  # canonical z (mm) of the sacral promontory


def apply_rules(labels: Tensor, points: Points, centre: Centre) -> Tensor:
    """Redraw (X, Y, Z) labels by the centre's habits: where the rectum begins, whose the liver's vessels are.

    "rectum begins at the sacral promontory": colon below it within 45 mm of the mid-line, in the back, counts as rectum.
    "vessels outside liver": hepatic vessels are not part of what is drawn as liver; they become other tissue of the body.
    """
    out = labels.clone()
    if "rectum begins at the sacral promontory" in centre.rules:
        x, y, z = points
        low = (out == ID["colon"]) & (z < PROMONTORY) & (x.abs() < 45) & (y < 35)
        out[low] = ID["rectum"]
    if "vessels outside liver" in centre.rules:
        out[out == ID["hepatic_vessels"]] = ID["body"]
    return out


def keep_annotated(labels: Tensor, centre: Centre) -> tuple[Tensor, frozenset[str]]:
    """Only what the centre annotates: other voxels become 0, which then means "not annotated", not "background".

    A part that is not annotated itself is drawn as the structure that it belongs to (a tumour as liver, medulla as kidney).
    """
    chosen = frozenset(centre.annotated)
    target = torch.zeros(256, dtype=torch.uint8, device=labels.device)
    for structure in sorted(STRUCTURES, key=lambda s: len(region(s.name)), reverse=True):  # wholes first, parts over them
        if structure.name in chosen:
            target[list(region(structure.name))] = structure.id
    return target[labels.long()], chosen
