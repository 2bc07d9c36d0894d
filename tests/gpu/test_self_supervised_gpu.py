"""On a CUDA device the pretexts give what they give on the CPU, and their corruptions are drawn there."""

import copy

import pytest
import torch

from fmlab.pretraining import desd, genesis, mae, sparse_mae, swin_ssl, unimiss
from fmlab.pretraining.mae import visible_blocks

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")]

PYRAMID = dict(dims=(8, 16, 16, 32), heads=(1, 2, 2, 4), sides=(32, 32, 16))
LOSSES = {"genesis": genesis, "mae": mae, "sparse_mae": sparse_mae, "swin_ssl": swin_ssl, "desd": desd, "unimiss": unimiss}


def model(name):
    torch.manual_seed(0)
    return getattr(LOSSES[name], name)(**(PYRAMID if name == "unimiss" else dict(width=8)))


def cubes():
    return torch.rand(2, 1, 32, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_finite_and_gradient_flows_also_under_autocast(name):
    net, batch = model(name).cuda(), {"image": cubes().cuda()}
    for enabled in (False, True):
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=enabled):
            value = LOSSES[name].loss(net, batch)
        value.backward()
        assert value.isfinite() and value.dtype is torch.float32
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("name", LOSSES)
@torch.no_grad()
def test_cuda_equals_cpu(name):
    here, x = model(name).eval(), cubes()
    there = copy.deepcopy(here).cuda()
    if name == "sparse_mae":
        visible = visible_blocks(2, x.shape[2:])
        pairs = [(here(x, visible), there(x.cuda(), visible.cuda()))]
    elif name == "swin_ssl":
        pairs = list(zip(here(x), there(x.cuda())))
    elif name in ("desd", "unimiss"):
        pairs = list(zip(here.said(x), there.said(x.cuda())))
    else:
        pairs = [(here(x), there(x.cuda()))]
    for a, b in pairs:
        torch.testing.assert_close(b.cpu(), a, rtol=2e-3, atol=2e-3)  # TF32 in convolutions


def test_corruptions_are_drawn_on_the_device():
    source, covered = genesis.shuffle_sources((64, 64, 32), 10_000, "cuda")
    assert source.is_cuda and covered.float().mean().item() == pytest.approx(0.82, abs=0.015)
    x, y = genesis.corrupted(cubes().cuda())
    assert x.is_cuda and y.is_cuda and swin_ssl.cut_out(x).is_cuda
