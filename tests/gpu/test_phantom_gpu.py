"""On a CUDA device a seed gives the labels that it gives on the CPU."""

import pytest
import torch

import fmlab.phantom as phantom

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_labels_equal_on_cpu_and_cuda(seed):
    cpu, cuda = (phantom.sample(seed, "E", spacing=4.0, device=d) for d in ("cpu", "cuda"))
    assert torch.equal(cpu.labels, cuda.labels.cpu())
    assert (cpu.image - cuda.image.cpu()).abs().max() <= 1.0
