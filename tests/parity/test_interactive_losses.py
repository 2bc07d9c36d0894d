"""Losses of the interactive systems give the official values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from parity_files import arrays, parity_cases

from fmlab.interactive import losses
from fmlab.metrics.masks import dice

FILES = parity_cases("interactive", "losses")
LOSSES = {  # the file's value: the loss and its arguments there
    "sammed2d_focal": (losses.sam_med2d_focal, "l2d_logits", "l2d_gt"),
    "sammed2d_dice": (losses.sam_med2d_dice, "l2d_logits", "l2d_gt"),
    "sammed2d_iou": (losses.sam_med2d_iou, "l2d_logits", "l2d_gt", "l2d_pred_iou"),
    "sammed2d_total": (losses.sam_med2d, "l2d_logits", "l2d_gt", "l2d_pred_iou"),
    "medsam_dice": (losses.dice_squared, "l2d_logits", "l2d_gt"),
    "medsam_bce": (losses.bce, "l2d_logits", "l2d_gt"),
    "medsam_total": (losses.medsam, "l2d_logits", "l2d_gt"),
    "sammed3d_dicece": (losses.sam_med3d, "l3d_logits", "l3d_gt"),
    "segvol_dice": (losses.segvol_dice, "l3d_logits", "l3d_gt"),
    "segvol_bce": (losses.bce, "l3d_logits", "l3d_gt"),
    "adapter3d_train_dicece": (losses.adapter3d, "l3d_logits2", "l3d_gt1"),
    "adapter3d_val_dice": (losses.adapter3d_dice, "l3d_logits2", "l3d_gt1"),
    "masam_ce": (losses.ma_sam_ce, "ma_logits", "ma_label"),
    "masam_dice": (losses.ma_sam_dice, "ma_logits", "ma_label"),
    "masam_total": (losses.ma_sam, "ma_logits", "ma_label"),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("path", FILES)
def test_values(path, name):
    stored = arrays(path)
    loss, *given = LOSSES[name]
    ours = loss(*[torch.from_numpy(stored[key]) for key in given])
    assert ours.item() == pytest.approx(stored[name].item(), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("path", FILES)
def test_segvol_on_volumes_without_a_channel(path):
    stored = arrays(path)
    x, y = torch.from_numpy(stored["l3d_logits"]), torch.from_numpy(stored["l3d_gt"])
    assert losses.segvol(x[:, 0], y[:, 0]).item() == pytest.approx(float(stored["segvol_dice"] + stored["segvol_bce"]), rel=1e-5)


@pytest.mark.parametrize("path", FILES)
def test_iou_and_dice_of_masks(path):
    stored = arrays(path)
    ious, dices = stored["sammed2d_metric_iou_dice_thresh05_per_sample"]
    mask, y = torch.from_numpy(stored["l2d_logits"]) > 0, torch.from_numpy(stored["l2d_gt"])
    assert losses.iou_per_mask(mask, y)[:, 0].numpy() == pytest.approx(ious, rel=1e-5)
    ours = [dice(m, t) for m, t in zip(mask[:, 0].numpy(), y[:, 0].numpy())]
    assert ours == pytest.approx(dices.tolist(), rel=1e-5)
    assert [np.mean(ious), np.mean(dices)] == pytest.approx(stored["sammed2d_metric_iou_dice"].tolist(), rel=1e-5)


@pytest.mark.parametrize("path", FILES)
def test_sam_with_one_mask_per_prompt_is_the_sum_that_the_files_values_make(path):
    """No official loss of SAM is public. With one prompt its parts are SAM-Med2D's, but for a hard IoU."""
    stored = arrays(path)
    x, y, iou = (torch.from_numpy(stored[name]) for name in ("l2d_logits", "l2d_gt", "l2d_pred_iou"))
    for k in range(len(x)):
        one = x[k:k + 1], y[k:k + 1]
        hard = (iou[k, 0] - stored["sammed2d_metric_iou_dice_thresh05_per_sample"][0][k]) ** 2
        parts = 20 * losses.sam_med2d_focal(*one) + losses.sam_med2d_dice(*one) + hard
        assert losses.sam(*one, iou[k:k + 1]).item() == pytest.approx(parts.item(), rel=1e-5)
