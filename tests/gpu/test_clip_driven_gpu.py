"""On a CUDA device the CLIP-driven model gives the logits and gradients that it gives on the CPU, and trains in bf16."""

import pytest
import torch

from fmlab import hub
from fmlab.pretraining.clip_driven import objective

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")]


@pytest.fixture(autouse=True)
def full_precision():
    """Convolutions in float32 proper: TF32, their default on CUDA, keeps 10 bits. Matrix products keep all by default."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def batch(device: str) -> dict:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 1, 32, 32, 32, generator=generator)
    target = torch.stack([image[:, 0] > 0.5, image[:, 0] <= 0.5, image[:, 0] > 0.9], 1).to(torch.uint8)
    return {"image": image.to(device), "target": target.to(device), "w": torch.tensor([[1, 0, 1], [0, 0, 1]]).to(device)}


def test_logits_and_gradients_equal_on_cpu_and_cuda():
    torch.manual_seed(0)
    cpu = hub.build("clip_driven", size="nano", classes=["liver", "spleen", "aorta"], text="sentence")
    cuda = hub.build("clip_driven", size="nano", classes=["liver", "spleen", "aorta"], text="sentence").cuda()
    cuda.load_state_dict(cpu.state_dict())
    with torch.no_grad():
        here, there = cpu(batch("cpu")["image"]), cuda(batch("cuda")["image"])
    assert (here - there.cpu()).abs().max() <= 1e-4 * here.abs().max()
    objective(cpu, batch("cpu")).backward()
    objective(cuda, batch("cuda")).backward()
    for (key, a), b in zip(cpu.named_parameters(), cuda.parameters()):
        assert (a.grad - b.grad.cpu()).norm() <= 1e-2 * a.grad.norm() + 1e-6, key


def test_twenty_steps_in_bf16_reduce_the_loss():
    torch.manual_seed(0)
    model = hub.build("clip_driven", size="nano", classes=["liver", "spleen", "aorta"], text="sentence").cuda()
    optimiser, losses = torch.optim.AdamW(model.parameters(), lr=1e-3), []
    for _ in range(20):
        with torch.autocast("cuda", torch.bfloat16):
            loss = objective(model, batch("cuda"))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
