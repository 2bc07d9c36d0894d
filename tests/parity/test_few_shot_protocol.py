"""The few-shot protocol's published pieces: the loss, the rate, the stop rules, the draw of the support, the size prior."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from fill import filled
from parity_files import arrays, metadata, parity_cases, seed_of
from torch import nn

from fmlab.adaptation.sampling import official_support
from fmlab.adaptation.size_prior import WEIGHT, coded, penalty, predicted_share, size_target
from fmlab.adaptation.spatial_adapter import SpatialAdapter
from fmlab.adaptation.stopping import learning_rate, stop_epoch
from fmlab.pretraining.masked import masked_dice

SCHEDULES = {"adapt": (1e-3, 1), "pretrain": (1e-4, 10), "short": (1e-2, 2)}  # base rate, epochs of warm-up


@pytest.mark.parametrize("path", parity_cases("few_shot", "dice_loss*"))
def test_the_loss_is_soft_dice_over_what_is_annotated(path: Path):
    stored = arrays(path)
    probability, target, w = (torch.from_numpy(stored[name]) for name in ("predict", "target", "annotation_mask"))
    logits = probability.double().clamp(1e-12, 1 - 1e-12).logit()
    for mask, name in ((torch.ones_like(w), "loss"), (w, "loss_masked")):
        assert float(masked_dice(logits, target, mask)) == pytest.approx(float(stored[name]), rel=1e-5)


@pytest.mark.parametrize("path", parity_cases("few_shot", "lr_schedule*"))
def test_the_rate_rises_to_its_base_and_falls_as_a_cosine(path: Path):
    stored = arrays(path)
    for name, (base, warmup) in SCHEDULES.items():
        rates = stored[name]
        found = [learning_rate(epoch, base, len(rates) - 1, warmup) for epoch in range(len(rates))]
        assert np.allclose(found, rates, rtol=0, atol=1e-12)


@pytest.mark.parametrize("path", parity_cases("few_shot", "early_stopping*"))
def test_the_stop_rules_end_where_they_did(path: Path):
    stored = arrays(path)
    for curve, absolute, relative in zip(stored["curves"], stored["n_epochs_fseft"], stored["n_epochs_arena"]):
        longest = [float(value) for value in curve[:199]]  # the counter runs from 1 to 199
        assert stop_epoch(longest) == absolute
        assert stop_epoch(longest, relative=True) == relative


@pytest.mark.parametrize("path", parity_cases("few_shot", "fewshot_sampling*"))
def test_the_support_is_drawn_as_published(path: Path):
    stored = arrays(path)
    names = [name for name in stored if name != "meta"]
    assert names
    for name in names:
        cases, shots, fold = map(int, re.fullmatch(r"n(\d+)_k(\d+)_fold(\d+)", name).groups())
        training, validation = official_support(cases, shots, fold)
        assert [*training, validation] == stored[name].tolist()


@pytest.mark.parametrize("path", parity_cases("few_shot", "transductive_size_prior*"))
def test_the_size_prior(path: Path):
    stored = arrays(path)
    meta = metadata(stored)

    def weights(key: str) -> torch.Tensor:
        return torch.from_numpy(filled(key, tuple(meta["keys"][key][0]), seed_of(stored)))

    adapter, head = SpatialAdapter(meta["C"]), nn.Conv3d(meta["C"], 1, kernel_size=1)
    with torch.no_grad():
        for weight, key in ((adapter.W1, "0.adapter.0.weight"), (adapter.W2, "0.adapter.2.weight"),
                            (head.weight, "1.linear.weight"), (head.bias, "1.linear.bias")):
            weight.copy_(weights(key))
    features = [torch.from_numpy(stored[name]) for name in sorted(stored) if name.startswith("feats")]
    for case in ("under", "inside", "over"):
        expected = float(stored[f"{case}_ptarget"])
        for form in (coded, penalty):  # of one gradient
            head.zero_grad()
            share = predicted_share(nn.Sequential(adapter, head), features)
            value = form(share, expected, meta["margin"])
            (WEIGHT * value).backward()
            assert float(share.detach()) == pytest.approx(float(stored[f"{case}_phat"]), rel=1e-5)
            assert head.bias.grad.numpy() == pytest.approx(stored[f"{case}_grad_bias"], rel=1e-4, abs=1e-8)
            if form is coded:
                assert float(value.detach()) == pytest.approx(float(stored[f"{case}_penalty"]), rel=1e-5)
    assert size_target(stored["sizes"]) == pytest.approx(float(stored["size_target"]), rel=1e-6)
    assert size_target(stored["sizes"][:4]) == pytest.approx(float(stored["size_target_lt5"]), rel=1e-6)
