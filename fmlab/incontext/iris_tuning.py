"""Iris' in-context tuning on a labelled scan: T is improved there by gradient steps, then used on others. No weight changes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fmlab import inference
from fmlab.errors import ModelError
from fmlab.incontext.iris import Iris
from fmlab.incontext.iris_volume import SPACING, window_about
from fmlab.incontext.task_tokens import tune
from fmlab.incontext.volume_episodes import WINDOW
from fmlab.vocabulary import structure
from fmlab.volume import Volume
from fmlab.windows import WIDE, Window


def tune_on(model: Iris, tokens: Tensor, volume: Volume, structures: Sequence[str], steps: int = 100, lr: float = 0.05,
            window: Sequence[int] = WINDOW, spacing: float = SPACING, values: Window = WIDE) -> Tensor:
    """Better tokens (1, K, m + 1, C) of the K structures that a labelled volume shows, each tuned in a window about its middle.

    tokens: where the steps start, as ``task_of`` gives them. steps, lr: as in ``tune``. A structure is read at ``spacing`` mm, as
    in ``task_of``. Raises ModelError where the volume does not show one of them.
    """
    coarse, tuned = values(inference.resampled(volume, spacing)[0]), []
    for k, name in enumerate(structures):
        shown = window_about(volume, coarse, structure(name).name, window, spacing)
        if shown is None:
            raise ModelError(f"{volume.name!r} does not show {name}, so nothing of it can be tuned there; leave it out, or give "
                             "a scan that does.")
        image, mask = (x[None].to(model.probe.device) for x in shown)
        tuned.append(tune(model, tokens[:, k : k + 1], image, mask, steps, lr))
    return torch.cat(tuned, dim=1)
