"""When there is no one truth: a loss that lets each candidate be some reader, and two measures of a set of candidates.

Source: Rakic et al. 2024, Tyche, doi:10.1109/CVPR52733.2024.01058, sections 3 and 4; the generalised energy distance as in
Kohl et al. 2018, doi:10.48550/arXiv.1806.05034.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fmlab.errors import ModelError
from fmlab.incontext.episodes import dice_and_entropy, some


def best_candidate_loss(logits: Tensor, target: Tensor) -> Tensor:
    """min_k L(y, y_hat_k), the mean over the batch: logits (B, K, H, W), target (B, 1, H, W) by one reader, drawn at random.

    Only the best candidate has a gradient, so that the others stay free to be what other readers would draw.
    """
    if logits.ndim != 4 or target.shape != logits[:, :1].shape:
        raise ModelError(f"Logits {tuple(logits.shape)} and target {tuple(target.shape)} do not fit; give (B, K, H, W) and (B, "
                         "1, H, W).")
    return dice_and_entropy(logits, target).min(1).values.mean()


def several_candidates(model: nn.Module, batch: dict, candidates: int = 4) -> Tensor:
    """The best-candidate loss of Tyche-TS on a batch of ``Episodes``: ``train``'s loss."""
    images, masks = some(batch)
    return best_candidate_loss(model(batch["query"], images, masks, candidates), batch["target"])


def max_dice(candidates: Tensor, readers: Tensor) -> Tensor:
    """For each reader (R, H, W) the Dice of the best of the candidates (K, H, W), both 0 or 1: (R,).

    NaN where a reader and a candidate are both empty: not applicable, as in ``fmlab.metrics``.
    """
    a, b = _sets(candidates, readers)
    return (2 * (a @ b.T) / (a.sum(1)[:, None] + b.sum(1))).max(0).values  # the largest of numbers and a NaN is NaN


def ged(candidates: Tensor, readers: Tensor) -> float:
    """Squared generalised energy distance of candidates (K, H, W) and readers (R, H, W), 0 or 1; 0 is best.

        2 E[d(s, y)] - E[d(s, s')] - E[d(y, y')]          d = 1 - IoU, and 0 between two empty masks

    Expectations are over all pairs, a mask with itself included. Never below 0, and small only if the candidates are as right
    and as various as the readers.
    """
    a, b = _sets(candidates, readers)
    return float(2 * _apart(a, b).mean() - _apart(a, a).mean() - _apart(b, b).mean())


def _apart(a: Tensor, b: Tensor) -> Tensor:
    common = a @ b.T
    union = a.sum(1)[:, None] + b.sum(1) - common
    return torch.where(union > 0, 1 - common / union.clamp(min=1), 0.0)


def _sets(candidates: Tensor, readers: Tensor) -> tuple[Tensor, Tensor]:
    """Both as (number, pixels) of 0 and 1."""
    for what, masks in (("candidates", candidates), ("readers", readers)):
        if masks.ndim != 3 or not len(masks) or masks.shape[1:] != candidates.shape[1:]:
            raise ModelError(f"The {what} have shape {tuple(masks.shape)}; give masks of one size, (K, H, W) and (R, H, W).")
        if not bool(((masks == 0) | (masks == 1)).all()):
            raise ModelError(f"The {what} hold other values than 0 and 1; threshold the probabilities at one half first.")
    return candidates.flatten(1).double(), readers.flatten(1).double()
