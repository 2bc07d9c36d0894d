"""theta_c for another task: rows of structures that the model knows, and new ones for those that it does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from fmlab.backbones.segmenter import Segmenter, linear_head
from fmlab.errors import ModelError
from fmlab.training.order import seeded
from fmlab.vocabulary import structure

RARE = -4.0
"""Bias of a new row: at first a structure is rare, 2 % of the voxels (after Lin et al. 2017, arXiv:1708.02002). FSEFT has a bias
near 0, PyTorch's usual one, and 199 epochs in which to unlearn that half of the body is the new organ."""


def head_for(model: Segmenter, structures: Sequence[str] | int | None, seed: int = 0) -> tuple[nn.Module, tuple[str, ...] | None]:
    """A linear head for these structures, and their names, where they have some; the model is left as it is.

    A structure that the model knows gets the model's own row, so that it begins zero-shot; the others begin at random, with the
    seed, and with the bias RARE. None: the model's own head.
    Raises VocabularyError for a name that there is not, ModelError for no structure, for one that is named twice, and for a model
    whose head is no 1x1x1 convolution.
    """
    own = tuple(getattr(model, "structures", None) or ())
    if not isinstance(model.head, nn.Conv3d) or model.head.kernel_size != (1, 1, 1):
        raise ModelError("The model's head is no 1x1x1 convolution, so no row of it can be kept; give a model with a linear "
                         "head.")
    if structures is None:
        return model.head, own or None
    if isinstance(structures, str):  # else "liver" would be five structures, "l" the first
        structures = [structures]
    names = None if isinstance(structures, int) else tuple(name if name in own else structure(name).name for name in structures)
    count = structures if names is None else len(names)
    if count < 1 or (names is not None and len(set(names)) < len(names)):
        raise ModelError("A head answers at least one structure, and each of them once; look at what you listed.")
    with seeded(seed):
        head = linear_head(model.backbone.channels, count)
    nn.init.constant_(head.bias, RARE)
    head.to(model.head.weight)
    with torch.no_grad():
        for k, name in enumerate(names or ()):
            if name in own:
                row = own.index(name)
                head.weight[k], head.bias[k] = model.head.weight[row], 0 if model.head.bias is None else model.head.bias[row]
    return head, names


def recipe_for(model: Segmenter, asked: Sequence[str] | int) -> dict[str, Any]:
    """The model's recipe with its new head, so that ``hub.save`` writes what ``hub.load`` can build."""
    config = model.recipe["config"]
    by_name = "structures" in config or hasattr(model, "structures")
    told = {"structures": asked} if by_name else {"classes": asked if isinstance(asked, int) else len(asked)}
    return {**model.recipe, "config": {**config, **told}}
