"""DoDNet, UniSeg and Med3D give the official outputs, inside and at the end, and have the official names in their order."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from fill import filled_state
from parity_files import arrays, parity_cases, seed_of
from torch import nn

from fmlab import hub

INPUTS = {"x = u8/255*2-1": (127.5, 127.5), "x=(u8-127.5)/64": (127.5, 64)}  # note of a file -> what to subtract, to divide by


def filled(stored: dict[str, np.ndarray], name: str, **config) -> nn.Module:
    """A model in whose official names the weights of the fill rule were found, all of them."""
    model = hub.build(name, **config).eval()
    report = hub.load_official(model, filled_state(model.state_dict(), seed_of(stored)))
    assert len(report.matched) == len(model.state_dict())
    return model


def volume(stored: dict[str, np.ndarray]) -> torch.Tensor:
    shift, scale = INPUTS[str(stored["input_note"]).split(";")[0].strip()]
    return torch.from_numpy((stored["input_u8"].astype(np.float32) - np.float32(shift)) / np.float32(scale))


def same(ours: torch.Tensor, stored: dict[str, np.ndarray], key: str, tolerance: float = 1e-5) -> None:
    """Within the tolerance of the largest value; a key that ends with _sN holds every N-th voxel."""
    theirs = stored[key]
    if every := re.search(r"_s(\d+)$", key):
        ours = ours[(..., *[slice(None, None, int(every[1]))] * 3)]
    assert ours.shape == theirs.shape, key
    assert np.abs(ours.numpy() - theirs).max() <= tolerance * np.abs(theirs).max(), key


def same_logits(ours: torch.Tensor, stored: dict[str, np.ndarray]) -> None:
    same(ours, stored, "logits_s2")
    same(ours[:, :, 4:12, 5:13, 6:14], stored, "logits_crop")
    exact = ours.double().flatten(2)
    found = torch.stack([exact.mean(2), exact.std(2), exact.amin(2), exact.amax(2)], 2)
    same(found, stored, "logits_stats")


def watched(model: nn.Module, *names: str) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Filled in the next forward pass: name of a part -> what went in, what came out."""
    passed = {}
    for name in names:
        model.get_submodule(name).register_forward_hook(
            lambda _, given, found, name=name: passed.__setitem__(name, (given[0], found)))
    return passed


@torch.no_grad()
@pytest.mark.parametrize("path", parity_cases("universal", "dodnet"))
def test_dodnet(path: Path):
    stored = arrays(path)
    hidden, tasks = stored["precls_s4"].shape[1], stored["controller_in"].shape[1] - stored["deep"].shape[1]
    model = filled(stored, "dodnet", tasks=tasks, outputs=stored["logits_s2"].shape[1], hidden=hidden,
                   in_channels=stored["input_u8"].shape[1])
    passed = watched(model, "fusionConv", "controller", "precls_conv")
    logits = model(volume(stored), torch.from_numpy(stored["task_id"]))
    # Rounding in twenty layers: against float64 both we and the official values are off by 0.8e-5.
    same(passed["fusionConv"][1], stored, "deep", 2e-5)
    same(passed["controller"][0].flatten(1), stored, "controller_in")
    same(passed["controller"][1].flatten(1), stored, "controller")
    same(passed["precls_conv"][1], stored, "precls_s4")
    same_logits(logits, stored)


@torch.no_grad()
@pytest.mark.parametrize("path", parity_cases("universal", "uniseg_c*"))
def test_uniseg(path: Path):
    stored = arrays(path)
    patch, tasks = stored["input_u8"].shape[2:], stored["dynamic_prompt"].shape[1]
    model = filled(stored, "uniseg", patch=patch, tasks=tasks, classes=stored["logits_s2"].shape[1])
    passed = watched(model, "fusion_layer")
    scales = model.train().scales(volume(stored), int(stored["task_id"]))  # all of them; its layers are the same in testing
    assert len(scales) == int(stored["n_outputs"])
    same(passed["fusion_layer"][0], stored, "bottleneck_and_prompt")
    same(passed["fusion_layer"][1], stored, "dynamic_prompt")
    same_logits(scales[0], stored)
    for number, logits in enumerate(scales[1:], 1):
        same(logits[..., ::2, ::2, ::2] if number == 1 else logits, stored, f"ds{number}")


@torch.no_grad()
@pytest.mark.parametrize("path", parity_cases("universal", "med3d_resnet*"))
def test_med3d(path: Path):
    stored = arrays(path)
    model = filled(stored, "med3d", depth=depth_of(path), classes=stored["out"].shape[1], in_channels=stored["input_u8"].shape[1])
    passed = watched(model, "layer4")
    out = model(volume(stored))
    h = passed["layer4"][1]
    every = h.shape[1] // stored["layer4_s2"].shape[1]  # it is thinned out along the channels only
    assert np.abs(h[:, ::every].numpy() - stored["layer4_s2"]).max() <= 1e-5 * np.abs(stored["layer4_s2"]).max()
    same(out, stored, "out")


def depth_of(path: Path) -> int:
    return int(re.search(r"resnet(\d+)", path.stem)[1])


def of_manifest(path: Path, shapes: dict[str, list[int]]) -> tuple[str, dict]:
    """Name and config of the model that a manifest lists."""
    name = path.stem.split("_")[1]
    if name == "med3d":
        return name, dict(depth=depth_of(path), classes=shapes["conv_seg.6.weight"][0])
    if name == "dodnet":
        return name, dict(tasks=shapes["controller.weight"][1] - shapes["GAP.0.weight"][0])
    _, tasks, *deep = shapes["intermedia_prompt"]
    patch = tuple(n * s for n, s in zip(deep, (16, 32, 32)))
    return name, dict(tasks=tasks, patch=patch, classes=shapes["seg_outputs.0.weight"][0])


MANIFESTS = parity_cases("universal", "manifest_dodnet", "manifest_uniseg", "manifest_med3d", suffix=".json")


@pytest.mark.parametrize("path", MANIFESTS)
def test_names_order_and_counts(path: Path):
    manifest = json.loads(path.read_text())
    name, config = of_manifest(path, dict(manifest["entries"]))
    with torch.device("meta"):
        model = hub.build(name, **config)
    assert [[key, list(value.shape)] for key, value in model.state_dict().items()] == manifest["entries"]
    assert sum(p.numel() for p in model.parameters()) == manifest["n_parameters"]
    integers = [key for key, value in model.state_dict().items() if not value.is_floating_point()]
    assert len(integers) == len(manifest["dtypes_nonfloat"])
