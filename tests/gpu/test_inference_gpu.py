"""On a CUDA device a whole scan gets the logits and labels that it gets on the CPU."""

import contextlib

import numpy as np
import pytest
import torch

from fmlab import hub, inference
from fmlab.volume import Volume
from fmlab.windows import WIDE

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")]


@pytest.fixture(autouse=True)
def full_precision():
    """Convolutions in float32 proper: TF32, their default on CUDA, keeps 10 bits."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def network():
    torch.manual_seed(0)
    model = hub.build("universal", structures=["liver", "spleen", "aorta"], width=8)
    torch.nn.init.zeros_(model.head.bias)
    return model


def scan():
    image = torch.randn(1, 40, 36, 50, generator=torch.Generator().manual_seed(0)) * 80 + 40
    image[:, :8] = -1000
    return Volume(image, np.diag([4.0, 4.0, 4.0, 1.0]))


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_sliding_logits_agree(precision, monkeypatch):
    cpu, cuda, values = network(), network().cuda(), WIDE(scan().image)
    if precision == "float32":
        monkeypatch.setattr(inference.torch, "autocast", lambda *args, **kwargs: contextlib.nullcontext())
    here, there = inference.sliding_logits(cpu, values, 32), inference.sliding_logits(cuda, values, 32)
    assert there.device.type == "cpu" and there.dtype is torch.float32
    allowed = 1e-4 if precision == "float32" else 0.05
    assert (here - there).abs().max() <= allowed * here.abs().max()


def test_labels_agree_wherever_the_scan_lies():
    here = inference.segment(network(), scan(), side=32, crumb_ml=0)
    for volume in (scan(), scan().to("cuda")):
        there = inference.segment(network().cuda(), volume, side=32, crumb_ml=0)
        assert there.labels.device == volume.image.device
        assert (here.labels == there.labels.cpu()).float().mean() > 0.97  # bf16: near ties may fall the other way
    assert len(here.structures) > 1
