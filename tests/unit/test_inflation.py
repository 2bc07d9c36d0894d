"""Inflation, slices along three axes, and what convolutions cost: the promises, their limits, and bad input."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fmlab.backbones.counting import Costs, Layer, costs, multiply_adds
from fmlab.errors import ModelError
from fmlab.lessons.flat_nets import UNet
from fmlab.pretraining.inflation import inflate, inflated, taps
from fmlab.slice_inference import along, slices_of, voted


def settled(net: nn.Module, seed: int = 0) -> nn.Module:
    """The network with random weights and random statistics in its batch norms, in eval mode."""
    rng = torch.Generator().manual_seed(seed)
    for value in net.state_dict().values():
        if value.ndim > 1:
            value.copy_(torch.randn(value.shape, generator=rng) * (2 / value[0].numel()) ** 0.5)
        elif value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=rng) + 0.5)
    return net.eval()


def plain(dims: int, transposed: bool = False) -> nn.Sequential:
    """A few layers without norm; with ``transposed`` down and up again."""
    conv, up = (nn.Conv2d, nn.ConvTranspose2d) if dims == 2 else (nn.Conv3d, nn.ConvTranspose3d)
    if transposed:
        return nn.Sequential(conv(1, 4, 3, padding=1), nn.ReLU(), conv(4, 6, 3, stride=2, padding=1), nn.ReLU(), up(6, 2, 2, 2))
    return nn.Sequential(conv(1, 4, 3, padding=1), nn.ReLU(), conv(4, 3, 5, padding=2), nn.ReLU(), conv(3, 2, 1))


def constant(picture: torch.Tensor, axis: int, depth: int) -> torch.Tensor:
    return picture.unsqueeze(2 + axis).repeat_interleave(depth, 2 + axis)


# ---- kernels

def test_a_kernel_by_hand():
    kernel = torch.arange(12.0).view(2, 1, 2, 3)
    mean, centre = inflated(kernel, 3), inflated(kernel, 3, "centre")
    assert mean.shape == centre.shape == (2, 1, 2, 3, 3)
    assert all(torch.allclose(mean[..., k], kernel / 3) for k in range(3))
    assert torch.equal(centre[..., 1], kernel) and not centre[..., [0, 2]].any()


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("how", ["mean", "centre"])
def test_the_planes_of_a_kernel_add_up_to_it_whatever_the_axis(how, axis):
    kernel = torch.randn(3, 2, 3, 5, generator=torch.Generator().manual_seed(1))
    grown = inflated(kernel, 7, how, axis)
    assert grown.shape[2 + axis] == 7
    assert torch.allclose(grown.sum(2 + axis), kernel, atol=1e-6)


@pytest.mark.parametrize(("depth", "how", "stride", "expected"), [
    (3, "mean", 1, [1 / 3] * 3), (3, "centre", 1, [0, 1, 0]), (1, "centre", 1, [1]), (2, "mean", 2, [1, 1]),
    (2, "centre", 2, [1, 1]), (4, "mean", 2, [0.5] * 4), (4, "centre", 2, [0, 1, 1, 0])])
def test_taps(depth, how, stride, expected):
    assert taps(depth, how, stride).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(("arguments", "words"), [
    ((2, "centre"), "no middle plane"), ((3, "mean", 2), "no equal share"), ((1, "centre", 3), "no middle plane"),
    ((0, "mean"), "depth of 0"), ((3, "median"), "mean or centre")])
def test_depths_that_cannot_be(arguments, words):
    with pytest.raises(ModelError, match=words):
        taps(*arguments)


def test_kernels_and_axes_that_cannot_be():
    with pytest.raises(ModelError, match="2-D convolution"):
        inflated(torch.zeros(2, 1, 3, 3, 3), 3)
    with pytest.raises(ModelError, match="no axis 3"):
        inflated(torch.zeros(2, 1, 3, 3), 3, axis=3)


# ---- networks: what inflation promises

@pytest.mark.parametrize("axis", [0, 1, 2])
def test_inflated_by_mean_a_constant_volume_gets_the_flat_answer_inside(axis):
    flat, solid = settled(plain(2)), plain(3)
    inflate(flat, solid, "mean", axis)
    picture = torch.randn(1, 1, 9, 11, generator=torch.Generator().manual_seed(2))
    answer, expected = solid(constant(picture, axis, 13)), flat(picture)
    inside = answer.narrow(2 + axis, 3, 7)  # 1 + 2 slices at each end have zeros in reach
    assert torch.allclose(inside, constant(expected, axis, 7), atol=1e-5)
    assert not torch.allclose(answer.select(2 + axis, 0), expected, atol=1e-3)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_inflated_at_the_centre_it_is_the_flat_network_slice_by_slice(axis):
    flat, solid = settled(plain(2)), plain(3)
    report = inflate(flat, solid, "centre", axis)
    volume = torch.randn(2, 1, 7, 8, 9, generator=torch.Generator().manual_seed(3))
    answer = solid(volume)
    for place in range(volume.shape[2 + axis]):
        assert torch.allclose(answer.select(2 + axis, place), flat(volume.select(2 + axis, place)), atol=1e-5)
    assert report.strided == () and report.per_sample == ()


@pytest.mark.parametrize("how", ["mean", "centre"])
def test_down_and_up_again_keeps_the_size_of_values(how):
    """A transposed convolution of 2 places at stride 2 reaches each output once, so its planes are not halved."""
    flat, solid = settled(plain(2, transposed=True)), plain(3, transposed=True)
    report = inflate(flat, solid, how)
    picture = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(4))
    assert torch.allclose(solid(constant(picture, 2, 16))[..., 6:10], constant(flat(picture), 2, 4), atol=1e-5)
    assert report.strided == ("2", "4")


def test_the_lessons_u_net_is_the_flat_one_slice_by_slice_where_it_keeps_all_slices():
    flat, solid = settled(UNet(2, classes=3, width=4)), UNet(3, classes=3, width=4, across=1).eval()
    report = inflate(flat, solid, "centre")
    volume = torch.rand(1, 1, 16, 16, 8, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        answer = solid(volume)
        slices = flat(volume[0].movedim(3, 0))
    assert torch.allclose(answer[0].movedim(3, 0), slices, atol=1e-4)
    assert report.strided == () and len(report.inflated) == 14 and len(report.inflated) + len(report.copied) == len(
        flat.state_dict())


def test_with_a_stride_across_it_is_not_and_the_report_says_which_layers_leave_slices_out():
    flat, solid = settled(UNet(2, classes=3, width=4)), UNet(3, classes=3, width=4).eval()
    report = inflate(flat, solid, "centre")
    volume = torch.rand(1, 1, 16, 16, 8, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        assert not torch.allclose(solid(volume)[0].movedim(3, 0), flat(volume[0].movedim(3, 0)), atol=0.1)
        alike = constant(volume[..., 0], 2, 8)
        assert torch.allclose(solid(alike)[..., 3], flat(volume[..., 0]), atol=1e-4)
    assert "level2.0.conv" in report.strided and "up1.up" in report.strided and "level1.conv" not in report.strided
    assert "level2.0.conv" in str(report)


def test_norms_over_the_sample_are_named():
    flat = nn.Sequential(nn.Conv2d(1, 4, 3), nn.InstanceNorm2d(4, affine=True), nn.GroupNorm(2, 4))
    solid = nn.Sequential(nn.Conv3d(1, 4, 3), nn.InstanceNorm3d(4, affine=True), nn.GroupNorm(2, 4))
    report = inflate(flat, solid)
    assert report.per_sample == ("1", "2") and "statistics of the whole volume: 1, 2" in str(report)


# ---- networks: what does not fit

def test_what_does_not_fit_is_named_and_nothing_is_written():
    flat, solid = settled(UNet(2, classes=3, width=4)), UNet(3, classes=4, width=4)
    before = {name: value.clone() for name, value in solid.state_dict().items()}
    with pytest.raises(ModelError, match=r"head.weight of \(3, 4, 1, 1\) does not fit \(4, 4, 1, 1, 1\)"):
        inflate(flat, solid)
    assert all(torch.equal(value, before[name]) for name, value in solid.state_dict().items())


def test_other_names_are_refused():
    with pytest.raises(ModelError, match="lacks 4.bias, 4.weight and has 2.bias, 2.weight"):
        inflate(nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU(), nn.Conv2d(1, 1, 3)),
                nn.Sequential(nn.Conv3d(1, 1, 3), nn.ReLU(), nn.ReLU(), nn.ReLU(), nn.Conv3d(1, 1, 3)))


def test_a_solid_network_cannot_be_the_flat_one():
    with pytest.raises(ModelError, match="does not fit"):
        inflate(plain(3), plain(2))


@pytest.mark.parametrize("shape", [(1, 1, 16, 16), (1, 2, 16, 16, 16), (1, 1, 16, 16, 12)])
def test_the_lessons_u_net_says_what_it_takes(shape):
    with pytest.raises(ModelError, match="multiples of 8"):
        UNet(3, classes=2, width=2)(torch.zeros(shape))
    with pytest.raises(ModelError, match="2 for slices"):
        UNet(1, classes=2)


# ---- slices along three axes

def bright(slices: torch.Tensor) -> torch.Tensor:
    """A network of slices that knows which row is which: (N, A, B) to (N, 2, A, B)."""
    p = slices * torch.linspace(0.1, 1, slices.shape[1])[:, None]
    return torch.stack([1 - p, p], 1)


def test_along_an_axis_each_slice_is_asked_and_comes_back_to_its_place():
    volume = torch.rand(4, 5, 6, generator=torch.Generator().manual_seed(6))
    for axis in range(3):
        found = along(bright, volume, axis)
        assert found.shape == (2, 4, 5, 6)
        for place in range(volume.shape[axis]):
            assert torch.equal(found.select(1 + axis, place), bright(volume.select(axis, place)[None])[0])


def test_the_vote_is_the_mean_of_the_three():
    volume = torch.rand(4, 5, 6, generator=torch.Generator().manual_seed(7))
    assert torch.allclose(voted(bright, volume), sum(along(bright, volume, axis) for axis in range(3)) / 3)
    assert torch.equal(voted(bright, volume, (1,)), along(bright, volume, 1))


def test_a_stack_has_neighbours_and_the_last_slice_again_at_the_ends():
    class First(nn.Module):
        def forward(self, x):
            self.seen = x
            return torch.stack([x[:, 0], x[:, 2]], 1)

    model, slices = First(), torch.arange(5.0)[:, None, None].expand(5, 3, 9)
    found = slices_of(model, stack=3)(slices)
    assert model.seen.shape == (5, 3, 8, 16) and found.shape == (5, 2, 3, 9)
    assert model.seen[:, :, 0, 0].tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 4]]


def test_slices_that_cannot_be():
    with pytest.raises(ModelError, match="give a volume"):
        along(bright, torch.zeros(4, 5, 6), 3)
    with pytest.raises(ModelError, match="were answered with"):
        along(lambda slices: slices, torch.zeros(4, 5, 6))


# ---- costs

LAYERS = [Layer(1, 8), Layer(8, 16, stride=2), Layer(16, 16), Layer(16, 4, kernel=1)]


@pytest.mark.parametrize("dims", [2, 3])
def test_costs_are_those_of_the_real_thing(dims):
    conv = nn.Conv2d if dims == 2 else nn.Conv3d
    stack = nn.Sequential(*[conv(i, o, k, stride=s, padding=k // 2, bias=False) for i, o, k, s in LAYERS])
    found, side, values = costs(LAYERS, dims, 15), 15, []
    for layer in stack:
        layer.register_forward_hook(lambda module, given, answer: values.append(answer.numel()))
    assert found.parameters == sum(p.numel() for p in stack.parameters())
    assert found.multiply_adds == multiply_adds(stack, (1, 1, *[side] * dims))
    assert found.values == sum(values)
    for p in stack.parameters():
        nn.init.ones_(p)
    x = torch.zeros(1, 1, *[side] * dims, requires_grad=True)
    stack(x)[(0, 0, *[4] * dims)].backward()
    assert found.field == int((x.grad != 0).sum()) == 9**dims


def test_costs_of_nothing_and_of_layers_that_do_not_follow():
    assert costs([], 3, 8) == Costs(0, 0, 0, 1)
    with pytest.raises(ModelError, match="8 outputs is followed by one of 16 inputs"):
        costs([Layer(1, 8), Layer(16, 8)], 2, 8)
