"""Gates on their own: the threshold rests on 0, the schedule's budget, and what Adam makes of lambda."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
import torch

from fmlab.adaptation.arena import soft_threshold
from fmlab.errors import SettingsError
from fmlab.lessons import gates

SIGNALS = [0, 0.2, 0.4, 0.5, 0.577, 0.65, 0.8, 1.0, 2.0]
ROOT = Path(__file__).resolve().parents[2]
MEASURED = Path(os.environ.get("FMLAB_PARITY_DIR") or ROOT.parent / "shared" / "parity") / "few_shot" / "arena_prune_budget.json"


def measured() -> dict:
    """What was measured on the published update, with an implementation of its own."""
    if not MEASURED.is_file():
        pytest.skip(f"no {MEASURED}; set FMLAB_PARITY_DIR to the folder of parity files")
    return json.loads(MEASURED.read_text())


@pytest.fixture(scope="module")
def adam():
    return gates.after(SIGNALS, gates=1000)


def test_the_threshold_rests_on_0_and_the_gradient_never():
    stepped, thresholded = gates.path("gradient"), gates.path("proximal")
    first = thresholded.index(0)
    assert all(value == 0 for value in thresholded[first:]) and first < 20
    assert 0 not in stepped
    assert max(abs(value) for value in stepped[20:]) > 0.05  # it goes on jumping


def test_above_the_price_both_go_to_the_same_minimum():
    stepped, thresholded = (gates.path(way, pull=0.8, steps=200)[-1] for way in ("gradient", "proximal"))
    assert stepped == pytest.approx(0.3, abs=1e-4) and thresholded == pytest.approx(0.3, abs=1e-4)


def test_the_budget_is_what_was_measured():
    found = {name: row for name, row in measured().items() if name.startswith("lr")}
    assert len(found) > 20
    for name, row in found.items():
        lr, shots, epochs = (float(part.lstrip("lrkepochs")) for part in name.split("_"))
        assert gates.available(int(shots), lr, int(epochs)) == pytest.approx(row["total_shrink"], rel=1e-9), name


def test_the_budget_grows_with_shots_and_rate_and_lambda():
    one = gates.available(1, 1e-3)
    assert gates.available(10, 1e-3) == pytest.approx(10 * one)
    assert gates.available(1, 1e-4) == pytest.approx(one / 10)
    assert gates.available(1, 1e-3, lam=1.0) == pytest.approx(2 * one)
    assert one == pytest.approx(0.0505, abs=1e-4)


def test_without_a_gradient_the_budget_is_the_share_that_closes():
    """U(-1, 1) gates with steps of exactly 0: only the threshold acts."""
    v, rates = torch.linspace(-1, 1, 4001), [1e-3] * 200
    for lr in rates:
        v = soft_threshold(v, 0.5 * lr)
    assert float((v == 0).double().mean()) == pytest.approx(0.5 * sum(rates), abs=2e-3)


def test_survival_under_adam_is_what_was_measured(adam):
    found = measured()["snr_survival_T6000_lr1e-3"]
    for signal, share in zip(SIGNALS, gates.closed(adam)):
        assert share == pytest.approx(found[f"{signal:g}" if f"{signal:g}" in found else f"{signal:.1f}"]["zero_frac"], abs=0.08)


def test_adam_closes_below_the_limit_and_not_above(adam):
    share = gates.closed(adam)
    assert share[0] > 0.9 and share == sorted(share, reverse=True)
    assert all(each == 0 for signal, each in zip(SIGNALS, share) if signal > gates.limit() + 0.05)


def test_the_size_of_gradients_matters_to_the_price_and_not_to_adam():
    signals = [0, 0.3, 0.8, 2.0]
    settings = {"steps": 3000, "gates": 200}
    whole, tiny = (gates.after(signals, size=size, **settings) for size in (1.0, 1e-3))
    assert torch.equal(whole == 0, tiny == 0) and not (whole == 0).all()
    plain, none = (gates.after(signals, size=size, way="momentum", **settings) for size in (1.0, 1e-3))
    assert gates.closed(none) == [1.0] * 4
    assert gates.closed(plain)[2:] == [0.0, 0.0]


def test_from_lambda_1_on_no_gate_survives_adam():
    v = gates.after([0.5, 2.0, 50.0], steps=4000, lam=1.05, lr=1e-2, gates=100)
    assert min(gates.closed(v)) > 0.9


def test_the_same_seed_gives_the_same_gates_and_another_does_not():
    one, same, other = (gates.after([0.3], steps=50, gates=20, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)


@pytest.mark.parametrize(("lam", "limit"), [(0.5, 1 / math.sqrt(3)), (0.0, 0.0), (0.8, 4 / 3)])
def test_limit(lam, limit):
    assert gates.limit(lam) == pytest.approx(limit)


@pytest.mark.parametrize("lam", [1.0, 2.0, -0.1, math.nan])
def test_there_is_no_limit_without_a_lambda_between_0_and_1(lam):
    with pytest.raises(SettingsError, match="less than 1"):
        gates.limit(lam)


def test_an_unknown_way_is_refused():
    with pytest.raises(SettingsError, match="adam or momentum"):
        gates.after([0.1], way="sgd")


def test_closed_counts_exact_zeros():
    assert gates.closed(torch.tensor([[0, 1e-9, 0, -1], [1, 1, 1, 1]])) == [0.5, 0.0]


def test_figures_say_in_words_what_they_show():
    fig, alt = gates.two_paths({"a": [1.0, 0.5, 0.0], "b": [1.0, 0.1, -0.1]})
    assert len(fig.axes) == 2 and "a: exactly 0 after 1 of 2 steps" in alt and "b: exactly 0 after 0 of 2 steps" in alt
    fig, alt = gates.survival({"Adam": [1.0, 0.25]}, [0, 0.4])
    assert "Adam: 100% at 0, 25% at 0.4" in alt
    assert any(line.get_linestyle() == ":" and line.get_xdata()[0] == pytest.approx(0.577, abs=1e-3)
               for line in fig.axes[0].get_lines())
