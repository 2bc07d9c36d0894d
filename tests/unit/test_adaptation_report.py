"""The report of an adapter: what is dead before any training, effective ranks, memory; and that asking changes nothing."""

from __future__ import annotations

import re

import pytest
import torch
from small_models import X, base, same, state_of, trained
from torch import nn

from fmlab.adaptation import attach
from fmlab.adaptation.report import activation_bytes, census, effective_rank, kind
from fmlab.errors import ModelError

CUBE = torch.rand(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))


def dead(name: str, method: str, x: torch.Tensor, **options) -> tuple[dict[str, int], dict[str, int]]:
    """Name -> dead numbers, and name -> numbers, of what the method trains."""
    adapter = attach(base(name), method, **options)
    return census(adapter.model, x), {key: weight.numel() for key, weight in adapter.trainable.items()}


@pytest.mark.parametrize("method", ["full", "bitfit"])
def test_key_biases_never_learn(method):
    """The softmax over keys is blind to what is added to all of them."""
    found, sizes = dead("swin", method, X)
    for key, count in found.items():
        if key.endswith("qkv.bias"):
            assert count == sizes[key] // 3, key
        elif "swinViT" in key and not key.endswith("relative_position_bias_table"):
            assert count == 0, key
    assert sum(count for key, count in found.items() if key.endswith("qkv.bias")) == 2 * (12 + 24 + 48)
    tables = [found[key] / sizes[key] for key in found if key.endswith("table")]
    assert min(tables) < 0.5 < max(tables) < 1  # the deeper the stage, the fewer voxels there are to be apart


def test_a_bias_before_a_norm_never_learns():
    found, sizes = dead("suprem", "bitfit", CUBE)
    for key, count in found.items():
        assert count == (sizes[key] if key.endswith("conv1.bias") else 0), key
    assert not any(dead("unet", "bitfit", CUBE)[0].values())  # there the convolutions have no bias
    found, sizes = dead("unet", "lite_residual", CUBE)  # but here an addition before the norm has one
    assert all(found[key] == sizes[key] for key in found if key.endswith("path.4.bias"))
    assert not any(found[key] for key in found if re.match(r"backbone\.level[12]", key) and not key.endswith("path.4.bias"))


@pytest.mark.parametrize(("name", "method", "options"), [
    ("swin", "lora", {"rank": 1}), ("swin", "arena", {"rank": 1}), ("swin", "adaptformer", {"width": 4}),
    ("unet", "lora", {"rank": 1}), ("unet", "cnn_adapter", {}), ("unet", "spatial_adapter", {})])
def test_what_begins_at_zero_is_not_taken_for_dead(name, method, options):
    found = dead(name, method, X if name == "swin" else CUBE, **options)[0]
    assert not {key: count for key, count in found.items() if count}


def test_a_relu_that_is_shut_at_the_start_is_not_dead_and_a_bias_before_a_norm_is():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), nn.LayerNorm(2, bias=False))
    nn.init.constant_(model[0].bias, -50)
    model[2].bias.requires_grad_(False)
    assert not any(census(model, torch.rand(5, 3)).values())
    normed = nn.Sequential(nn.Conv1d(3, 2, kernel_size=3), nn.InstanceNorm1d(2))
    assert census(normed, torch.rand(2, 3, 20)) == {"0.weight": 0, "0.bias": 2}


def test_effective_rank():
    random = torch.Generator().manual_seed(0)
    u, v = torch.randn(7, 1, generator=random), torch.randn(1, 5, generator=random)
    assert effective_rank(torch.eye(6)) == pytest.approx(6) and effective_rank(3 * torch.eye(4, 9)) == pytest.approx(4)
    assert effective_rank(u @ v) == pytest.approx(1, abs=1e-4) and effective_rank(torch.zeros(4, 4)) == 0
    assert effective_rank(torch.zeros(6, 0) @ torch.zeros(0, 6)) == 0  # all ranks pruned
    assert 1 < effective_rank(torch.diag(torch.tensor([1.0, 0.1]))) < 2
    kernel = torch.zeros(4, 4, 3, 3, 3)
    kernel[:, :, 1, 1, 1] = torch.eye(4)
    assert effective_rank(kernel) == pytest.approx(4)


def test_a_probe_keeps_few_activations():
    methods = ("full", "linear_probe", "spatial_adapter", "bitfit")
    full, probe, spatial, bitfit = (activation_bytes(attach(base("unet"), method).model, CUBE) for method in methods)
    assert probe == 4 * 4 * 16**3  # Z alone: 4 channels of 4 bytes a voxel
    assert probe < spatial < full / 2 and bitfit <= full


def test_activations_are_counted_once_and_weights_not():
    layer = nn.Linear(8, 8)
    x = torch.rand(3, 8)
    assert activation_bytes(layer, x) == 0  # x and the weight
    assert activation_bytes(nn.Sequential(layer, nn.Sigmoid()), x) == 3 * 8 * 4
    assert activation_bytes(nn.Sequential(layer, nn.Sigmoid(), nn.Linear(8, 1)), x) == 3 * 8 * 4  # shared by two


def test_it_says_what_it_found():
    fresh = attach(base("unet"), "lora", ["liver", "lung_lower_lobe_left"], rank=2)
    report = fresh.report()
    assert report.count == fresh.count and report.side == 16 and report.away == 0 and set(report.ranks.values()) == {0.0}
    assert report.total == sum(weight.numel() for weight in fresh.model.parameters())
    assert report.groups["head.weight"] == 8 and report.groups["level*.*.conv.A"] > 0
    text = str(report)
    assert "begins as the base model" in text and f"lora: {fresh.count:,} of {report.total:,}" in text and "dead: 0 (0%)" in text
    report = trained(fresh).report(24)
    assert report.away > 0 and report.side == 24 and all(0 < rank <= 2.0001 for rank in report.ranks.values())
    assert "logits differ" in str(report) and report.bytes_training == 16 * fresh.count
    assert "1,440 of them dead" not in str(report) and str(attach(base("suprem"), "bitfit").report()).count("of them dead") == 1


@pytest.mark.parametrize("name", ["unet", "running"])
def test_asking_changes_nothing(name):
    adapter = trained(attach(base(name), "affine"))
    model = adapter.model
    adapter.model.train()
    model.backbone.eval()  # as one who freezes statistics has it
    for weight in adapter.trainable.values():
        weight.grad = torch.ones_like(weight)
    before, rng = state_of(model), torch.get_rng_state()
    with torch.no_grad():
        report = adapter.report()
    assert same(state_of(model), before) and torch.equal(torch.get_rng_state(), rng)
    assert report.bytes_activations > 0 and report.count == adapter.count
    assert all((weight.grad == 1).all() for weight in adapter.trainable.values())
    assert all(weight.grad is None for weight in model.parameters() if not weight.requires_grad)


def test_a_cube_that_cannot_be_is_refused_and_nothing_is_changed():
    adapter = trained(attach(base("unet"), "full"))
    before = state_of(adapter.model.train())
    for side in (12, 8, 0):
        with pytest.raises(ModelError, match="Nano was given a volume of"):
            adapter.report(side)
    assert same(state_of(adapter.model), before)


def test_kinds():
    assert kind("backbone.swinViT.layers1.0.blocks.1.attn.qkv.base.weight") == "swinViT.layers*.*.blocks.*.attn.qkv.weight"
    assert kind("head.1.weight") == "head.*.weight" and kind("backbone.level2.0.conv.base.bias") == "level*.*.conv.bias"
