"""On a CUDA device every method adapts in bf16, merges to the same function, and gives what the CPU gives."""

import copy

import pytest
import torch

from fmlab import hub
from fmlab.adaptation import METHODS, attach
from fmlab.adaptation.adapting import objective
from fmlab.errors import ModelError

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")]
NAMES = ("liver", "gluteus_maximus_left")


@pytest.fixture(scope="module")
def bases():
    return [hub.build("fseft").eval(), hub.build("universal").eval()]


def batch(device: str) -> dict:
    random = torch.Generator().manual_seed(0)
    return {"image": torch.rand(2, 1, 32, 32, 32, generator=random).to(device), "w": torch.ones(2, 2, device=device),
            "target": (torch.rand(2, 2, 32, 32, 32, generator=random) > 0.8).float().to(device)}


@pytest.mark.parametrize("method", METHODS)
def test_it_adapts_on_the_gpu_and_agrees_with_the_cpu(method, bases):
    tried = 0
    for base in bases:
        model = copy.deepcopy(base).cuda()
        try:
            adapter = attach(model, method, NAMES)
        except ModelError:  # a method without a place in this backbone
            continue
        tried += 1
        optimiser, given = torch.optim.AdamW(adapter.trainable.values(), lr=1e-2), batch("cuda")
        for _ in range(2):
            optimiser.zero_grad()
            with torch.autocast("cuda", torch.bfloat16):
                loss = objective(model, given)
            loss.backward()
            optimiser.step()
            if hasattr(model, "after_step"):
                model.after_step(1e-2)
        assert torch.isfinite(loss)
        model.eval()
        with torch.no_grad():
            here = model(given["image"]).cpu()
            there = copy.deepcopy(model).cpu()(given["image"].cpu())
        assert (here - there).abs().max() < 2e-3 * there.abs().max()
    assert tried


def test_a_published_size_step_of_six_crops(bases):
    if torch.cuda.get_device_properties(0).total_memory < 40e9:
        pytest.skip("the published size with full fine-tuning needs 40 GB")
    model = hub.build("fseft", size="published", structures=1).cuda()
    attach(model, "full")
    x, y = torch.rand(6, 1, 96, 96, 96, device="cuda"), torch.rand(6, 1, 96, 96, 96, device="cuda") > 0.9
    with torch.autocast("cuda", torch.bfloat16):
        loss = objective(model, {"image": x, "target": y.float(), "w": torch.ones(6, 1, device="cuda")})
    loss.backward()
    assert torch.isfinite(loss) and all(torch.isfinite(w.grad).all() for w in model.parameters() if w.grad is not None)
