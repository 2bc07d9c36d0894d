"""Each method attached to its network gives the official logits, loss and gradients, and trains the official tensors.

We compute in float64. The instance norm over the two voxels of the deepest level enlarges rounding: in float32 the logits agree
to 3e-6, but gradients of the transformer differ by up to 2 %, by another factor on each processor. Against float64 the official
gradients are off by 5e-4 at most.
"""

from __future__ import annotations

import copy
import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from few_shot_files import close, fill, own_name, shapes
from parity_files import arrays, metadata, parity_cases
from torch import Tensor

from fmlab import hub
from fmlab.adaptation import Adapter, attach
from fmlab.backbones import Segmenter

METHODS = {"FT": "full", "LP": "linear_probe", "bb3DAdapter": "spatial_adapter", "bbAdapter": "spatial_adapter",
           "Bias": "bitfit", "Affine": "affine", "LoRA": "lora", "AdaptFormer": "adaptformer", "Compacter": "compacter",
           "AdapterCNN": "cnn_adapter", "ARENA": "arena"}
NETWORKS = {"swinunetr": "swin_unetr", "unet3d": "suprem_unet"}


def network(path: Path, stored: dict[str, np.ndarray]) -> Segmenter:
    """The base model of a file, its sizes from the shapes of its weights."""
    name, given, classes = NETWORKS[path.stem.split("_")[0]], shapes(stored), metadata(stored)["out"]
    if name == "swin_unetr":
        features, inputs = given["backbone.swinViT.patch_embed.proj.weight"][:2]
        return hub.build(name, classes=classes, in_channels=inputs, feature_size=features)
    first = next(shape for key, shape in given.items() if re.search(r"down_tr64\.ops\.0\.conv1\.(base\.)?weight", key))
    return hub.build(name, classes=classes, in_channels=first[1], width=first[0])


def attached(path: Path, stored: dict[str, np.ndarray]) -> Adapter:
    """The file's method on its network, with its weights. A "base" file trains everything, or the head alone."""
    meta, given = metadata(stored), shapes(stored)
    base = "LP" if all(key.startswith("classifier") for key in meta["trainable"]) else "FT"
    method = METHODS[base if meta["method"] == "base" else meta["method"]]
    adapter = attach(network(path, stored), method, **options(given))
    fill(adapter.model, stored)
    return adapter


def options(given: dict[str, tuple[int, ...]]) -> dict[str, int]:
    """A method's own sizes, as the shapes of its weights tell them. (The "rank" of a file is ARENA's, LoRA's is always 4.)"""
    sizes = {}
    for name, shape in given.items():
        if name.endswith(".qkv.A"):
            sizes["rank"] = shape[0] // 3
        elif name.endswith(".beside.down.weight"):
            sizes["width"] = shape[0]
        elif name == "head.0.W1":
            sizes["kernel"] = shape[-1]
    return sizes


@pytest.mark.parametrize("path", parity_cases("few_shot", "swinunetr", "unet3d"))
def test_a_method_on_its_network(path: Path):
    stored = arrays(path)
    meta, adapter = metadata(stored), attached(path, stored)
    assert trained(adapter) == {own_name(key): shape for key, shape in meta["trainable"].items()}
    assert adapter.count == meta["n_trainable"]
    logits = adapter.model.double()(torch.from_numpy(stored["x"]).double())
    step = meta.get("y_stride", 1)
    close(logits[:, :, ::step, ::step, ::step], stored["y"])
    if "y_mean" in stored:
        close(logits.mean((2, 3, 4)), stored["y_mean"])
        close(logits.std((2, 3, 4), correction=0), stored["y_std"])
    loss = loss_of(logits, stored)
    assert float(loss.detach()) == pytest.approx(float(stored["loss"]), rel=1e-5)
    loss.backward()
    assert set(meta["grad_norms"]) == set(meta["trainable"])
    for key, norm in meta["grad_norms"].items():
        found = float(adapter.model.get_parameter(own_name(key)).grad.norm())
        assert found == pytest.approx(norm, rel=1e-3) if norm > 1e-7 else found < 1e-6, key  # below is rounding alone


def trained(adapter: Adapter) -> dict[str, list[int]]:
    return {name: list(weight.shape) for name, weight in adapter.trainable.items()}


def loss_of(logits: Tensor, stored: dict[str, np.ndarray]) -> Tensor:
    """The file's loss, which, where the file does not say so, tells itself whether its classes exclude each other."""
    objective = {"sigmoid": Tensor.sigmoid, "softmax": partial(torch.softmax, dim=1)}
    said = metadata(stored).get("objective")
    losses = [dice(squash(logits), stored) for name, squash in objective.items() if said in (name, None)]
    return min(losses, key=lambda loss: abs(float(loss.detach()) - float(stored["loss"])))


def dice(p: Tensor, stored: dict[str, np.ndarray]) -> Tensor:
    """Soft Dice of few_shot.md section 2: of each class in each sample, 1 above and below, background included; the mean."""
    target = torch.from_numpy(np.unpackbits(stored["target_packed"])[: p.numel()].reshape(p.shape))
    both, each = (p * target).sum((2, 3, 4)), (p + target).sum((2, 3, 4))
    return (1 - (2 * both + 1) / (each + 1)).mean()


@pytest.mark.parametrize("path", parity_cases("few_shot", "trainable_names", suffix=".json"))
def test_what_is_trained_at_full_size(path: Path):
    bases = {net: hub.build(name, classes=1).to("meta") for net, name in NETWORKS.items()}
    for key, named in json.loads(path.read_text()).items():
        net, method, decoder = key.split("|")
        official = {own_name(name): shape for name, shape in named.items()}
        classes = next(shape[0] for name, shape in official.items() if name in ("head.bias", "head.1.bias"))
        adapter = attach(copy.deepcopy(bases[net]), METHODS[method], classes, decoder=decoder != "frozen", **options(official))
        assert trained(adapter) == official, key
