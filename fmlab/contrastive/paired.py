"""Paired prompts: "X is present." against "X is not present.", for one picture and one finding at a time.

    p_k = exp(s u . v_k+) / (exp(s u . v_k+) + exp(s u . v_k-)) = sigma(s u . (v_k+ - v_k-))

The findings do not compete, as classes do in a softmax over all of them: a scan has several, or none. What the two texts share
cancels, and what remains is a plane through the origin of the sphere: a linear classifier that is written in words.

Source: Hamamci et al. 2024 (CT-CLIP), arXiv:2403.17834, and its released code.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

PRESENT, ABSENT = "{} is present.", "{} is not present."


def paired(images: Tensor, present: Tensor, absent: Tensor, scale: Tensor | float) -> Tensor:
    """Probability of each finding in each picture, (N, K); images (N, D), texts (K, D) of length 1; scale: exp(t), one number."""
    both = torch.stack([images @ present.T, images @ absent.T])
    return (scale * both).softmax(0)[0]


def auroc(score: Tensor, truth: Tensor) -> float:
    """Chance that a picture with the finding scores above one without, ties half; (N,) scores, (N,) bool. NaN without either."""
    yes, no = (score[truth == kind].double().numpy() for kind in (True, False))
    if not len(yes) or not len(no):
        return float("nan")
    order = np.sort(no)
    below, upto = (np.searchsorted(order, yes, side) for side in ("left", "right"))
    return float((below + upto).mean() / (2 * len(no)))
