"""Masked autoencoders: exactly so many blocks are hidden; hidden voxels reach a dense encoder's features and no sparse one's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fmlab.backbones import Nano, SuPreMUNet
from fmlab.errors import ModelError, ScanError
from fmlab.pretraining import mae, sparse_mae
from fmlab.pretraining.mae import grown, hidden_as_mean, hidden_mse, moments, visible_blocks
from fmlab.pretraining.sparse_mae import Densify, SparseMAE, sparse_levels, sparse_norm

SIDES = (32, 24, 16)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


# --- the mask -----------------------------------------------------


@pytest.mark.parametrize(("sides", "block", "hidden"), [((160,) * 3, 16, 750), ((48,) * 3, 8, 162), (SIDES, 8, 18)])
def test_exactly_three_blocks_of_four_are_hidden(sides, block, hidden):
    visible = visible_blocks(3, sides, block)
    assert visible.shape == (3, 1, *(side // block for side in sides)) and visible.dtype is torch.bool
    assert ((~visible).flatten(1).sum(1) == hidden).all()
    assert not torch.equal(visible[0], visible[1])  # a permutation for each sample


@pytest.mark.parametrize("ratio", [0.3, 0.45, 0.6, 0.9])
def test_other_ratios_round_down(ratio):
    assert (~visible_blocks(1, SIDES, 8, ratio)).sum() == int(ratio * 24)


def test_every_block_is_hidden_as_often_as_another():
    share = (~visible_blocks(4000, (16, 16, 16), 8)).float().mean(0)
    assert (share - 0.75).abs().max() < 0.03


def test_a_mask_grows_by_blocks():
    visible = visible_blocks(2, SIDES)
    voxels = grown(visible, SIDES)
    assert torch.equal(voxels[:, :, ::8, ::8, ::8], visible) and torch.equal(voxels[:, :, 7::8, 7::8, 7::8], visible)
    assert torch.equal(grown(visible, visible.shape[2:]), visible)
    assert grown(visible, (2, 2, 1)).all()  # coarser than the blocks: everything counts as visible


def test_hidden_is_zero_after_a_z_score():
    x = 3 + 2 * torch.randn(2, 1, *SIDES)
    voxels = grown(visible_blocks(2, SIDES), SIDES)
    mean, deviation = moments(x)
    seen = (hidden_as_mean(x, voxels) - mean) / deviation
    scored = (x - x.flatten(1).mean(1).view(2, 1, 1, 1, 1)) / x.flatten(1).std(1, correction=0).view(2, 1, 1, 1, 1)
    assert torch.allclose(seen, scored * voxels, atol=1e-5)


# --- the loss -----------------------------------------------------


def test_the_loss_is_of_hidden_voxels_alone():
    x = torch.randn(2, 1, *SIDES)
    voxels = grown(visible_blocks(2, SIDES), SIDES)
    prediction = torch.randn(2, 1, *SIDES, requires_grad=True)
    value = hidden_mse(prediction, x, voxels)
    mean, deviation = moments(x)
    wanted = sum((p - (t - m) / d).square()[~v].sum() for p, t, m, d, v in zip(prediction, x, mean, deviation, voxels))
    assert torch.allclose(value, wanted / (~voxels).sum())
    value.backward()
    assert (prediction.grad[voxels] == 0).all() and (prediction.grad[~voxels] != 0).all()


def test_a_constant_cube_is_no_division_by_zero():
    x = torch.full((1, 1, *SIDES), 0.3)
    assert hidden_mse(torch.zeros_like(x), x, grown(visible_blocks(1, SIDES), SIDES)) < 1e-6


# --- what leaks ---------------------------------------------------


def both(x: torch.Tensor, other: torch.Tensor, visible: torch.Tensor, encode) -> list[float]:
    """How much visible features change at each level when hidden voxels do."""
    changes = []
    for a, b in zip(encode(x), encode(other)):
        seen = grown(visible, a.shape[2:]).expand_as(a)
        changes.append(float((a - b)[seen].abs().max()))
    return changes


@torch.no_grad()
def test_hidden_voxels_leak_in_the_dense_form_and_not_in_the_sparse_one():
    backbone, visible = Nano(width=4), visible_blocks(2, SIDES)
    voxels = grown(visible, SIDES)
    x = torch.rand(2, 1, *SIDES)
    other = torch.where(voxels, x, x + 5 * torch.rand_like(x))
    assert both(x, other, visible, lambda v: sparse_levels(backbone, v, visible)) == [0, 0, 0, 0]
    dense = both(x, other, visible, lambda v: backbone.encode(hidden_as_mean(v, voxels)))  # through the mean that fills the holes
    assert min(dense) > 1e-4
    filled = hidden_as_mean(x, voxels)
    elsewhere = torch.where(voxels, x, filled + 1)  # hidden voxels all alike, but not what they were
    assert min(both(filled, elsewhere, visible, backbone.encode)) > 1e-2  # through convolutions and norms
    assert both(filled, elsewhere, visible, lambda v: sparse_levels(backbone, v, visible)) == [0, 0, 0, 0]


@torch.no_grad()
def test_a_single_hidden_voxel_reaches_far_in_the_dense_form():
    """Also beyond the convolutions' reach: the norm's statistics are of the whole volume."""
    backbone, sides = Nano(width=4), (96, 16, 16)
    visible = torch.ones(1, 1, 12, 2, 2, dtype=torch.bool)
    visible[..., 0, :, :] = False
    x = torch.rand(1, 1, *sides)
    other = x.clone()
    other[..., 3, 3, 3] += 5
    far = (backbone.level1(x) - backbone.level1(other))[..., 90:, :, :]
    assert far.abs().max() > 1e-5
    a, b = (sparse_levels(backbone, v, visible)[0] for v in (x, other))
    assert torch.equal(a, b)


@torch.no_grad()
def test_hidden_positions_hold_nothing_and_all_visible_is_the_plain_encoder():
    backbone = Nano(width=4)
    x, visible = torch.rand(2, 1, *SIDES), visible_blocks(2, SIDES)
    for level in sparse_levels(backbone, x, visible):
        assert (level[~grown(visible, level.shape[2:]).expand_as(level)] == 0).all() and level.any()
    whole = sparse_levels(backbone, x, torch.ones_like(visible))
    for a, b in zip(whole, backbone.encode(x)):
        assert torch.allclose(a, b, atol=1e-5)


def test_the_sparse_norm_is_that_of_the_visible_positions():
    norm = nn.InstanceNorm3d(3, affine=True)
    nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    x, m = torch.randn(2, 3, 4, 4, 4), torch.rand(2, 1, 4, 4, 4) > 0.6
    out = sparse_norm(norm, x, m)
    for n in range(2):
        seen = x[n][:, m[n, 0]]
        wanted = torch.nn.functional.instance_norm(seen[None], weight=norm.weight, bias=norm.bias)[0]
        assert torch.allclose(out[n][:, m[n, 0]], wanted, atol=1e-5)


@torch.no_grad()
def test_tokens_fill_what_is_hidden():
    first, other = Densify(5, first=True), Densify(5, first=False)
    level, m = torch.randn(1, 5, 4, 4, 4), torch.rand(1, 1, 4, 4, 4) > 0.5
    filled = first(level, m)
    assert torch.equal(filled[:, :, ~m[0, 0]], first.token.view(1, 5, 1).expand(-1, -1, int((~m).sum())))
    assert isinstance(first.project, nn.Identity) and other.project.kernel_size == (3, 3, 3)
    assert first.token.abs().max() <= 0.02 and first.token.std() > 0


@torch.no_grad()
def test_the_whole_sparse_network_sees_nothing_hidden_and_two_passes_do_not_mix():
    model = SparseMAE(width=4)
    x, (one, two) = torch.rand(1, 1, *SIDES), visible_blocks(2, SIDES).split(1)
    first = model(x, one)
    model(x, two)
    assert torch.equal(model(x, one), first)
    assert torch.equal(model(x * grown(one, SIDES) + 7 * ~grown(one, SIDES), one), first)
    assert not torch.equal(model(x, two), first)


# --- the losses as trained ----------------------------------------


@pytest.mark.parametrize("method", [mae, sparse_mae])
def test_gradient_reaches_every_parameter(method):
    model = getattr(method, method.__name__.split(".")[-1])(width=4)
    value = method.loss(model, {"image": torch.rand(2, 1, *SIDES)})
    assert 0.2 < value < 5
    value.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_seed_gives_the_same_mask():
    x, model = {"image": torch.rand(2, 1, *SIDES)}, mae.mae(width=2)
    values = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        values.append(mae.loss(model, x).item())
    assert values[0] == values[1] != values[2]


def test_what_does_not_fit_is_refused():
    with pytest.raises(ScanError, match="multiples of it"):
        visible_blocks(1, (32, 24, 20))
    for ratio in (0.0, 1.0):
        with pytest.raises(ScanError, match="hides some and shows some"):
            visible_blocks(1, SIDES, ratio=ratio)
    with pytest.raises(ModelError, match="not of SuPreMUNet"):
        sparse_levels(SuPreMUNet(width=2), torch.rand(1, 1, *SIDES), visible_blocks(1, SIDES))
    with pytest.raises(ScanError, match="one value a block"):
        sparse_levels(Nano(width=2), torch.rand(1, 1, *SIDES), torch.ones(1, 1, 5, 3, 2, dtype=torch.bool))
    lone = torch.zeros(1, 1, 4, 3, 2, dtype=torch.bool)
    lone[0, 0, 0, 0, 0] = True
    with pytest.raises(ScanError, match="fewer than two"):
        sparse_levels(Nano(width=2), torch.rand(1, 1, *SIDES), lone)
