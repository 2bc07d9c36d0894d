"""On a CUDA device each backbone gives the features and gradients that it gives on the CPU, and trains in bf16."""

import pytest
import torch

from fmlab import hub

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")]

SMALL = [("nano", {}, 32), ("suprem_unet", {"width": 8}, 32), ("swin_unetr", {"feature_size": 12}, 64)]


@pytest.fixture(autouse=True)
def full_precision():
    """Convolutions in float32 proper: TF32, their default on CUDA, keeps 10 bits. Matrix products keep all by default."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


@pytest.mark.parametrize(("name", "config", "side"), SMALL)
def test_features_and_gradients_equal_on_cpu_and_cuda(name, config, side):
    torch.manual_seed(0)
    cpu = hub.build(name, classes=3, **config)
    cuda = hub.build(name, classes=3, **config).cuda()
    cuda.load_state_dict(cpu.state_dict())
    x = torch.randn(1, 1, side, side, side)
    here, there = cpu(x), cuda(x.cuda())
    assert (here - there.cpu()).abs().max() <= 1e-4 * here.abs().max()
    here.square().mean().backward()
    there.square().mean().backward()
    for (key, a), b in zip(cpu.named_parameters(), cuda.parameters()):
        assert (a.grad - b.grad.cpu()).norm() <= 1e-2 * a.grad.norm() + 1e-6, key


@pytest.mark.parametrize(("name", "config", "side"), SMALL)
def test_twenty_steps_in_bf16_reduce_the_loss(name, config, side):
    torch.manual_seed(0)
    model = hub.build(name, classes=1, **config).cuda()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    x = torch.randn(1, 1, side, side, side, device="cuda")
    y = (torch.nn.functional.avg_pool3d(x, 5, stride=1, padding=2) > 0).float()
    losses = []
    for _ in range(20):
        with torch.autocast("cuda", torch.bfloat16):
            logits = model(x)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
