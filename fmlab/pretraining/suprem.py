"""SuPreM: supervised pre-training on scans in which everything is annotated, and its published files for transfer.

AbdomenAtlas 1.1: 9,262 CT of 25 organs, drawn by networks and corrected by people. With w = 1 everywhere there is nothing to
mask, and the loss is cross-entropy over all classes and Dice over those that the patch has. The network is the CLIP-driven model
over U-Net or Swin UNETR, or a SegResNet with a plain head.

Published: RAS, 1.5 mm, HU -175 to 250 as [0, 1], patches of 96, two of three centred on an organ; AdamW 1e-3, 20 epochs of
warm-up, 800 epochs of batch 8 on 8 A100, more than 7 days. Fine-tuning: backbone from the file, a new 1x1x1 head, softmax Dice
and cross-entropy, AdamW 1e-4, 20 epochs of warm-up, 201 epochs.

    model = fine_tuning("supervised_suprem_unet_2100", torch.load(path, weights_only=True), classes=5)

Source: Li, Yuille, Zhou 2024 (no DOI: openreview.net/forum?id=AhizIPytk4; arXiv:2501.11253). Its files are CC BY-NC-ND 4.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn

from fmlab.errors import ModelError, ScanError
from fmlab.hub.models import build
from fmlab.pretraining.published import suprem
from fmlab.pretraining.transfer import Input, Transfers, transfer

SUPREM = Transfers(("encoder", "decoder"), Input("HU from -175 to 250 to [0, 1]", 1.5))
"""Both parts were trained. Files have "module.backbone." before the names, "module." alone (SegResNet, CLIP-driven Swin UNETR),
or neither; what is not of the backbone (text, controller, heads) is left aside."""

RELEASES = {
    "supervised_suprem_swinunetr_2100": "swin_unetr",
    "supervised_suprem_unet_2100": "suprem_unet",
    "supervised_suprem_segresnet_2100": "segresnet",
    "supervised_clip_driven_universal_swin_unetr_2100": "swin_unetr",
    "supervised_clip_driven_universal_unet_2100": "suprem_unet",
}
"""Published file, at huggingface.co/MrGiovanni/SuPreM -> the name of its backbone."""


def fully_annotated(model: nn.Module, batch: dict) -> Tensor:
    """SuPreM's loss of a batch with image, target (B, K, X, Y, Z) and w (B, K). ScanError where something is not annotated: its
    data are complete, and a mask that is not needed is no reason to use this on data that need one."""
    if not (batch["w"] == 1).all():
        missing = int((batch["w"] != 1).sum())
        raise ScanError(f"{missing} classes of this batch are not annotated, and SuPreM trains on complete scans only; use a "
                        "masked loss (universal.masked).")
    return suprem(model(batch["image"]), batch["target"], batch["w"])


def fine_tuning(release: str, weights: Mapping[str, Any], classes: int, fed: Input | None = None, **config: Any) -> nn.Module:
    """A model for K = classes: the backbone of a published file under a new linear head; prints what matched.

    release: one of RELEASES, with "_backbone" after it or not. weights: the file, as ``torch.load`` gives it. fed: what the model
    will be fed, compared with what the pre-training was. config: of the backbone, for files of another size than the published.

    Raises ModelError for an unknown release, and where less than 95 % of the backbone is in the file.
    """
    name = RELEASES.get(release.removesuffix("_backbone"))
    if name is None:
        near = get_close_matches(release, RELEASES, n=2, cutoff=0.3) or list(RELEASES)
        raise ModelError(f"SuPreM published no {release!r} that has one of the course's backbones; did you mean "
                         f"{' or '.join(near)}?")
    model = build(name, classes=classes, **config)
    transfer(model, weights, SUPREM, arm="encoder+decoder", fed=fed)
    return model
