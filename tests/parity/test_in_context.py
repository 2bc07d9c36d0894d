"""UniverSeg and Tyche give the official outputs, block by block, and gradients, in each of the forms that they can be run in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fill import filled
from parity_files import arrays, metadata, parity_cases, seed_of
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab import hub
from fmlab.incontext.cross_block import CrossBlock
from fmlab.incontext.cross_conv import SLOPE, CrossConv

NETWORKS = [case for case in parity_cases("in_context", "universeg", "tyche") if not case.id.startswith("universeg_ops")]
GRADED = [case for case in NETWORKS if case.id == "absent" or "loss_mse_half" in arrays(case.values[0])]
FORMS = {"fast": {}, "literal": {"literal": True}, "chunk": {"chunk": 1}}
TOLERANCE = 2e-5


def weights(manifest: list, seed: int) -> dict[str, Tensor]:
    """The filled entries of a list of [key, shape]."""
    return {key: torch.from_numpy(filled(key, tuple(shape), seed)) for key, shape in manifest}


def listed(stored: dict[str, np.ndarray], name: str = "manifest_json") -> list:
    return json.loads(str(stored[name]))


def network(path: Path, stored: dict[str, np.ndarray]) -> nn.Module:
    """The file's model with its weights: the system is the stem's first word, kwargs is a config or says "published"."""
    config = metadata(stored)["kwargs"]
    model = hub.build(path.stem.split("_")[0], **(config if isinstance(config, dict) else {}))
    manifest = listed(stored)
    assert [[key, list(value.shape)] for key, value in model.state_dict().items()] == manifest
    assert sum(p.numel() for p in model.parameters()) == metadata(stored)["n_params"]
    report = hub.load_official(model, weights(manifest, seed_of(stored)))
    assert len(report.matched) == len(manifest)
    return model


def run(model: nn.Module, stored: dict[str, np.ndarray], **form) -> Tensor:
    """Logits, in the file's shape."""
    given = {name: torch.from_numpy(stored[name]) for name in stored if name.startswith(("target_", "support_", "noise_"))}
    query, context = given["target_image"], (given["support_images"], given["support_labels"])
    if "noise_image" not in given:
        return model(query, *context, **form)
    return model(query[:, 0], *context, noise=given["noise_image"][:, :, 0], **form)[:, :, None]


def watched(model: nn.Module) -> dict[str, list[Tensor]]:
    """What each block's target and support convolutions will give, under the files' names; several parts where in chunks."""
    seen: dict[str, list[Tensor]] = {}
    for stage in ("enc", "dec"):
        for number, block in enumerate(getattr(model, f"{stage}_blocks")):
            for side in ("target", "support"):
                parts = seen[f"act/{stage}{number}_{side}"] = []
                getattr(block, side).register_forward_hook(lambda _, given, out, parts=parts: parts.append(out.detach().clone()))
    return seen


def same(ours: Tensor, theirs: np.ndarray, where: str) -> None:
    assert tuple(ours.shape) == theirs.shape, where
    assert float((ours.detach() - torch.from_numpy(theirs)).abs().max()) <= TOLERANCE, where


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("path", NETWORKS)
def test_logits_and_blocks(path: Path, form: str):
    stored = arrays(path)
    model = network(path, stored)
    seen = watched(model)
    with torch.no_grad():
        same(run(model, stored, **FORMS[form]), stored["output_logits"], "logits")
    skipped = [name for name, parts in seen.items() if not parts]
    assert skipped == ([] if form == "literal" else list(seen)[-1:])  # the last block's supports, which nobody reads
    for name in set(seen) & set(stored) - set(skipped):
        same(torch.cat(seen[name], dim=1), stored[name], name)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("path", GRADED)
