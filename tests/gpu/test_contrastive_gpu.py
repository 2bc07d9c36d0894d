"""On a CUDA device the image-text model, its loss, zero-shot and the probe give what they give on the CPU."""

import copy

import pytest
import torch

from fmlab import hub
from fmlab.contrastive import nano, probe, words, zero_shot
from fmlab.contrastive.conditions import NOVEL

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")]


@torch.no_grad()
def test_cuda_equals_cpu():
    here = hub.load("image_text_specialist", "nano")
    there = copy.deepcopy(here).cuda()
    x, texts = torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(0)), zero_shot.with_knowledge(list(NOVEL))
    one, other = zero_shot.probabilities(here, x, texts), zero_shot.probabilities(there, x.cuda(), texts)
    assert torch.allclose(one, other.cpu(), atol=2e-3)


def test_a_loss_is_finite_and_gradient_flows_also_under_autocast():
    torch.manual_seed(0)
    model = hub.build("image_text", words=list(nano.WORDS)).cuda()
    text = words.numbers(["few drusen", "haze", "a large cup", "haze"], nano.WORDS).cuda()
    batch = {"image": torch.rand(4, 3, 64, 64).cuda(), "text": text, "category": torch.tensor([0, 1, 2, 1]).cuda()}
    for enabled in (False, True):
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=enabled):
            value = nano.loss(model, batch)
        value.backward()
        assert value.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_a_probe_is_fitted_where_its_features_are():
    features, labels = torch.randn(30, 8, generator=torch.Generator().manual_seed(1)), torch.arange(30) % 3
    here, there = probe.fitted(features, labels), probe.fitted(features.cuda(), labels.cuda())
    assert torch.allclose(here(features), there(features.cuda()).cpu(), atol=2e-2)
