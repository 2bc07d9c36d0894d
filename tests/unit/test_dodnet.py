"""DoDNet: the dynamic head by the letter, standardised weights, tasks apart, what its loss leaves alone, loading, bad input."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from fmlab import hub
from fmlab.backbones import Backbone, Segmenter, linear_head
from fmlab.errors import ModelError
from fmlab.pretraining.dodnet import DoDNet, StandardisedConv
from fmlab.pretraining.dynamic_head import dynamic_head, parameter_count
from fmlab.pretraining.published import dodnet as loss

TINY = dict(tasks=3, widths=(4, 4, 8, 8), groups=2, hidden=4)


def model(seed=0, **changes):
    torch.manual_seed(seed)
    return DoDNet(**(TINY | changes)).eval()


def test_dynamic_head_by_the_letter():
    """Each sample's three convolutions, cut out of its numbers by hand, in the official order: weights first, then biases."""
    torch.manual_seed(0)
    assert parameter_count(8, 2) == 162
    z, theta = torch.randn(3, 8, 2, 3, 4), torch.randn(3, 162)
    for n in range(3):
        t = theta[n]
        h = F.conv3d(z[n:n + 1], t[:64].view(8, 8, 1, 1, 1), t[144:152]).relu()
        h = F.conv3d(h, t[64:128].view(8, 8, 1, 1, 1), t[152:160]).relu()
        wanted = F.conv3d(h, t[128:144].view(2, 8, 1, 1, 1), t[160:])
        assert torch.allclose(dynamic_head(z, theta[:, None], outputs=2)[n:n + 1], wanted, atol=1e-5)


def test_weights_are_standardised_whatever_they_are():
    conv = StandardisedConv(4, 5)
    x = torch.randn(1, 4, 5, 5, 5)
    before = conv(x)
    with torch.no_grad():
        conv.weight.mul_(7).add_(3)
    assert torch.allclose(conv(x), before, atol=1e-3)
    flat = conv.weight.detach().flatten(1)
    by_hand = F.conv3d(x, ((flat - flat.mean(1, keepdim=True)) / flat.std(1, keepdim=True)).view_as(conv.weight), padding=1)
    assert torch.allclose(conv(x), by_hand, atol=1e-4)


@torch.no_grad()
def test_tasks_of_one_batch_come_out_as_if_alone():
    net, x = model(), torch.randn(2, 1, 16, 32, 16)
    together = net(x, torch.tensor([2, 0]))
    assert together.shape == (2, 2, 16, 32, 16)
    assert torch.allclose(together[:1], net(x[:1], 2), atol=1e-5) and torch.allclose(together[1:], net(x[1:], [0]), atol=1e-5)
    every = net.every_task(x)
    assert every.shape == (2, 3, 2, 16, 32, 16)
    assert torch.allclose(every[0, 2], together[0], atol=1e-5) and torch.allclose(every[1, 0], together[1], atol=1e-5)
    assert (every[0, 0] - every[0, 1]).abs().max() > 1e-3  # the code is heard


def test_a_task_without_tumours_teaches_none():
    net = model().train()
    logits = net(torch.randn(2, 1, 16, 16, 32), [0, 1])
    logits.retain_grad()
    target = torch.randint(0, 2, logits.shape).float()
    target[1, 1] = -1  # the second one's task draws no tumour
    loss(logits, target, torch.tensor([[1, 1], [1, 0]])).backward()
    assert not logits.grad[1, 1].any() and logits.grad[1, 0].any()
    assert not net.controller.weight.grad[:, -1].any()  # nobody asked for task 2
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


def test_it_is_a_backbone_too():
    net = model()
    assert isinstance(net, Backbone)
    x = torch.randn(1, 1, 16, 16, 32)
    deep, z = net.deep_and_features(x)
    assert deep.shape == (1, net.deep_channels, 1, 1, 2) and z.shape == (1, net.channels, 16, 16, 32)
    assert Segmenter(net, linear_head(net.channels, 5))(x).shape == (1, 5, 16, 16, 32)


def test_counts():
    with torch.device("meta"):
        net = hub.build("dodnet")
    assert sum(p.numel() for p in net.parameters()) == 17_329_528
    without = sum(p.numel() for name, p in net.named_parameters() if not name.startswith("controller"))
    assert without == 17_286_760  # the 17.29 M of SuPreM's table
    assert sum(p.numel() for p in hub.build("dodnet", size="nano").parameters()) <= 1_450_000  # 6 MB


def test_official_layouts(capsys):
    theirs, ours = model(1), model(2)
    report = hub.load_official(ours, {"model": {f"module.{k}": v for k, v in theirs.state_dict().items()}, "epoch": 999})
    assert len(report.matched) == len(ours.state_dict()) and "0 missing, 0 unexpected" in capsys.readouterr().out
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), theirs.state_dict().values()))
    other = model(3, tasks=4)  # one task more: everything but the controller
    report = hub.load_official(other, theirs.state_dict(), allow_missing=("controller.weight",))
    assert report.missing == ("controller.weight",)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: hub.build("dodnet", size="huge"), "published, nano"),
    (lambda: model(widths=(4, 4, 6, 9)), "multiples of 2"),
    (lambda: model(tasks=0), "at least 1"),
    (lambda: model()(torch.zeros(1, 1, 16, 16, 20), 0), "multiple of 16"),
    (lambda: model()(torch.zeros(1, 1, 16, 16, 32), 3), "numbered 0 to 2"),
    (lambda: model()(torch.zeros(1, 1, 16, 16, 16), -1), "no task"),
    (lambda: model()(torch.zeros(2, 1, 16, 16, 16), [0]), "one a sample"),
    (lambda: model()(torch.zeros(2, 1, 16, 16, 16), 0.5), "whole number"),
])
def test_refused(call, words):
    with pytest.raises(ModelError) as error:
        call()
    assert words in str(error.value)
