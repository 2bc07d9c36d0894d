"""What goes wrong: losses that take "not annotated" for "not there". For comparison only; claim C05 is measured with them.

Shapes as in ``masked``: logits and target (B, K, X, Y, Z). Unlabelled voxels must hold 0 here, which is the mistake itself.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from fmlab.errors import ScanError
from fmlab.pretraining.masked import masked_bce_dice


def unmasked_sigmoid(logits: Tensor, target: Tensor) -> Tensor:
    """masked_bce_dice with w_nk = 1 everywhere: a spleen that a data set did not draw is trained to be background."""
    return masked_bce_dice(logits, target, torch.ones(logits.shape[:2], device=logits.device))


def softmax_background(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy over the K classes and background, exclusive, with everything that is not drawn as background.

    - mean_v log softmax([0, theta_c(Z)])_v at the drawn class: background's logit is fixed at 0, as K free logits suffice for K +
    1 classes. Where classes overlap the last one counts (vocabulary order has parts after their wholes), so the liver cannot
    contain its tumour: the second mistake. Predict with the same rule: the arg max over [0, logits], 0 being background.
    Raises ScanError where shapes do not fit or a target is neither 0 nor 1.
    """
    if logits.ndim < 3 or target.shape != logits.shape:
        raise ScanError(f"logits {tuple(logits.shape)} and target {tuple(target.shape)} do not fit; give (B, K, X, Y, Z) twice.")
    if not ((target == 0) | (target == 1)).all():
        raise ScanError("The target holds values other than 0 and 1; an unmasked loss knows no 'not annotated'.")
    number = torch.arange(1, logits.shape[1] + 1, device=logits.device).view(1, -1, *[1] * (logits.ndim - 2))
    drawn = (target.to(logits.device).long() * number).amax(1)  # (B, X, Y, Z), 0 = background
    exact = torch.promote_types(logits.dtype, torch.float32)
    return F.cross_entropy(torch.cat([torch.zeros_like(logits[:, :1]), logits], 1).to(exact), drawn)
