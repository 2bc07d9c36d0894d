"""On a CUDA device UniverSeg and Tyche say what they say on the CPU, in both forms, and so does what is built on them."""

import pytest
import torch

from fmlab import hub
from fmlab.incontext.candidates import best_candidate_loss
from fmlab.incontext.examples import Examples
from fmlab.incontext.prediction import predict

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")]


@pytest.fixture(autouse=True)
def full_precision():
    """Convolutions in float32 proper: TF32, their default on CUDA, keeps 10 bits."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def twins(name, **config):
    """The same random network on the CPU and on CUDA."""
    torch.manual_seed(0)
    cpu = hub.build(name, **config)
    cuda = hub.build(name, **config).cuda()
    cuda.load_state_dict(cpu.state_dict())
    return cpu, cuda


def episode(shots=5, side=64):
    generator = torch.Generator().manual_seed(0)
    query, images = torch.rand(2, 1, side, side, generator=generator), torch.rand(2, shots, 1, side, side, generator=generator)
    return query, images, (images > 0.6).float()


@pytest.mark.parametrize("form", [{}, {"literal": True}, {"chunk": 2}], ids=str)
@pytest.mark.parametrize("name", ["universeg", "tyche"])
def test_logits_and_gradients_equal_on_cpu_and_cuda(name, form):
    (cpu, cuda), given = twins(name), episode()
    noise = {"noise": torch.randn(2, 3, 64, 64)} if name == "tyche" else {}
    here = cpu(*given, **form, **noise)
    there = cuda(*(x.cuda() for x in given), **form, **{key: x.cuda() for key, x in noise.items()})
    assert (here - there.cpu()).abs().max() <= 1e-4 * here.abs().max()
    here.square().mean().backward()
    there.square().mean().backward()
    for (key, a), b in zip(cpu.named_parameters(), cuda.parameters()):
        assert (a.grad is None) == (b.grad is None), key
        assert a.grad is None or (a.grad - b.grad.cpu()).norm() <= 1e-2 * a.grad.norm() + 1e-6, key


def test_a_generator_of_the_cpu_gives_cuda_the_same_candidates():
    (cpu, cuda), given = twins("tyche", encoder_blocks=[8, 8]), episode()
    here = cpu(*given, 3, generator=torch.Generator().manual_seed(1))
    there = cuda(*(x.cuda() for x in given), 3, generator=torch.Generator().manual_seed(1))
    assert (here - there.cpu()).abs().max() <= 1e-4 * here.abs().max()


def test_best_candidate_loss():
    found = {}
    for device in ("cpu", "cuda"):
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(3, 4, 32, 32, generator=generator).to(device).requires_grad_()
        target = (torch.rand(3, 1, 32, 32, generator=generator) > 0.5).float().to(device)
        loss = best_candidate_loss(logits, target)
        loss.backward()
        found[device] = loss.detach().cpu(), logits.grad.cpu()
        assert logits.grad.flatten(2).any(2).sum(1).tolist() == [1, 1, 1]
    torch.testing.assert_close(found["cuda"][0], found["cpu"][0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found["cuda"][1], found["cpu"][1], rtol=1e-4, atol=1e-8)


def test_predict_agrees_wherever_the_pictures_lie():
    cpu, cuda = twins("universeg", encoder_blocks=[16, 16, 16])
    query, images, masks = episode(shots=12)
    support = {"it": Examples(images[0], masks[0])}
    options = {"shots": 5, "ensemble": 3, "tta": ["left-right"], "seed": 2}
    here = predict(cpu, query, support, **options).probabilities
    for device in ("cpu", "cuda"):
        there = predict(cuda, query.to(device), support, **options).probabilities
        assert there.device.type == "cpu" and there.dtype is torch.float32
        assert (here - there).abs().max() <= 0.05  # bf16 keeps 8 bits
    assert here.std() > 0.01


def test_iris_is_the_same_on_cpu_and_cuda():
    cpu, cuda = twins("iris")
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(1, 2, 1, 16, 16, 16, generator=generator)
    masks = (torch.rand(1, 2, 3, 16, 16, 16, generator=generator) > 0.7).float()
    with torch.no_grad():
        here, there = cpu.encode_task(images, masks), cuda.encode_task(images.cuda(), masks.cuda())
        torch.testing.assert_close(there.cpu(), here, rtol=1e-3, atol=1e-4)
        logits, same = cpu.segment(images[:, 0], here), cuda.segment(images[:, 0].cuda(), there)
    assert (logits - same.cpu()).abs().max() <= 1e-3 * logits.abs().max()
