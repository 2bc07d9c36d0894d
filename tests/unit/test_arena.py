"""ARENA and its kin: the proximal step, pruning and its controls; SoRA's and AdaLoRA's own ways to choose ranks."""

from __future__ import annotations

import pytest
import torch
from small_models import X, base, base_logits, logits, original
from torch import nn

from fmlab.adaptation import adalora, arena, attach, sora
from fmlab.adaptation.arena import Gated, gated, soft_threshold
from fmlab.adaptation.report import effective_ranks
from fmlab.errors import ModelError


def filled(method: str, seed: int = 0, **options):
    """An adapter whose every number was drawn, as if it had been trained."""
    adapter = attach(base("swin"), method, **options)
    random = torch.Generator().manual_seed(seed)
    for weight in adapter.trainable.values():
        weight.data += 0.3 * torch.randn(weight.shape, generator=random)
    return adapter


def gates(model: nn.Module) -> torch.Tensor:
    return torch.cat([layer.v.detach().clone() for layer in gated(model)])


# --- the step -------------------------------------------------------


def test_the_soft_threshold_is_the_proximal_operator_of_the_l1_norm():
    v = torch.tensor([-2.0, -0.5, -0.2, 0.0, 0.3, 0.5, 1.7])
    tried = torch.linspace(-3, 3, 6001, dtype=torch.float64)
    best = tried[(0.5 * (tried - v[:, None]).square() + 0.5 * tried.abs()).argmin(1)]
    assert torch.allclose(soft_threshold(v, 0.5).double(), best, atol=1e-3)
    assert soft_threshold(v, 0.5)[1:6].eq(0).all() and torch.equal(soft_threshold(v, 0.0), v)


@pytest.mark.parametrize(("options", "moved"), [
    ({}, 0.5 * 0.1), ({"lam": 2.0}, 0.2), ({"lam": 0.0}, 0), ({"step": "none"}, 0), ({"step": "gradient"}, 0),
    ({"gates": "frozen"}, 0), ({"gates": "ones"}, 0)])
def test_the_threshold_is_lambda_times_the_rate(options, moved):
    model = attach(base("swin"), "arena", rank=2, **options).model
    before = gates(model)
    assert (before == 1).all() == (options.get("gates") == "ones") and len(before) == 6 * 3 * 2 and before.abs().max() <= 1
    model.after_step(0.1)
    assert torch.allclose(gates(model), soft_threshold(before, moved)) and (gates(model) == 0).any() == (moved > 0)


def test_the_formula_as_a_gradient():
    model = attach(base("swin"), "arena", rank=2, lam=0.25, step="gradient").model
    penalty = model.penalty()
    penalty.backward()
    for layer in gated(model):
        assert torch.equal(layer.v.grad, 0.25 * layer.v.detach().sign()) and layer.A.grad is None
    assert penalty.item() == pytest.approx(0.25 * float(gates(model).abs().sum()), rel=1e-5)
    assert attach(base("swin"), "arena", rank=2).model.penalty() == 0


@pytest.mark.parametrize("scale", [1.0, 1e-4])
def test_adam_makes_the_threshold_one_of_signal_to_noise(scale):
    """A gate with more than 0.577 of its gradient's standard deviation as mean survives 0.5, however small gradients are."""
    random = torch.Generator().manual_seed(0)
    signal = torch.tensor([0.0, 1.5]).repeat_interleave(50)
    v = nn.Parameter(torch.rand(100, generator=random) * 0.2)
    optimiser = torch.optim.Adam([v], 1e-2)
    for _ in range(400):
        v.grad = scale * (torch.randn(100, generator=random) - signal)
        optimiser.step()
        v.data = soft_threshold(v.data, 0.5 * 1e-2)
    assert (v[:50] == 0).float().mean() > 0.8 and (v[50:] != 0).all()


def test_ones_are_lora_and_the_update_is_as_written():
    layer = Gated(nn.Linear(5, 6), 4, "ones")
    assert not layer.v.requires_grad and (layer.B == 0).all()
    layer.B.data.normal_()
    layer.v.data = torch.tensor([1.0, 0.0, -2.0, 0.5])
    x = torch.rand(2, 5)
    expected = layer.base(x) + x @ (layer.B @ torch.diag(layer.v) @ layer.A).T
    assert torch.allclose(layer(x), expected, atol=1e-6) and layer.open.tolist() == [0, 2, 3]


