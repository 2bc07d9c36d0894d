"""Tyche-IS: candidates out of a model that has only one answer, by asking it several times and a little differently.

    y_hat_k = sigma(f_theta(a_k(x), a_k'(S)))          a_k, a_k': changes of light, sharpness and noise, never of geometry

Source: Rakic et al. 2024, doi:10.1109/CVPR52733.2024.01058, section 3.4. The published code does not have it; the ranges are
told of a re-implementation.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from fmlab.incontext.augment import Ranges, lit
from fmlab.incontext.prediction import probability

INFERENCE = Ranges(p_light=0.25, brightness=0.1, contrast=0.3, p_blur=0.25, blur=0.5, p_noise=0.15, noise=0.02, p_sharp=0.15)


def inference_candidates(model: nn.Module, query: Tensor, images: Tensor, masks: Tensor, candidates: int = 8, seed: int = 0,
                         ranges: Ranges = INFERENCE, p_invert: float = 0.0) -> Tensor:
    """Probabilities (K, H, W) of K passes: query (1, H, W), support images and masks (S, 1, H, W), changed anew for each pass.

    p_invert: probability that light and dark are exchanged, in query and support together. The first candidate is the plain
    answer.
    """
    rng, found = np.random.default_rng(seed), []
    for k in range(candidates):
        x, context = query[None], images
        if k:
            x = lit(x, ranges, rng)
            context = torch.cat([lit(image[None], ranges, rng) for image in images])
            if rng.random() < p_invert:
                x, context = 1 - x, 1 - context
        found.append(probability(model, x, context, masks)[0, 0])
    return torch.stack(found)
