"""On a CUDA device the prompted models, MultiTalent and Med3D have the loss and gradients of the CPU, and train in bf16."""

import pytest
import torch
from torch import Tensor, nn

from fmlab import hub
from fmlab.pretraining import hermes, multitalent, multitalent_regions
from fmlab.pretraining.med3d import branch_loss
from fmlab.pretraining.published import dodnet, uniseg

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")]

CONFIG = {
    "dodnet": dict(tasks=2), "uniseg": dict(tasks=2, patch=(32, 32, 32)), "med3d": dict(classes={"a": 2, "b": 3}),
    "hermes": dict(tasks=3, modalities=2), "multitalent": dict(datasets={"a": ["bright"], "b": ["bright too"]}),
    "hermes medformer": dict(
        size="medformer", tasks=3, modalities=2, widths=(8, 8, 16, 16, 32), blocks=1, depths=(1, 1, 2, 1, 1), head=8),
    "multitalent resenc": dict(size="resenc", datasets={"a": ["bright"], "b": ["bright too"]}, base=8, most=32,
                               pools=((2, 2, 2),) * 3, kernels=((3, 3, 3),) * 4, blocks=(1, 1, 2, 2)),
}
"""Name of a model, and what makes it another one -> settings; "nano" where no size is given."""


@pytest.fixture(autouse=True)
def full_precision():
    """Convolutions in float32 proper: TF32, their default on CUDA, keeps 10 bits. Matrix products keep all by default."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def built(name: str) -> nn.Module:
    torch.manual_seed(0)
    return hub.build(name.split()[0], **({"size": "nano"} | CONFIG[name]))


def batch(device: str) -> Tensor:
    return torch.rand(2, 1, 32, 32, 32, generator=torch.Generator().manual_seed(0)).to(device)


def objective(name: str, model: nn.Module, x: Tensor) -> Tensor:
    """Each system's own loss: what is bright, as the first sample of task 0 and the second of task 1; UniSeg: both of task 1.

    Hermes is asked two tasks of the first, of which one is what is very bright.
    """
    bright = (x > 0.5).long()
    if name == "dodnet":
        w = torch.tensor([[1, 1], [1, 0]], device=x.device)
        return dodnet(model(x, [0, 1]), torch.cat([bright, (x > 0.9).long()], 1), w)
    if name == "uniseg":
        scales = model.scales(x, 1)
        labels = [nn.functional.interpolate(bright.float(), size=s.shape[2:]) for s in scales]
        return uniseg(scales, labels, classes=2, weights=[2.0 ** -i for i in range(len(scales))])
    if name.startswith("hermes"):
        target, w = torch.cat([bright, (x > 0.9).long()], 1), torch.tensor([[1, 1], [1, 0]], device=x.device)
        modality = torch.tensor([0, 1], device=x.device)
        return hermes.objective(model.answer(x, [[0, 2], [1]], modality), target, w, modality)
    if name.startswith("multitalent"):
        w = multitalent_regions.annotated(["a", "b"], CONFIG[name]["datasets"]).to(x.device)
        return multitalent.objective(model.scales(x), bright.expand(-1, 2, -1, -1, -1), w)
    return branch_loss(model, x, bright, ["a", "b"])


@pytest.mark.parametrize("name", CONFIG)
def test_loss_and_gradients_equal_on_cpu_and_cuda(name):
    cpu, cuda = built(name), built(name).cuda()
    cuda.load_state_dict(cpu.state_dict())
    here, there = objective(name, cpu, batch("cpu")), objective(name, cuda, batch("cuda"))
    assert abs(here.item() - there.item()) <= 1e-4 * abs(here.item())
    here.backward()
    there.backward()
    largest = max(p.grad.norm() for p in cpu.parameters() if p.grad is not None)
    for (key, a), b in zip(cpu.named_parameters(), cuda.parameters()):
        if a.grad is not None:  # a bias before a norm has a gradient of nothing but rounding
            assert (a.grad - b.grad.cpu()).norm() <= 1e-2 * a.grad.norm() + 1e-5 * largest, key


@pytest.mark.parametrize("name", CONFIG)
def test_twenty_steps_in_bf16_reduce_the_loss(name):
    model = built(name).cuda()
    optimiser, losses = torch.optim.AdamW(model.parameters(), lr=1e-3), []
    for _ in range(20):
        with torch.autocast("cuda", torch.bfloat16):
            loss = objective(name, model, batch("cuda"))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