# --- pruning --------------------------------------------------------


def test_pruning_changes_no_output_and_merging_neither():
    adapter = filled("arena", rank=4)
    model = adapter.model
    model.after_step(0.4)
    full, shut = logits(model), int((gates(model) == 0).sum())
    assert 0 < shut < 72 and (full - base_logits("swin")).abs().max() > 1e-3
    before = adapter.count
    assert arena.prune(model) == (72 - shut, 72) and arena.prune(model) == (72 - shut, 72 - shut)
    assert torch.allclose(logits(model), full, atol=1e-5) and adapter.count < before
    assert all(layer.A.shape[0] == layer.B.shape[1] == len(layer.v) and layer.v.requires_grad for layer in gated(model))
    pruned = logits(model)
    with adapter.without():
        assert torch.equal(logits(model), base_logits("swin"))
    assert (logits(adapter.merge()) - pruned).abs().max() <= 1e-6 * max(1, float(pruned.abs().max()))


def test_nothing_may_be_left():
    adapter = filled("arena", rank=1)
    for layer in gated(adapter.model):
        layer.v.data.zero_()
    assert arena.prune(adapter.model) == (0, 18)
    adapter.model.after_step(0.1)
    with torch.no_grad():
        alone = adapter.model.head(original("swin").backbone.features(X))
    assert torch.equal(logits(adapter.model), alone) and set(effective_ranks(adapter.model).values()) == {0.0}
    assert torch.equal(logits(adapter.merge()), alone)


def test_frozen_gates_stay_frozen_when_pruned():
    model = attach(base("swin"), "arena", rank=1, gates="frozen").model
    arena.prune_at_random(model, 7, torch.Generator().manual_seed(0))
    arena.prune(model)
    assert len(gates(model)) == 7 and not any(layer.v.requires_grad for layer in gated(model))


def test_random_pruning_is_the_same_by_its_generator():
    kept = []
    for seed in (0, 0, 1):
        model = attach(base("swin"), "arena", rank=2).model
        before = gates(model)
        arena.prune_at_random(model, 10, torch.Generator().manual_seed(seed))
        after = gates(model)
        assert (after != 0).sum() == 10 and torch.equal(after[after != 0], before[after != 0])
        kept.append((after != 0).tolist())
    assert kept[0] == kept[1] != kept[2]
    for left in (11, -1):  # of those that are open still
        with pytest.raises(ModelError, match=f"{left} gates cannot stay open, as 10 are"):
            arena.prune_at_random(model, left, torch.Generator())
    arena.prune_at_random(model, 0, torch.Generator())
    assert not gates(model).any()


@pytest.mark.parametrize("act", [arena.prune, arena.l1, lambda model: arena.after_step(model, 0.1), adalora.orthogonality])
def test_a_model_without_gates_is_refused(act):
    with pytest.raises(ModelError, match="attach .*first|attach it first"):
        act(attach(base("unet"), "lora").model)


# --- SoRA -----------------------------------------------------------


def test_sora_has_four_layers_a_block_and_its_own_scale():
    adapter = attach(base("swin"), "sora", rank=4, alpha=8)
    layers = gated(adapter.model)
    assert len(layers) == 6 * 4 and {layer.scale for layer in layers} == {2.0}
    layer, x = layers[0], torch.rand(3, 12)
    layer.B.data.normal_()
    assert torch.allclose(layer(x) - layer.base(x), 2 * x @ (layer.B @ torch.diag(layer.v) @ layer.A).T, atol=1e-5)
    assert gates(adapter.model).abs().max() > 1  # N(0, 1), not U(-1, 1)


def test_soras_step_knows_no_rate_and_its_penalty_is_the_mean():
    model = attach(base("swin"), "sora", lambda1=2.0, lambda2=0.05).model
    before = gates(model)
    assert model.penalty().item() == pytest.approx(2 * float(before.abs().mean()), rel=1e-5)
    for lr in (1.0, 1e-6):
        model.after_step(lr)
    assert torch.allclose(gates(model), soft_threshold(before, 0.1), atol=1e-6)
    assert isinstance(gated(model)[0], sora.SoRALinear)


