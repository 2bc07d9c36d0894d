"""What each system minimises: mask losses, and how sure the model says it is.

With probabilities p (a sigmoid of logits, unless said otherwise), target y, and sums over the pixels of one mask:

    dice = 1 - (2 sum p y + a) / (sum p^e + sum y^e + b)

| system         | Dice: e, a, b    | sums over              | plus                                                          |
|----------------|------------------|------------------------|---------------------------------------------------------------|
| SAM            | 1, 1, 1          | each mask              | 20 focal + (predicted IoU - IoU of the mask at 0)^2, best of 3 |
| SAM-Med2D      | 1, 1, 1          | the whole batch        | 20 focal + (predicted IoU - soft IoU of the batch)^2          |
| MedSAM         | 2, 1e-5, 1e-5    | each mask              | BCE                                                           |
| SAM-Med3D      | 2, 1e-5, 1e-5    | each mask              | BCE; summed over the 11 passes                                |
| SegVol         | 1, 0, 1          | each mask              | BCE; summed over six combinations of prompts                  |
| 3DSAM-adapter  | 1, 1e-5, 1e-5    | each mask, 1 of 2 classes | half of it, + 0.5 cross-entropy; p by softmax              |
| MA-SAM         | 2, 1e-5, 1e-5    | the batch, each class  | 0.8 of it, + 0.2 cross-entropy; p by softmax; -100 not counted |

focal: Lin et al. 2017, arXiv:1708.02002, with alpha 0.25 and gamma 2, mean over pixels. MONAI's losses are used where they are
the same. Only SAM and SAM-Med2D teach the IoU that they predict. All functions return one number with a gradient, take logits in
any precision and compute in float32 at least; they raise ModelError where shapes do not fit.

Sources: Kirillov et al. 2023, arXiv:2304.02643; Cheng et al. 2023, arXiv:2308.16184; Ma et al. 2024,
doi:10.1038/s41467-024-44824-z; Wang et al. 2023, arXiv:2310.15161; Du et al. 2023, arXiv:2311.13385; Gong et al. 2023,
arXiv:2306.13465; Chen et al. 2024, doi:10.1016/j.media.2024.103310 (MA-SAM).
"""

from __future__ import annotations

import torch
from monai.losses import DiceCELoss, DiceLoss, FocalLoss
from torch import Tensor
from torch.nn import functional as F

from fmlab.errors import ModelError

FOCAL_WEIGHT = 20.0
IGNORED = -100  # a label that MA-SAM does not count


def sam(logits: Tensor, target: Tensor, iou: Tensor, rank_all: bool = False) -> Tensor:
    """SAM: of the M masks for a prompt only the one of lowest loss learns, so that the others may mean something else.

    logits: (B, M, ...), target: (B, 1, ...) in {0, 1}, iou: predicted, (B, M). The lowest is by 20 focal + dice. rank_all: every
    predicted IoU learns, not the chosen mask's alone; the masks do not. The mean over prompts.
    """
    fits(logits, target, 1)
    if iou.shape != logits.shape[:2]:
        raise ModelError(f"Predicted IoU {tuple(iou.shape)} does not go with logits {tuple(logits.shape)}; give (B, M).")
    x, y = floating(logits), floating(target).expand_as(logits)
    per_mask = FOCAL_WEIGHT * focal_per_mask(x, y) + dice_per_mask(x, y)
    error = (floating(iou) - iou_per_mask(x > 0, y)).square()
    chosen = per_mask.argmin(1, keepdim=True)
    ranked = error.mean(1) if rank_all else error.gather(1, chosen)[:, 0]
    return (per_mask.gather(1, chosen)[:, 0] + ranked).mean()


def sam_med2d(logits: Tensor, target: Tensor, iou: Tensor) -> Tensor:
    """SAM-Med2D: one mask per prompt. logits, target: (B, 1, H, W); iou: (B, 1)."""
    return FOCAL_WEIGHT * sam_med2d_focal(logits, target) + sam_med2d_dice(logits, target) + sam_med2d_iou(logits, target, iou)


