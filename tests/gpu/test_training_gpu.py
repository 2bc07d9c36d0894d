"""On a CUDA device the loop trains in bf16, and one float32 step equals the CPU's."""

import pytest
import torch

from fmlab.training import TrainConfig, train
from fmlab.training.demo import Balls, loss, net

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")]


def test_twenty_bf16_steps_reduce_the_loss(tmp_path):
    seen = []

    def watched(model, batch):
        seen.append(model(batch["image"]).dtype)
        return loss(model, batch)

    torch.manual_seed(0)
    config = TrainConfig(steps=20, lr=1e-2, batch=4, device="cuda")
    losses = [line["loss"] for line in train(net(), watched, Balls(), config, tmp_path, progress=False).log]
    assert set(seen) == {torch.bfloat16}
    assert sum(losses[-3:]) / 3 < 0.7 * losses[0]


def test_float32_agrees_with_the_cpu(tmp_path):
    losses = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        config = TrainConfig(steps=3, batch=2, precision="float32", device=device)
        result = train(net(dropout=0), loss, Balls(), config, tmp_path / device, progress=False)
        losses.append([line["loss"] for line in result.log])
    assert losses[0] == pytest.approx(losses[1], abs=2e-3)
