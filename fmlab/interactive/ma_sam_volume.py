"""MA-SAM on a whole volume: stacks of neighbouring slices, each moved on by one, and the mean of what they say.

Source: Chen et al. 2024, doi:10.1016/j.media.2024.103310, and its released test script.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from fmlab.errors import ModelError
from fmlab.interactive.ma_sam import MaSam


@torch.no_grad()
def predict_volume(model: MaSam, slices: Tensor) -> Tensor:
    """Labels (N, H, W), 0 the background, of slices (N, H, W) in [0, 1]; CT by ``preprocess_ma_sam.ct_normalised``.

    Stacks of S slices, moved on by one; a slice's probabilities are the mean over all stacks that hold it. Before the first slice
    and after the last these are repeated. Slices of another size are resized to the model's and their probabilities back.
    """
    if slices.ndim != 3 or not slices.numel():
        raise ModelError(f"A volume is slices (N, H, W), not {tuple(slices.shape)}; take the one channel of one image.")
    size, margin = (model.size, model.size), model.slices // 2
    x = F.interpolate(slices.to(model.FacTu.weight)[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    x = torch.cat([x[:1].expand(margin, -1, -1), x, x[-1:].expand(margin, -1, -1)])
    found = [F.interpolate(mean[None], slices.shape[1:], mode="bilinear", align_corners=False)[0].argmax(0).to(slices.device)
             for mean in averaged(model, x)]
    return torch.stack(found[margin : margin + len(slices)])


def averaged(model: MaSam, slices: Tensor) -> Iterator[Tensor]:
    """Mean probabilities (1 + classes, size, size) of each of at least S slices (N, size, size) in turn; S of them are kept."""
    total = slices.new_zeros(model.slices, 1 + model.classes, *slices.shape[1:])
    seen = slices.new_zeros(model.slices, 1, 1, 1)
    for first in range(len(slices) - model.slices + 1):
        total, seen = total + model(slices[None, first : first + model.slices]).softmax(2)[0], seen + 1
        yield total[0] / seen[0]  # no later stack holds this slice
        total, seen = (torch.cat([x[1:], torch.zeros_like(x[:1])]) for x in (total, seen))
    yield from total[:-1] / seen[:-1]
