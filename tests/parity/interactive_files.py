"""What the parity tests of the interactive systems share: weights, prompts and manifests of a file."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from fill import filled_state
from parity_files import metadata, parity_root, seed_of
from torch import Tensor, nn

WORDS = {"points": "points", "labels": "labels", "boxes": "boxes", "mask": "masks", "masks": "masks"}


def filled_model(model: nn.Module, stored: dict[str, np.ndarray], check: bool = True, names: dict[str, str] | None = None,
                 constant: str = "") -> nn.Module:
    """The model in eval mode with the file's weights, whose sums are compared with the file's. names: ours to theirs.

    constant: how entries end that stay as constructed.
    """
    official = {(names or {}).get(key, key): key for key in model.state_dict()}
    seed = metadata(stored).get("config", {}).get("seed", seed_of(stored))
    values = filled_state({theirs: model.state_dict()[ours] for theirs, ours in official.items()
                           if not (constant and theirs.endswith(constant))}, seed)
    model.load_state_dict({official[theirs]: value for theirs, value in values.items()}, strict=not constant)
    state = model.state_dict()  # of two names of one tensor, the later one wins
    if check:
        keys = [str(key) for key in stored["fill_keys"]]
        assert set(keys) == set(official), (set(keys) ^ set(official))
        sums = [state[official[key]].double().sum().item() for key in keys]
        np.testing.assert_allclose(sums, stored["fill_sum"], rtol=1e-9, atol=1e-5)
    return model.eval()


def images(stored: dict[str, np.ndarray], *names: str) -> Tensor:
    """The first of these arrays that is there, as float32."""
    return torch.from_numpy(next(stored[name] for name in names if name in stored).astype(np.float32))


def prompts(stored: dict[str, np.ndarray], name: str) -> dict[str, Tensor]:
    """Points, labels, boxes and masks of a call, by the words of our prompt encoder."""
    return {ours: torch.from_numpy(np.asarray(stored[f"{name}__{theirs}"])) for theirs, ours in WORDS.items()
            if f"{name}__{theirs}" in stored}


def same(ours: Tensor, theirs: np.ndarray, where: str, tolerance: float = 2e-5) -> None:
    """Same shape, and nowhere further apart than the tolerance."""
    assert tuple(ours.shape) == theirs.shape, (where, tuple(ours.shape), theirs.shape)
    if ours.numel():
        assert float((ours.detach() - torch.from_numpy(theirs.astype(np.float32))).abs().max()) <= tolerance, where


def manifest_of(stem: str) -> list:
    """[key, shape] of a published config, in order."""
    path = parity_root() / "interactive" / f"manifest_{stem}.json"
    if not path.exists():
        pytest.skip(f"no {path}; set FMLAB_PARITY_DIR to the folder of parity files")
    return json.loads(path.read_text())
