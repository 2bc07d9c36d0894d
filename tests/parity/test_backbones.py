"""Both published backbones give the official outputs, losses and gradients for the weights of the fill rule."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fill import filled
from parity_files import arrays, metadata, parity_cases, seed_of

from fmlab import hub


def filled_model(stored: dict[str, np.ndarray], name: str, **config) -> torch.nn.Module:
    """A model under the file's official keys: the fill is by those, and ``load_official`` must find the place of each."""
    meta = metadata(stored)
    model = hub.build(name, classes=meta["out"], **config)
    official = {}
    for key, (shape, kind) in meta["keys"].items():
        if kind.startswith("float"):
            official[key] = torch.from_numpy(filled(key, tuple(shape), seed_of(stored)))
    integers = [key for key, (_, kind) in meta["keys"].items() if not kind.startswith("float")]
    report = hub.load_official(model, official, allow_missing=integers)
    assert len(report.matched) == len(official) and len(report.missing) == len(integers)
    return model.eval()


def compare(model: torch.nn.Module, stored: dict[str, np.ndarray]) -> None:
    """Logits, the soft Dice loss of few_shot.md section 1, and the gradient norm of every parameter that the file names.

    In float64, so that what is left is the official file's own rounding: gradients of small blocks differ by processor.
    """
    meta = metadata(stored)
    logits = model.double()(torch.from_numpy(stored["x"]).double())
    step = meta.get("y_stride", 1)
    y = logits[:, :, ::step, ::step, ::step].detach().numpy()
    assert np.abs(y - stored["y"]).max() <= 1e-5 * np.abs(stored["y"]).max()
    if "y_mean" in stored:
        assert np.allclose(logits.mean((2, 3, 4)).detach(), stored["y_mean"], rtol=1e-5, atol=1e-5)
        assert np.allclose(logits.std((2, 3, 4), correction=0).detach(), stored["y_std"], rtol=1e-4)
    dice(logits, stored).backward()
    for key, norm in meta.get("grad_norms", {}).items():
        grad = (model.head if key.startswith("classifier") else model.backbone).get_parameter(own_name(key)).grad
        assert norm < 1e-7 or float(grad.norm()) == pytest.approx(norm, rel=1e-3), key


def own_name(key: str) -> str:
    return key.rsplit(".", 1)[-1] if key.startswith("classifier") else key


def dice(logits: torch.Tensor, stored: dict[str, np.ndarray]) -> torch.Tensor:
    target = np.unpackbits(stored["target_packed"])[: logits.numel()].reshape(logits.shape)
    target, p = torch.from_numpy(target).to(logits.dtype), activation(logits, metadata(stored))
    axes = (2, 3, 4)
    loss = (1 - (2 * (p * target).sum(axes) + 1) / (p.sum(axes) + target.sum(axes) + 1)).mean()
    assert float(loss.detach()) == pytest.approx(float(stored["loss"]), rel=1e-5)
    return loss


def activation(logits: torch.Tensor, meta: dict) -> torch.Tensor:
    return logits.softmax(1) if "softmax" in meta.get("objective", "") else logits.sigmoid()


@pytest.mark.parametrize("path", parity_cases("few_shot", "swinunetr_*base"))
def test_swin_unetr(path: Path):
    stored = arrays(path)
    meta = metadata(stored)
    channels = stored["x"].shape[1]
    model = filled_model(stored, "swin_unetr", in_channels=channels, feature_size=meta["feature_size"], merging="historical")
    compare(model, stored)


@pytest.mark.parametrize("path", parity_cases("few_shot", "swinunetr_*base"))
def test_swin_unetr_with_the_new_merging_is_another_network(path: Path):
    stored = arrays(path)
    model = filled_model(stored, "swin_unetr", feature_size=metadata(stored)["feature_size"], merging="monai")
    step = metadata(stored).get("y_stride", 1)
    with torch.no_grad():
        y = model(torch.from_numpy(stored["x"]))[:, :, ::step, ::step, ::step].numpy()
    assert np.abs(y - stored["y"]).max() > 0.05 * np.abs(stored["y"]).max()


@pytest.mark.parametrize("path", parity_cases("few_shot", "unet3d*base"))
def test_suprem_unet(path: Path):
    stored = arrays(path)
    shape = metadata(stored)["keys"]["down_tr64.ops.0.conv1.weight"][0]
    compare(filled_model(stored, "suprem_unet", in_channels=shape[1], width=shape[0]), stored)


@pytest.mark.parametrize("path", parity_cases("few_shot", "param_counts_official", suffix=".json"))
def test_parameter_counts(path: Path):
    names = {"swinunetr": "swin_unetr", "unet3d": "suprem_unet"}
    counts = json.loads(path.read_text())
    for key, official in counts.items():
        net, method, _, out = key.split("|")
        if method != "FT" or net not in names:  # the other rows are adapters in these backbones
            continue
        model = hub.build(names[net], classes=int(out.removeprefix("out=")))
        assert sum(p.numel() for p in model.parameters()) == official["total"], key


@pytest.mark.parametrize("path", parity_cases("few_shot", "manifest_fseft_swinunetr", "manifest_suprem_unet3d", suffix=".json"))
def test_manifest_loads_in_full(path: Path):
    manifest = json.loads(path.read_text())
    name = "swin_unetr" if "swin" in path.stem else "suprem_unet"
    kinds = {"float32": torch.float32, "int64": torch.int64}
    official = {"module." + key: torch.zeros(shape, dtype=kinds[kind]) for key, shape, kind in manifest["entries"]}
    classes = next(shape[0] for key, shape, _ in manifest["entries"] if key.startswith("classifier") and key.endswith("weight"))
    report = hub.load_official(hub.build(name, classes=classes), {"net": official})
    assert len(report.matched) == manifest["n_entries"]
