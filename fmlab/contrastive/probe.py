"""A linear probe: logistic regression on frozen features. What a few labels can read off an encoder with a straight cut.

    min over W, b of  C sum_i a_i CE(W z_i + b, y_i) + |W|^2 / 2        a_i: classes weigh alike,  C = 0.316

Source: Radford et al. 2021, arXiv:2103.00020, appendix A.3 (C = 0.316 is in its code's example); FLAIR uses the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from fmlab.errors import DataError


@dataclass(frozen=True)
class Probe:
    """A fitted probe: the features' mean and deviation in training, weight (K, features), bias (K,)."""

    mean: Tensor
    deviation: Tensor
    weight: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Logits (N, K) of features (N, F)."""
        return (features - self.mean) / self.deviation @ self.weight.T + self.bias


def fitted(features: Tensor, labels: Tensor, c: float = 0.316, steps: int = 60) -> Probe:
    """The probe of features (N, F) and labels (N,), class numbers from 0 on, each at least once; DataError where one lacks.

    Features are z-scored first, so that C means the same for every encoder.
    """
    counts = torch.bincount(labels)
    if len(features) != len(labels) or not len(labels) or int(counts.min()) == 0:
        raise DataError(f"{len(features)} features and {len(labels)} labels with counts {counts.tolist()}: a probe needs one "
                        "label for each, and each class at least once.")
    deviation, mean = torch.std_mean(features, 0, correction=0)
    deviation = deviation.clamp(min=1e-6)
    z, classes = (features - mean) / deviation, len(counts)
    weigh = len(labels) / (classes * counts[labels].float())
    weight, bias = z.new_zeros(classes, z.shape[1], requires_grad=True), z.new_zeros(classes, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=steps, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimiser.zero_grad()
        wrong = F.cross_entropy(z @ weight.T + bias, labels, reduction="none")
        cost = c * (weigh * wrong).sum() + weight.square().sum() / 2
        cost.backward()
        return cost

    with torch.enable_grad():
        optimiser.step(objective)
    return Probe(mean, deviation, weight.detach(), bias.detach())
