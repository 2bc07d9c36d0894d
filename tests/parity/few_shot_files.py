"""How a few-shot parity file's weights get into our modules: the fill is by official names, and each has one of ours."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import torch
from fill import filled
from parity_files import metadata, seed_of
from torch import Tensor, nn

Rules = Iterable[tuple[str, str]]  # what is found in an official name -> what stands there in ours; each in turn

NAMES: Rules = (
    (r"^(?=swinViT|encoder\d|decoder\d|down_tr|up_tr)", "backbone."),
    (r"\bViTbase\.", ""),
    (r"\bSwinTransformerBlock\.", "base."),
    (r"\bmlpAdapter\.", "beside."), (r"\b(down|up)_proj\.", r"\1."),
    (r"\bcompacter_1\.", "after_attention."), (r"\bcompacter_2\.", "after_mlp."), (r"\.phm_rule$", ".A"), (r"\.W$", ".B"),
    (r"\bw\.(weight|bias)$", r"base.\1"), (r"\bw_a\.weight$", "A"), (r"\bw_b\.weight$", "B"), (r"\bgating_vector$", "v"),
    (r"\bblock\.ops\.(\d)\.conv1\.", r"ops.\1.conv1.base."), (r"\bblock\.ops\.", "ops."),
    (r"\bAdapter1\.", "ops.0."), (r"\bAdapter2\.", "ops.1."),  # the layers of ``block`` again, whose values these replace
    (r"\borig_layers\.conv1\.", "conv1.base."), (r"\borig_layers\.", ""), (r"\balpha\.weight$", "conv1.alpha"),
    (r"\badapter\.0\.weight$", "W1"), (r"\badapter\.2\.weight$", "W2"), (r"\blinear\.", ""),
    (r"^classifier\.0\.(weight|bias)$", r"head.\1"), (r"^classifier\.", "head."),
)


def own_name(key: str, rules: Rules = NAMES) -> str:
    """Our name of an official parameter; empty for one that we do not keep."""
    for found, ours in rules:
        key = re.sub(found, ours, key)
    return key


def entries(stored: dict[str, np.ndarray], rules: Rules = NAMES) -> dict[str, Tensor]:
    """Our name -> value of each float entry of the official state_dict."""
    values = {}
    for key, (shape, kind) in metadata(stored)["keys"].items():
        if "float" in kind and (name := own_name(key, rules)):
            values[name] = torch.from_numpy(filled(key, tuple(shape), seed_of(stored)))
    return values


def shapes(stored: dict[str, np.ndarray], rules: Rules = NAMES) -> dict[str, tuple[int, ...]]:
    """Our name -> shape of the same, which is the config of a layer."""
    return {name: tuple(value.shape) for name, value in entries(stored, rules).items()}


def fill(module: nn.Module, stored: dict[str, np.ndarray], rules: Rules = NAMES) -> nn.Module:
    """The module, in eval mode, with the file's weights: exactly its float entries have some, in their shapes."""
    given, state = entries(stored, rules), module.state_dict()
    counted = re.compile(r"(mean|deviation)_[PEQ]$")  # AdaLoRA's running importances, which the official layer does not hold
    assert set(given) == {name for name, value in state.items() if value.is_floating_point() and not counted.search(name)}
    module.load_state_dict(state | given)
    return module.eval()


def close(ours: Tensor, theirs: np.ndarray, tolerance: float = 1e-5) -> None:
    """Of the same shape, and within the tolerance of the largest official value."""
    ours = ours.detach().numpy()
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= tolerance * np.abs(theirs).max()
