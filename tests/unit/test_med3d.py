"""Med3D: counts, dilations, both shortcuts, branches apart, labels on the head's grid, loading, bad input."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from fmlab import hub
from fmlab.errors import ModelError, ScanError
from fmlab.pretraining.med3d import Basic, Bottleneck, Med3D, Subsampled, branch_loss, released_loss

BRANCHES = {"liver": 3, "spleen": 2}


def model(seed=0, **changes):
    torch.manual_seed(seed)
    return Med3D(**(dict(depth=10, width=4) | changes))


@pytest.mark.parametrize(("depth", "whole", "encoder"), [
    (10, 14_514_464, 14_355_520), (18, 33_145_120, 32_986_176), (34, 63_454_752, 63_295_808), (50, 46_707_232, 46_155_072)])
def test_counts(depth, whole, encoder):
    with torch.device("meta"):
        counts = [sum(p.numel() for p in hub.build("med3d", depth=depth, classes=k).parameters()) for k in (2, None)]
    assert counts == [whole, encoder]


def test_nano_is_small():
    assert sum(p.numel() for p in hub.build("med3d", size="nano", classes=BRANCHES).parameters()) <= 1_450_000  # 6 MB


def test_later_layers_look_further_instead_of_shrinking():
    net = model(depth=50, width=2)
    convolutions = {n: net.get_submodule(f"layer{n}.0.conv2") for n in (1, 2, 3, 4)}
    assert [c.dilation[0] for c in convolutions.values()] == [1, 1, 2, 4]
    assert [c.stride[0] for c in convolutions.values()] == [1, 2, 1, 1]
    assert net.encode(torch.zeros(1, 1, 16, 24, 9)).shape == (1, 64, 2, 3, 2)
    assert [type(block) for block in (net.layer4[0], model().layer4[0])] == [Bottleneck, Basic]


def test_shortcut_a_adds_zeros_and_has_no_parameters():
    x = torch.randn(2, 3, 4, 5, 6)
    y = Subsampled(2, stride=2)(x)
    assert torch.equal(y[:, :3], F.avg_pool3d(x, 1, 2)) and y.shape == (2, 5, 2, 3, 3) and not y[:, 3:].any()
    assert type(model(depth=18).layer3[0].downsample) is Subsampled
    assert [type(m).__name__ for m in model(depth=10).layer3[0].downsample] == ["Conv3d", "BatchNorm3d"]
    assert type(model(depth=10, shortcut="A").layer3[0].downsample) is Subsampled


def test_a_branch_learns_from_its_own_data_set_only():
    net, x = model(classes=BRANCHES), torch.randn(2, 1, 16, 16, 16)
    labels = torch.randint(0, 2, (2, 1, 16, 16, 16))
    branch_loss(net, x, labels, ["liver", "liver"]).backward()
    assert all(p.grad is None for p in net.conv_seg["spleen"].parameters())
    assert all(p.grad is not None and p.grad.any() for p in net.conv_seg["liver"].parameters() if p.ndim == 5)
    assert net.conv1.weight.grad.any()


@torch.no_grad()
def test_mixed_batches_come_out_in_their_order():
    net, x = model(classes=BRANCHES).eval(), torch.randn(3, 1, 16, 8, 13)
    found = net.of_datasets(x, ["liver", "spleen", "liver"])
    assert [tuple(f.shape) for f in found] == [(1, 3, 16, 8, 13), (1, 2, 16, 8, 13), (1, 3, 16, 8, 13)]
    for n, name in enumerate(["liver", "spleen", "liver"]):
        assert torch.allclose(found[n], net.whole(x[n:n + 1], name), atol=1e-5)
    labels = torch.randint(0, 2, (3, 1, 16, 8, 13))
    by_hand = sum(F.cross_entropy(f, y.long()) for f, y in zip(found, labels)) / 3
    assert torch.allclose(branch_loss(net, x, labels, ["liver", "spleen", "liver"]), by_hand)


def test_released_loss_is_at_a_quarter_of_the_sides():
    net, x = model().eval(), torch.randn(1, 1, 16, 16, 16)
    labels = torch.zeros(1, 1, 16, 16, 16, dtype=torch.uint8)
    before = released_loss(net, x, labels)
    labels[0, 0, 1, 1, 1] = 1  # between the voxels that are read
    assert torch.equal(released_loss(net, x, labels), before)
    labels[0, 0, 4, 4, 4] = 1
    assert not torch.equal(released_loss(net, x, labels), before)
    wanted = F.cross_entropy(net(x), labels[:, 0, ::4, ::4, ::4].long())
    assert torch.allclose(released_loss(net, x, labels), wanted)


def test_released_encoders_fit(capsys):
    theirs = model(1, classes=None)
    checkpoint = {"state_dict": {f"module.{k}": v for k, v in theirs.state_dict().items()}, "epoch": 1, "optimizer": {}}
    report = hub.load_official(model(2, classes=None), checkpoint)
    assert len(report.matched) == len(theirs.state_dict()) and "0 missing" in capsys.readouterr().out
    branched = model(3, classes=BRANCHES)
    report = hub.load_official(branched, checkpoint, allow_missing=("conv_seg.",))
    assert {key.split(".")[0] for key in report.missing} == {"conv_seg"} and torch.equal(branched.bn1.weight, theirs.bn1.weight)
    with pytest.raises(ModelError, match="missing"):
        hub.load_official(model(4), checkpoint)
    encoder = model(5, classes=None)
    hub.load_official(encoder, branched.state_dict(), allow_unexpected=("conv_seg.",))  # the decoders are thrown away
    assert torch.equal(encoder.conv1.weight, theirs.conv1.weight)


def test_hub_saves_and_loads_branches(tmp_path):
    net = hub.build("med3d", size="nano", width=4, classes=BRANCHES)
    again = hub.load("med3d", hub.save(net, tmp_path / "med3d.safetensors"))
    x = torch.randn(1, 1, 8, 8, 16)
    with torch.no_grad():
        assert torch.equal(net.eval().whole(x, "spleen"), again.whole(x, "spleen"))


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda: hub.build("med3d", size="huge"), ModelError, "published, nano"),
    (lambda: model(depth=12), ModelError, "10, 18, 34"),
    (lambda: model(shortcut="C"), ModelError, "'A' and 'B'"),
    (lambda: model(classes=1), ModelError, "background"),
    (lambda: model(classes={}), ModelError, "background"),
    (lambda: model(classes={"liver": 1}), ModelError, "background"),
    (lambda: model()(torch.zeros(1, 2, 8, 8, 8)), ModelError, "takes (B, 1"),
    (lambda: model()(torch.zeros(1, 1, 8, 8, 8), "liver"), ModelError, "one head"),
    (lambda: model(classes=None)(torch.zeros(1, 1, 8, 8, 8)), ModelError, "no head"),
    (lambda: model(classes=BRANCHES)(torch.zeros(1, 1, 8, 8, 8)), ModelError, "branch a data set"),
    (lambda: model(classes=BRANCHES)(torch.zeros(1, 1, 8, 8, 8), "lung"), ModelError, "liver, spleen"),
    (lambda: model(classes=BRANCHES).of_datasets(torch.zeros(2, 1, 8, 8, 8), ["liver"]), ModelError, "one a sample"),
    (lambda: released_loss(model().eval(), torch.zeros(1, 1, 8, 8, 8), torch.zeros(1, 8, 8, 8)), ScanError, "one a voxel"),
    (lambda: branch_loss(model(classes=BRANCHES).eval(), torch.zeros(1, 1, 8, 8, 8), torch.full((1, 1, 8, 8, 8), 2), ["spleen"]),
     ScanError, "from 0 to 1"),
])
def test_refused(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert words in str(caught.value)