# --- AdaLoRA --------------------------------------------------------


def test_the_budget_falls_by_the_cube():
    steps = [adalora.budget(step, 72, 48, 15, 30, 100) for step in range(120)]
    assert steps[:16] == [72] * 16 and steps[71:] == [48] * 49 and sorted(steps, reverse=True) == steps
    assert steps[15 + 11] == int(48 + 24 * (1 - 11 / 55) ** 3)


def test_allocation_closes_the_least_important_ranks_of_the_whole_network():
    model = filled("adalora", rank=3, target=1).model
    found = adalora.layers(model)
    for number, layer in enumerate(found):
        for part in adalora.PARTS:
            weight = getattr(layer, part)
            weight.grad = torch.rand_like(weight) * (10.0 ** number)  # later layers matter more
        layer.watch()
    order = torch.cat([layer.importance() for layer in found])
    adalora.allocate(found, 5)
    open_ranks = torch.cat([layer.E.detach().flatten() for layer in found]) != 0
    assert open_ranks.sum() == 5 and order[open_ranks].min() > order[~open_ranks].max()
    adalora.allocate(found, 18)
    assert (torch.cat([layer.E.detach().flatten() for layer in found]) != 0).sum() == 5


def test_importance_is_as_written():
    layer = adalora.SVDLinear(nn.Linear(4, 5), 2)
    layer.E.data.normal_()
    expected = []
    for part in adalora.PARTS:
        weight = getattr(layer, part)
        mean = deviation = torch.zeros_like(weight)
        for step in range(2):
            now = (weight * (step + 1)).abs().detach()
            mean = 0.85 * mean + 0.15 * now
            deviation = 0.85 * deviation + 0.15 * (now - mean).abs()
        expected.append(mean * deviation)
    for step in range(2):
        for part in adalora.PARTS:
            getattr(layer, part).grad = torch.full_like(getattr(layer, part), step + 1.0)
        layer.watch()
    p, e, q = expected
    assert torch.allclose(layer.importance(), e[:, 0] + q.mean(1) + p.mean(0))


def test_a_training_ends_within_the_budget():
    steps = 20
    model = attach(base("swin"), "adalora", rank=3, target=1, steps=steps, interval=2).model
    found, optimiser = adalora.layers(model), torch.optim.Adam([w for w in model.parameters() if w.requires_grad], 1e-2)
    opened = []
    for _ in range(steps):
        for layer in found:  # in place of a network's gradients
            for part in adalora.PARTS:
                getattr(layer, part).grad = torch.randn_like(getattr(layer, part))
        optimiser.step()
        model.after_step(1e-2)
        opened.append(sum(int((layer.E != 0).sum()) for layer in found))
    assert opened[0] == 18 and opened[-1] == 6 and found[0].steps_done == steps


def test_a_training_that_was_stopped_goes_on_with_importances_and_budget():
    models = [attach(base("swin"), "adalora", rank=3, target=1, steps=20, interval=2).model for _ in range(2)]
    for step in range(20):
        if step == 9:
            models[1].load_state_dict(models[0].state_dict())  # what a checkpoint holds
        for model in models if step >= 9 else models[:1]:
            torch.manual_seed(step)
            for layer in adalora.layers(model):
                for part in adalora.PARTS:
                    weight = getattr(layer, part)
                    weight.grad = torch.randn_like(weight)
                    weight.data -= 0.01 * weight.grad
            model.after_step(1e-2)
    closed, again = (torch.cat([layer.E.detach().flatten() for layer in adalora.layers(model)]) == 0 for model in models)
    assert closed.any() and torch.equal(closed, again)


def test_orthogonal_matrices_cost_nothing():
    model = attach(base("swin"), "adalora", rank=3, target=1, orthogonal=0.5).model
    assert model.penalty().item() == pytest.approx(0.5 * 3 ** 0.5, rel=0.05)  # P and Q begin near 0: || 0 - 1 || of rank 3
    for layer in adalora.layers(model):
        nn.init.orthogonal_(layer.P)
        nn.init.orthogonal_(layer.Q)
    assert model.penalty().item() < 1e-5
    model.penalty().backward()
    assert adalora.layers(model)[0].E.grad is None