def sam_med2d_focal(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over pixels. Where the official one stops at -log 1e-12, for logits beyond +-27, this goes on."""
    fits(logits, target)
    return FocalLoss(alpha=0.25, gamma=2.0)(floating(logits), floating(target))


def sam_med2d_dice(logits: Tensor, target: Tensor) -> Tensor:
    """The whole batch as one mask."""
    fits(logits, target)
    return DiceLoss(sigmoid=True, batch=True, smooth_nr=1, smooth_dr=1)(floating(logits), floating(target))


def sam_med2d_iou(logits: Tensor, target: Tensor, iou: Tensor) -> Tensor:
    """The soft IoU of the whole batch against each predicted one; its gradient reaches the masks too."""
    fits(logits, target)
    p, y = floating(logits).sigmoid(), floating(target)
    common = (p * y).sum()
    return ((common + 1e-7) / (p.sum() + y.sum() - common + 1e-7) - floating(iou)).square().mean()


def medsam(logits: Tensor, target: Tensor) -> Tensor:
    """MedSAM, at 1024 x 1024: (B, 1, H, W) twice."""
    return dice_squared(logits, target) + bce(logits, target)


def sam_med3d(logits: Tensor, target: Tensor) -> Tensor:
    """SAM-Med3D, one pass, at 128^3: (B, 1, X, Y, Z) twice."""
    fits(logits, target)
    return DiceCELoss(sigmoid=True, squared_pred=True)(floating(logits), floating(target))


def segvol(logits: Tensor, target: Tensor) -> Tensor:
    """SegVol, one combination of prompts: (B, 1, X, Y, Z) or (B, X, Y, Z) twice."""
    return segvol_dice(logits, target) + bce(logits, target)


def segvol_dice(logits: Tensor, target: Tensor) -> Tensor:
    """Smoothed below only: an empty target costs 1 whatever is predicted, with no gradient."""
    fits(logits, target)
    return dice_per_mask(floating(logits)[:, None], floating(target)[:, None], above=0, below=1).mean()


def adapter3d(logits: Tensor, target: Tensor) -> Tensor:
    """3DSAM-adapter: logits (B, 2, X, Y, Z) of background and structure, target (B, 1, X, Y, Z)."""
    fits(logits, target, 1)
    loss = DiceCELoss(include_background=False, softmax=True, to_onehot_y=True, lambda_dice=0.5, lambda_ce=0.5)
    return loss(floating(logits), floating(target))


def adapter3d_dice(logits: Tensor, target: Tensor) -> Tensor:
    """Its Dice loss alone, by which the official script chooses its best epoch."""
    fits(logits, target, 1)
    return DiceLoss(include_background=False, softmax=True, to_onehot_y=True)(floating(logits), floating(target))


def ma_sam(logits: Tensor, target: Tensor) -> Tensor:
    """MA-SAM: logits (B, K + 1, H, W), background first; target (B, H, W) of labels 0 to K, or -100 where it does not count."""
    return 0.2 * ma_sam_ce(logits, target) + 0.8 * ma_sam_dice(logits, target)


def ma_sam_ce(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over the pixels that count."""
    fits(logits, target[:, None], 1)
    return F.cross_entropy(floating(logits), target.long(), ignore_index=IGNORED)


def ma_sam_dice(logits: Tensor, target: Tensor) -> Tensor:
    """The batch as one mask for each class, background included; pixels that do not count are left out of all sums."""
    fits(logits, target[:, None], 1)
    counted = (target != IGNORED)[:, None]
    p = floating(logits).softmax(1) * counted
    y = F.one_hot(target.long().clamp(min=0), logits.shape[1]).movedim(-1, 1).to(p) * counted
    return DiceLoss(batch=True, squared_pred=True)(p, y)


def dice_squared(logits: Tensor, target: Tensor) -> Tensor:
    """Of each mask, squares below; MedSAM's, and a part of SAM-Med3D's."""
    fits(logits, target)
    return DiceLoss(sigmoid=True, squared_pred=True)(floating(logits), floating(target))


def bce(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy, mean over all pixels."""
    fits(logits, target)
    return F.binary_cross_entropy_with_logits(floating(logits), floating(target))


def focal_per_mask(logits: Tensor, target: Tensor) -> Tensor:
    """(B, M, ...) twice to (B, M): mean over the pixels of each mask."""
    return FocalLoss(alpha=0.25, gamma=2.0, reduction="none")(logits, target).flatten(2).mean(2)


def dice_per_mask(logits: Tensor, target: Tensor, above: float = 1, below: float = 1) -> Tensor:
    """(B, M, ...) twice to (B, M)."""
    p, y = logits.sigmoid().flatten(2), target.flatten(2)
    return 1 - (2 * (p * y).sum(2) + above) / (p.sum(2) + y.sum(2) + below)


def iou_per_mask(mask: Tensor, target: Tensor) -> Tensor:
    """(B, M, ...) bool and 0/1 to (B, M): what the predicted IoU should be, without gradient. Both empty: 1."""
    m, y = mask.flatten(2), target.flatten(2) > 0.5
    union = (m | y).sum(2)
    return torch.where(union > 0, (m & y).sum(2) / union.clamp(min=1), 1.0)


def floating(x: Tensor) -> Tensor:
    """At least float32: sums over a volume do not fit bf16."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def fits(logits: Tensor, target: Tensor, channels: int | None = None) -> None:
    """Same shape; with ``channels``: the same but for the target's channels. ModelError otherwise."""
    wanted = list(logits.shape)
    if channels is not None and logits.ndim > 1:
        wanted[1] = channels
    if logits.ndim < 3 or list(target.shape) != wanted:
        raise ModelError(f"Logits {tuple(logits.shape)} and target {tuple(target.shape)} do not fit; bring both to one size.")
