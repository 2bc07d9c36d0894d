"""FSEFT's foundation model: a Swin UNETR with one sigmoid a structure, trained on partially labelled CTs, made to be adapted.

    Yhat = sigma(theta_c(theta_f(X)))         theta_c: one 1x1x1 convolution

Source: Silva-Rodriguez, Dolz and Ben Ayed 2025, Medical Image Analysis, arXiv:2303.17051 (Foundation model).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import nn

from fmlab.backbones import SwinUNETR, linear_head
from fmlab.backbones.nano_swin import NanoSwin
from fmlab.backbones.segmenter import Segmenter
from fmlab.errors import ModelError
from fmlab.pretraining.hospitals import STRUCTURES

OFFICIAL = ("spleen", "kidney_right", "kidney_left", "gallbladder", "esophagus", "liver", "stomach", "aorta",
            "inferior_vena_cava", "portal_vein_and_splenic_vein", "pancreas", "adrenal_gland_right", "adrenal_gland_left",
            "duodenum", "urinary_bladder", "prostate", "liver_tumor", "kidney_tumor", "kidney_cyst", "celiac_trunk",
            "lung_right", "lung_left", "bone", "brain", "lung_tumor", "pancreas_tumor", "hepatic_vessel",
            "hepatic_vessel_tumor", "colon_tumor")
"""What the 29 outputs of the published checkpoint mean, in their order. "bone" is all bone; "prostate" is prostate or uterus."""


def fseft(size: Literal["nano", "published"] = "nano", structures: Sequence[str] | int | None = None) -> nn.Module:
    """The model, with random weights; ``hub.build("fseft")``. structures: of the head, names or a number of them.

    nano: ``NanoSwin`` and the 16 structures of the course's pre-training, read at 8 mm. published: Swin UNETR of feature size 48
    with the historical patch merging and the 29 OFFICIAL outputs; the official checkpoint loads by ``hub.load_official``.
    """
    if size not in ("nano", "published"):
        raise ModelError(f"There is no size {size!r} of this model; choose nano or published.")
    backbone = NanoSwin() if size == "nano" else SwinUNETR()
    names = (STRUCTURES if size == "nano" else OFFICIAL) if structures is None else structures
    model = Segmenter(backbone, linear_head(backbone.channels, names if isinstance(names, int) else len(names)))
    if size == "nano":
        nn.init.constant_(model.head.bias, -4.0)  # at first every class is rare: 2 %
    if not isinstance(names, int):
        model.structures = tuple(names)
    model.crumb_ml = 10.0  # none of the 16 is smaller
    return model
