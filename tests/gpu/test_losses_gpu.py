"""On a CUDA device each masked loss and its gradient are what they are on the CPU."""

import pytest
import torch

from fmlab.pretraining import masked, published, unmasked

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")]

MASKED = [masked.masked_bce, masked.masked_dice, masked.masked_bce_dice, masked.clip_driven, masked.multitalent, published.suprem,
          published.hermes, published.dodnet]
UNMASKED = [unmasked.unmasked_sigmoid, unmasked.softmax_background]


def batch(device):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 16, 12, 10, generator=generator)
    y = (torch.rand(x.shape, generator=generator) > 0.7).to(torch.uint8)
    w = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0]])
    return x.to(device).requires_grad_(), y.to(device), w.to(device)


@pytest.mark.parametrize("loss", MASKED + UNMASKED, ids=lambda loss: loss.__name__)
def test_cuda_equals_cpu(loss):
    results = {}
    for device in ("cpu", "cuda"):
        x, y, w = batch(device)
        value = loss(x, y) if loss in UNMASKED else loss(x, y, w)
        value.backward()
        results[device] = (value.detach().cpu(), x.grad.cpu())
        if loss in MASKED:
            assert (x.grad[w == 0] == 0).all()
    torch.testing.assert_close(results["cuda"][0], results["cpu"][0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(results["cuda"][1], results["cpu"][1], rtol=1e-4, atol=1e-8)


def test_w_and_target_may_stay_on_the_cpu_and_autocast_keeps_float32():
    x, y, w = batch("cuda")
    with torch.autocast("cuda", dtype=torch.bfloat16):
        value = masked.masked_bce_dice(x.bfloat16(), y.cpu(), w.cpu())
    assert value.dtype is torch.float32
    torch.testing.assert_close(value, masked.masked_bce_dice(x, y, w), rtol=0.02, atol=0.02)


def test_uniseg():
    values = []
    for device in ("cpu", "cuda"):
        x, y, _ = batch(device)
        values.append(published.uniseg([x], [y[:, :1]], 3, [1.0]).detach().cpu())
    torch.testing.assert_close(*values, rtol=1e-5, atol=1e-6)
