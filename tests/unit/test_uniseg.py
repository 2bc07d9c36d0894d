"""UniSeg: the prompt depends on the image, tasks apart, scales for the loss, channels beyond the task, transfer, bad input."""

from __future__ import annotations

import pytest
import torch

from fmlab import hub
from fmlab.errors import ModelError
from fmlab.pretraining.published import uniseg as loss
from fmlab.pretraining.uniseg import CUBE, FLAT, UniSeg, downstream, load_downstream

TINY = dict(patch=(4, 8, 8), tasks=3, inputs=(1, 2), base=4, most=12, pools=((1, 2, 2), (2, 2, 2)), kernels=(FLAT, CUBE, CUBE))


def model(seed=0, **changes):
    torch.manual_seed(seed)
    return UniSeg(**(TINY | changes)).eval()


@torch.no_grad()
def test_tasks_of_one_batch_come_out_as_if_alone():
    net, x = model(), torch.randn(2, 1, 4, 8, 8)
    together = net(x, torch.tensor([2, 0]))
    assert together.shape == (2, 4, 4, 8, 8)
    assert torch.allclose(together[:1], net(x[:1], 2), atol=1e-5) and torch.allclose(together[1:], net(x[1:], [0]), atol=1e-5)
    every = net.every_task(x)
    assert every.shape == (2, 3, 4, 4, 8, 8)
    assert torch.allclose(every[0, 2], together[0], atol=1e-5) and torch.allclose(every[1, 0], together[1], atol=1e-5)
    assert (every[0, 0] - every[0, 1]).abs().max() > 1e-3


@torch.no_grad()
def test_the_prompt_is_the_images_own():
    net = model()
    prompts = [net.fuse(net.encode(torch.randn(1, 2, 4, 8, 8))[1]) for _ in range(2)]
    assert prompts[0].shape == (1, 3, 2, 2, 2) and (prompts[0] - prompts[1]).abs().max() > 1e-3


@torch.no_grad()
def test_each_number_of_modalities_has_its_own_first_convolution():
    net = model()
    x = torch.randn(1, 2, 4, 8, 8)
    before = net(x, 0), net(x[:, :1], 0)
    net.conv_blocks_context[0].blocks[0].conv_2.weight.neg_()
    assert not torch.allclose(net(x, 0), before[0]) and torch.equal(net(x[:, :1], 0), before[1])


def test_scales_train_and_what_a_task_does_not_use_stays():
    net = model().train()
    x = torch.randn(2, 1, 4, 8, 8)
    scales = net.scales(x, 1)
    assert [tuple(s.shape) for s in scales] == [(2, 4, 4, 8, 8), (2, 4, 4, 4, 4)]
    loss(scales, [torch.randint(0, 3, (2, 1, *s.shape[2:])) for s in scales], classes=3, weights=[2 / 3, 1 / 3]).backward()
    for head in net.seg_outputs:
        assert not head.weight.grad[3:].any() and head.weight.grad[:3].any()
    assert net.intermedia_prompt.grad.any()
    unused = [name for name, p in net.named_parameters() if p.grad is None]
    assert unused == [f"conv_blocks_context.0.blocks.0.conv_2.{part}" for part in ("weight", "bias")]
    assert len(net.eval().scales(x, 1)) == 1


def test_downstream_takes_all_but_prompt_and_heads(capsys):
    theirs, ours = model(1), model(2, tasks=0, classes=2)
    checkpoint = {"state_dict": {f"module.{key}": value for key, value in theirs.state_dict().items()}, "epoch": 1000}
    head = ours.seg_outputs[0].weight.clone()
    report = load_downstream(ours, checkpoint)
    assert report.missing == ("seg_outputs.0.weight", "seg_outputs.1.weight") and not report.unexpected
    assert "2 missing" in capsys.readouterr().out and torch.equal(ours.seg_outputs[0].weight, head)
    assert torch.equal(ours.tu[0].weight, theirs.tu[0].weight[:-1])
    assert ours(torch.randn(1, 1, 8, 16, 8)).shape == (1, 2, 8, 16, 8)  # without a prompt any size will do
    again = load_downstream(model(3, tasks=0, classes=2), ours.state_dict())  # what was fine-tuned has no prompt to cut off
    assert len(again.matched) == len(report.matched)
    assert "tu.0.weight" in downstream(ours.state_dict())


def test_counts_and_official_layout():
    with torch.device("meta"):
        net = hub.build("uniseg")
    assert sum(p.numel() for p in net.parameters()) == 32_114_381
    assert sum(p.numel() for p in hub.build("uniseg", size="nano").parameters()) <= 1_450_000  # 6 MB
    theirs, ours = model(1), model(2)
    hub.load_official(ours, {"state_dict": {f"module.{k}": v for k, v in theirs.state_dict().items()}})
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), theirs.state_dict().values()))


@pytest.mark.parametrize(("call", "words"), [
    (lambda: hub.build("uniseg", size="huge"), "published, nano"),
    (lambda: model(patch=(4, 8, 10)), "multiples of (2, 4, 4)"),
    (lambda: model(kernels=(CUBE, CUBE)), "one kernel more"),
    (lambda: model(classes=0), "at least 1"),
    (lambda: model()(torch.zeros(1, 1, 8, 8, 8), 0), "slide windows"),
    (lambda: model()(torch.zeros(1, 3, 4, 8, 8), 0), "1 or 2"),
    (lambda: model()(torch.zeros(1, 1, 4, 8, 8)), "3 tasks, so name one"),
    (lambda: model()(torch.zeros(1, 1, 4, 8, 8), 3), "no task"),
    (lambda: model(tasks=0)(torch.zeros(1, 1, 4, 8, 8), 1), "no prompt"),
    (lambda: model(tasks=0).every_task(torch.zeros(1, 1, 4, 8, 8)), "no prompt"),
    (lambda: model(tasks=0)(torch.zeros(1, 1, 4, 8, 9)), "multiple"),
])
def test_refused(call, words):
    with pytest.raises(ModelError) as error:
        call()
    assert words in str(error.value)
