"""On a CUDA device every pre-training makes a step in bf16, at its real size where the memory is there for it."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import pretraining_step  # noqa: E402

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")]

ENOUGH = 40e9  # bytes


@pytest.mark.parametrize("method", pretraining_step.STEPS)
def test_a_step(method):
    tiny = torch.cuda.get_device_properties(0).total_memory < ENOUGH
    seconds, memory, loss = pretraining_step.run(method, tiny, 1, torch.device("cuda"))
    print(f"{method}, {'tiny' if tiny else 'real size'}: {seconds:.3f} s, {memory / 2**30:.1f} GiB, loss {loss:.4f}")
    assert torch.isfinite(torch.tensor(loss)) and seconds > 0 and memory > 0