def test_gradients(path: Path, form: str):
    stored = arrays(path)
    model = network(path, stored)
    loss = (run(model, stored, **FORMS[form]) - 0.5).square().mean()
    loss.backward()
    assert loss.item() == pytest.approx(float(stored["loss_mse_half"]), rel=1e-5)
    for key, parameter in model.named_parameters():
        theirs, ours = torch.from_numpy(stored[f"grad/{key}"]), parameter.grad
        if not theirs.any():
            assert ours is None or not ours.any(), key
        else:
            assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max(), key


@pytest.mark.parametrize("path", NETWORKS)
def test_the_fill_is_theirs(path: Path):
    stored = arrays(path)
    entries = list(weights(listed(stored), seed_of(stored)).values())
    np.testing.assert_allclose([x.double().sum().item() for x in entries], stored["fill_sum"], rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose([x.flatten()[0].item() for x in entries], stored["fill_first"], rtol=1e-6)


def block_of(stored: dict[str, np.ndarray]) -> CrossBlock:
    """The file's CrossBlock with its weights; all widths are read from the shapes."""
    manifest = dict(listed(stored, "block_manifest_json"))
    inputs = stored["block_target_in"].shape[2], stored["y"].shape[2]
    block = CrossBlock(inputs, (manifest["cross.cross_conv.weight"][0], manifest["target.vmapped.conv.weight"][0]))
    hub.load_official(block, weights(list(manifest.items()), seed_of(stored)))
    return block


@pytest.mark.parametrize("path", parity_cases("in_context", "universeg_ops"))
def test_cross_convolution_of_all_pairs(path: Path):
    stored = arrays(path)
    x, y, manifest = torch.from_numpy(stored["x"]), torch.from_numpy(stored["y"]), listed(stored, "crossconv_manifest_json")
    cross = CrossConv((x.shape[2], y.shape[2]), stored["crossconv_out"].shape[3])
    hub.load_official(cross.cross_conv, weights(manifest, seed_of(stored)))
    same(cross(x, y), stored["crossconv_out"], "all pairs at once")
    same(cross.of_target(x)[:, :, None] + cross.of_support(y)[:, None], stored["crossconv_out"], "the sum of its halves")


@pytest.mark.parametrize("path", parity_cases("in_context", "universeg_ops"))
def test_cross_block(path: Path):
    stored = arrays(path)
    block, u, v = block_of(stored), torch.from_numpy(stored["block_target_in"]), torch.from_numpy(stored["y"])
    for way, (target, support) in {"fast": block(u, v), "literal": block.literal(u, v), "chunk": block(u, v, 1)}.items():
        same(target, stored["block_target"], way)
        same(support, stored["block_support"], way)
    for mean in (v, v.mean(1, keepdim=True)):
        same(block.last(u, mean), stored["block_target"], "last")


@pytest.mark.parametrize("path", parity_cases("in_context", "universeg_ops"))
def test_cross_block_with_the_papers_activation(path: Path):
    stored = arrays(path)
    block = block_of(stored)
    z = F.leaky_relu(block.cross(torch.from_numpy(stored["block_target_in"]), torch.from_numpy(stored["y"]))[:, 0], SLOPE)
    same(block.target(z.mean(1, keepdim=True)), stored["block_relu_target"], "target")
    same(block.support(z), stored["block_relu_support"], "support")


@pytest.mark.parametrize("path", parity_cases("in_context", "manifest_universeg", "manifest_tyche", suffix=".json"))
def test_released_files_load_in_full(path: Path, tmp_path: Path):
    name = path.stem.split("_")[1]
    entries, parameters = {"universeg": (44, 1_182_785), "tyche": (58, 1_774_785)}[name]
    state = weights(json.loads(path.read_text()), 0)
    assert len(state) == entries and sum(x.numel() for x in state.values()) == parameters
    for released in (state, {"model": state}):  # UniverSeg's file is plain, Tyche's has its weights under "model"
        report = hub.load_official(hub.build(name), released)
        assert len(report.matched) == entries and not report.missing and not report.unexpected
    torch.save({"model": state, "epoch": 3} if name == "tyche" else state, tmp_path / "released.pt")
    loaded = hub.load(name, tmp_path / "released.pt")
    assert all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())
